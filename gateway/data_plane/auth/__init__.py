"""Who is calling: API keys, their digests, and a cache that revocations reach at once."""
