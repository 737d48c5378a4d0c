"""Logs and metrics. They hold names and numbers, never the text of a customer."""
