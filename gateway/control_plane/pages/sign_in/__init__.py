"""Signing in, by mailed link or GitHub."""
