"""The SQL of money. Nothing else writes to the tables of `storage.tables.credits` and `.usage`.

Locks are always taken in one order: leases by id, then accounts by id, then their lots, then the
hours of usage by key.
"""
