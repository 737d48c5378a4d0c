"""The SQL of money: nothing else writes accounts, lots, leases, ledger entries or usage.

Locks are always taken in one order: leases by id, accounts by id, their lots, then the hours of
usage by key.
"""
