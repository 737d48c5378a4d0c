"""Receipts: the public log of their roots, and the keys that check them."""
