"""The embedded CPU worker: all-MiniLM-L6-v2, a real model that comes with a package."""
