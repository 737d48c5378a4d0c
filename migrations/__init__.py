"""The schema's history, applied by gateway/storage/migrate.py. Imports nothing that may change."""
