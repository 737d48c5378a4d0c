"""Credit as people ask for it: granted, read, audited."""
