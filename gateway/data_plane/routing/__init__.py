"""Which worker does the work, and whether what it answered may be delivered."""
