"""The database and Redis: engines, tables, and the SQL of the ledger."""
