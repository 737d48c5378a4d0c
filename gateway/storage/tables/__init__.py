"""The tables, one module a domain. Import them from here, so that `metadata` has them all."""

from gateway.storage.tables.accounts import (
    api_keys,
    identities,
    mail_links,
    memberships,
    organizations,
    sessions,
    users,
)
from gateway.storage.tables.billing import (
    accounts,
    credit_lots,
    freezes,
    key_budgets,
    leases,
    ledger_entries,
    promotion_days,
    usage_days,
    usage_events,
    usage_hours,
)
from gateway.storage.tables.catalog import catalog_versions, golden_rows, model_prices, models
from gateway.storage.tables.demand import (
    demand_events,
    demand_months,
    demand_votes,
    launch_organizations,
    launches,
    waitlist_entries,
)
from gateway.storage.tables.mail import outbox, unsubscriptions
from gateway.storage.tables.payments import (
    auto_top_ups,
    book_entries,
    payment_customers,
    payment_disputes,
    payment_refunds,
    payments,
    stripe_cursors,
    stripe_events,
    stripe_transactions,
)
from gateway.storage.tables.quotas import quota_windows
from gateway.storage.tables.status import answer_hours, incidents
from gateway.storage.tables.types import NANOS_MAX, metadata, total
from gateway.storage.tables.workers import worker_orders, worker_reports

__all__ = [
    "NANOS_MAX",
    "accounts",
    "answer_hours",
    "api_keys",
    "auto_top_ups",
    "book_entries",
    "catalog_versions",
    "credit_lots",
    "demand_events",
    "demand_months",
    "demand_votes",
    "freezes",
    "golden_rows",
    "identities",
    "incidents",
    "key_budgets",
    "launch_organizations",
    "launches",
    "leases",
    "ledger_entries",
    "mail_links",
    "memberships",
    "metadata",
    "model_prices",
    "models",
    "organizations",
    "outbox",
    "payment_customers",
    "payment_disputes",
    "payment_refunds",
    "payments",
    "promotion_days",
    "quota_windows",
    "sessions",
    "stripe_cursors",
    "stripe_events",
    "stripe_transactions",
    "total",
    "unsubscriptions",
    "usage_days",
    "usage_events",
    "usage_hours",
    "users",
    "waitlist_entries",
    "worker_orders",
    "worker_reports",
]
