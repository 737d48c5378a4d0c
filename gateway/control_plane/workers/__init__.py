"""Operators' commands to workers, and the gateways' reports about them."""
