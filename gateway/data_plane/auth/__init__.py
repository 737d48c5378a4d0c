"""Who is calling: API keys, their digests, and a cache that a revocation reaches at once."""
