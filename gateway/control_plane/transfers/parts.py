"""What of an organization a file carries, column by column, and what stays behind.

The names are those of format 1: a column that is added to a table is no part of it until the format
has a new number. `docs/moving.md` says the same for readers.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import BigInteger, LargeBinary, Table
from sqlalchemy.sql.type_api import TypeEngine

from gateway.storage.tables import (
    accounts,
    alert_preferences,
    api_keys,
    credit_lots,
    key_budgets,
    ledger_entries,
    memberships,
    organization_limits,
    organizations,
    usage_hours,
    users,
    webhook_endpoints,
    webhook_subscriptions,
)
from gateway.storage.tables.types import Day, Instant

PARTS: Mapping[Table, Sequence[str]] = {
    organizations: ("id", "name", "created_at", "truncate", "token_ids_from"),
    organization_limits: ("organization_id", "in_flight_max", "changed_at"),
    users: ("id", "email", "address_key", "created_at", "welcome"),
    memberships: ("user_id", "organization_id", "role", "created_at"),
    api_keys: (
        "id",
        "organization_id",
        "name",
        "digest",
        "digest_secret",
        "previous_digest",
        "previous_digest_secret",
        "previous_until",
        "previous_rotated_by",
        "last_four",
        "scopes",
        "token_ids_from",
        "truncate",
        "created_at",
        "created_by",
        "rotated_by",
        "expires_at",
        "revoked_at",
        "changed_at",
    ),
    key_budgets: ("key_id", "period", "limit_nanos", "changed_at"),
    accounts: (
        "id",
        "organization_id",
        "key_id",
        "period",
        "limit_nanos",
        "available_nanos",
        "leased_nanos",
        "owed_nanos",
        "spent_nanos",
    ),
    credit_lots: (
        "id",
        "organization_id",
        "kind",
        "amount_nanos",
        "remaining_nanos",
        "burned_nanos",
        "source_ref",
        "created_at",
        "expires_at",
    ),
    ledger_entries: ("organization_id", "kind", "ref", "amount_nanos", "created_at", "reason"),
    usage_hours: (
        "organization_id",
        "hour",
        "key_id",
        "model_id",
        "requests",
        "inputs",
        "tokens",
        "charged_nanos",
    ),
    alert_preferences: ("organization_id", "low_nanos", "mails_off", "changed_at"),
    webhook_endpoints: (
        "id",
        "organization_id",
        "url",
        "secret",
        "secret_before",
        "secret_before_until",
        "created_at",
        "disabled_at",
        "disabled_reason",
        "served_at",
    ),
    webhook_subscriptions: ("endpoint_id", "type"),
}
"""The tables of a file in their order, which is that of their references, and their columns."""

KEY_PEOPLE = ("created_by", "rotated_by", "previous_rotated_by")
"""Columns of a key that name members; whoever is none is nobody in a file."""

_ADDED: Mapping[Table, Sequence[str]] = {api_keys: ("rotated_by", "previous_rotated_by")}
"""The columns that files of format 1 lack; they are null then."""

LEFT: Mapping[Table, Sequence[str]] = {
    organizations: (),
    organization_limits: (),
    users: ("deleted_at",),
    memberships: (),
    # MACs are under secrets of the deployment: there the key is looked up, as those of version 0.1
    api_keys: ("mac_secret_id", "previous_mac_secret_id"),
    key_budgets: (),
    accounts: ("frozen", "recalled_at"),
    credit_lots: (),
    # what a deployment earned is in its own books alone
    ledger_entries: ("id", "counterpart"),
    usage_hours: ("shard",),
    alert_preferences: (),
    webhook_endpoints: ("created_by", "failing_since", "claimed_until", "removed_at"),
    webhook_subscriptions: (),
}
"""The columns that a file leaves out."""

STAYING: Mapping[str, str] = {
    "how it was used": """
        usage_events usage_days answer_days answer_hours error_days error_hours latency_days
        latency_hours model_answers
        request_log paid_prints leases audit_sums traffic_answers traffic_hours traffic_leaders
        receipt_roots receipt_keys""",
    "payments, which are Stripe's with this deployment": """
        payments payment_customers payment_disputes payment_refunds auto_top_ups buying_holds
        book_entries stripe_cursors stripe_events stripe_transactions""",
    "how people sign in": """
        sessions mail_links identities authenticators enrollments passkeys passkey_challenges""",
    "what was told": """
        notices webhook_deliveries alert_levels alert_walks outbox unsubscriptions""",
    "what people want": """
        demand_events demand_months demand_standings demand_votes set_aside_votes waitlist_entries
        launches launch_organizations model_requests""",
    "of operators": """
        operators operator_views money_orders organization_notes freezes saved_filters snoozes
        trail_entries trail_heads trail_words audit_runs""",
    "of the deployment": """
        catalog_versions models model_prices price_changes golden_rows schema_ranges mac_secrets
        known_secrets lasting_secrets incidents incident_updates pool_reports promotion_days
        promotion_shares quota_windows worker_orders worker_reports worker_quarantines""",
}
"""The tables that no file carries, and what they are about."""


def written(row: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """Return a row as JSON has it: 64-bit numbers as strings, times in UTC, bytes in base64."""
    return {name: _written(row[name], table.c[name].type) for name in PARTS[table]}


def read(values: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """Return what `written` wrote as a row. Raises ValueError, KeyError or TypeError."""
    values = {**dict.fromkeys(_ADDED.get(table, ())), **values}
    if values.keys() != set(PARTS[table]):
        raise ValueError(f"{table.name}: other columns than those of this format")
    return {name: _read(values[name], table.c[name].type) for name in PARTS[table]}


def _written(value: Any, kind: TypeEngine[Any]) -> Any:
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(kind, LargeBinary):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(kind, BigInteger) else value


def _read(value: Any, kind: TypeEngine[Any]) -> Any:
    if value is None:
        return None
    if isinstance(kind, Instant):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("a time without its zone")
        return moment
    if isinstance(kind, Day):
        return date.fromisoformat(value)
    if isinstance(kind, LargeBinary):
        return base64.b64decode(value, validate=True)
    if isinstance(kind, BigInteger):
        return int(value)
    if not isinstance(value, kind.python_type):
        raise TypeError(f"not {kind.python_type.__name__}: {value!r}")
    return value
