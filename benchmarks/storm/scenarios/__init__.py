"""The scenarios, by what goes wrong. Importing this package registers them, in this order."""

# isort: off
from benchmarks.storm.scenarios import database
from benchmarks.storm.scenarios import valkey
from benchmarks.storm.scenarios import workers
from benchmarks.storm.scenarios import gateways
from benchmarks.storm.scenarios import surroundings
from benchmarks.storm.scenarios import changes
from benchmarks.storm.scenarios import crowds
from benchmarks.storm.scenarios import short

__all__ = [
    "changes",
    "crowds",
    "database",
    "gateways",
    "short",
    "surroundings",
    "valkey",
    "workers",
]
