"""Embedding servers and how to talk to them. Imports nothing of the gateway."""
