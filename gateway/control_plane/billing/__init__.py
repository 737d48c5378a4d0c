"""Credit and usage as people see them: granted, read, verified, audited."""
