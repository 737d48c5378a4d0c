"""The hot path, in the order in which a request walks it."""
