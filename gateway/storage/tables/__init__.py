"""The tables, one domain a module. Import them from here, so that `metadata` knows them all."""

from gateway.storage.tables.accounts import api_keys, organizations
from gateway.storage.tables.catalog import golden_rows, model_prices, models
from gateway.storage.tables.credits import (
    accounts,
    credit_lots,
    key_budgets,
    leases,
    ledger_entries,
)
from gateway.storage.tables.types import NANOS_MAX, metadata
from gateway.storage.tables.usage import usage_events, usage_hours
from gateway.storage.tables.workers import worker_orders, worker_reports

__all__ = [
    "NANOS_MAX",
    "accounts",
    "api_keys",
    "credit_lots",
    "golden_rows",
    "key_budgets",
    "leases",
    "ledger_entries",
    "metadata",
    "model_prices",
    "models",
    "organizations",
    "usage_events",
    "usage_hours",
    "worker_orders",
    "worker_reports",
]
