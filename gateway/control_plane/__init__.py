"""Everything that may be slow: accounts, billing, the catalog, and jobs."""
