"""The SQL of money. Nothing else writes to the tables of `storage.tables.credits`.

Locks are always taken in one order: the reservation, then the account, then its lots.
"""
