"""The scenarios, by what goes wrong. Importing this package registers them, in this order."""

from benchmarks.storm.scenarios import database

__all__ = ["database"]
