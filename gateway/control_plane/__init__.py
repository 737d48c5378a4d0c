"""Everything that may be slow: accounts, billing, the catalogue, and jobs."""
