"""Logs and metrics: what happened, never what a customer wrote."""
