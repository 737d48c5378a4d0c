"""The pages, in wings that do not know each other."""
