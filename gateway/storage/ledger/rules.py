"""The rules that hold for money at every moment: each is SQL that finds the rows that break it.

`invariants.audit` runs them. Which entries, usage and leases they read depends on how far the books
are sealed, so these are in braces. A rule `of_rows` applies to each row by itself: it reads the
rows since the last seal. The others compare the current state with sums over all rows: they read
the sealed sums and what isn't sealed yet.
"""

from __future__ import annotations

from typing import NamedTuple


class Invariant(NamedTuple):
    """A rule, and the query for what breaks it (one column: the id of the culprit)."""

    name: str
    rule: str
    sql: str
    of_rows: bool = False
    by_hour: str = ""
    """The same for only the hour `:hour` of usage, on PostgreSQL."""


_ORGANIZATIONS = """(
    SELECT id, sum(balance) AS balance, sum(used) AS used FROM (
        SELECT id, CASE kind WHEN 'balance' THEN amount ELSE 0 END AS balance,
            CASE kind WHEN 'used' THEN amount ELSE 0 END AS used
        FROM audit_sums WHERE {sums} AND kind IN ('balance', 'used')
        UNION ALL SELECT CAST(organization_id AS text), balance, used FROM (
            SELECT organization_id, sum(amount_nanos) AS balance,
                -sum(CASE WHEN kind = 'usage' THEN amount_nanos ELSE 0 END) AS used
            FROM ledger_entries WHERE {entries} GROUP BY organization_id) entered) parts
    GROUP BY id)"""
_CHARGED = """(
    SELECT lease, sum(nanos) AS nanos FROM (
        SELECT id AS lease, amount AS nanos FROM audit_sums WHERE {sums} AND kind = 'lease'
        UNION ALL SELECT CAST(lease_id AS text), charged_nanos FROM usage_events
        WHERE {usage} AND lease_id IS NOT NULL
        UNION ALL SELECT CAST(budget_lease_id AS text), charged_nanos FROM usage_events
        WHERE {usage} AND budget_lease_id IS NOT NULL) parts
    GROUP BY lease)"""
_POSTED = """(
    SELECT lease, sum(nanos) AS nanos FROM (
        SELECT id AS lease, amount AS nanos FROM audit_sums WHERE {sums} AND kind = 'posted'
        UNION ALL SELECT substr(ref, 1, 36), -amount_nanos FROM ledger_entries
        WHERE {entries} AND kind = 'usage' AND length(ref) > 36) parts
    GROUP BY lease)"""
_DAYS = """
    SELECT organization_id FROM (
        SELECT organization_id, day, key_id, model_id, shard, requests, inputs, tokens,
            charged_nanos FROM usage_days WHERE {days}
        UNION ALL SELECT organization_id, utc_date(hour), key_id, model_id, shard, -requests,
            -inputs, -tokens, -charged_nanos FROM usage_hours WHERE {hours}) parts
    GROUP BY organization_id, day, key_id, model_id, shard
    HAVING sum(requests) <> 0 OR sum(inputs) <> 0 OR sum(tokens) <> 0
        OR sum(charged_nanos) <> 0"""

INVARIANTS = (
    Invariant(
        "balance-equals-ledger",  # I1
        "available + leased - owed is the sum of the account's ledger entries",
        f"""
        SELECT a.id FROM accounts a LEFT JOIN {_ORGANIZATIONS} o ON o.id = CAST(a.id AS text)
        WHERE a.key_id IS NULL
            AND a.available_nanos + a.leased_nanos - a.owed_nanos <> coalesce(o.balance, 0)
        """,
    ),
    Invariant(
        "spent-equals-ledger",  # I1
        "what an account has spent is the sum of its entries of usage",
        f"""
        SELECT a.id FROM accounts a LEFT JOIN {_ORGANIZATIONS} o ON o.id = CAST(a.id AS text)
        WHERE a.key_id IS NULL AND a.spent_nanos <> coalesce(o.used, 0)
        """,
    ),
    Invariant(
        "budget-adds-up",  # I1, for the budgets of keys
        "what a budget has available, leased and spent adds up to its limit",
        """
        SELECT id FROM accounts WHERE key_id IS NOT NULL
            AND available_nanos + leased_nanos - owed_nanos + spent_nanos <> limit_nanos
        """,
    ),
    Invariant(
        "budget-has-its-limit",
        "the limit of a budget in its current period is the one that its key was given",
        """
        SELECT a.id FROM accounts a JOIN key_budgets b ON b.key_id = a.key_id
            AND a.period = CASE b.period WHEN 'total' THEN 'total' ELSE :month END
        WHERE a.limit_nanos <> b.limit_nanos
        """,
    ),
    Invariant(
        "budget-equals-usage",  # I4, for the budgets of keys
        "what a budget has spent is what usage charged to it, and usage from before it was set",
        """
        SELECT a.id FROM accounts a LEFT JOIN (
            SELECT account_id, sum(spent_nanos - posted_nanos) AS nanos FROM leases
            WHERE state = 'open' GROUP BY account_id) l ON l.account_id = a.id
        LEFT JOIN (
            SELECT id, sum(nanos) AS nanos FROM (
                SELECT id, amount AS nanos FROM audit_sums WHERE {sums} AND kind = 'budget'
                UNION ALL SELECT CAST(budget_id AS text), charged_nanos FROM usage_events
                WHERE {usage} AND budget_id IS NOT NULL) parts
            GROUP BY id) u ON u.id = CAST(a.id AS text)
        WHERE a.key_id IS NOT NULL
            AND a.spent_nanos + coalesce(l.nanos, 0) <> coalesce(u.nanos, 0)
        """,
    ),
    Invariant(
        "never-negative",  # I2
        "no balance is negative, and nothing is available while anything is owed",
        """
        SELECT id FROM accounts WHERE available_nanos < 0 OR leased_nanos < 0 OR owed_nanos < 0
            OR (owed_nanos > 0 AND available_nanos > 0)
        """,
    ),
    Invariant(
        "leased-equals-leases",  # I3
        "leased is what open leases were granted and have not posted",
        """
        SELECT a.id FROM accounts a LEFT JOIN (
            SELECT account_id, sum(granted_nanos - posted_nanos) AS nanos FROM leases
            WHERE state = 'open' GROUP BY account_id) l ON l.account_id = a.id
        WHERE a.leased_nanos <> coalesce(l.nanos, 0)
        """,
    ),
    Invariant(
        "closed-leases-are-posted",  # I3
        "a closed lease has spent all that it kept, and posted all of it",
        """
        SELECT l.id FROM {leases} l WHERE l.state = 'closed'
            AND (l.granted_nanos <> l.spent_nanos OR l.posted_nanos <> l.spent_nanos)
        """,
    ),
    Invariant(
        "lease-equals-usage",  # I4
        "what a lease has spent is the sum of what its usage rows charged",
        f"""
        SELECT l.id FROM {{leases}} l LEFT JOIN {_CHARGED} u ON u.lease = CAST(l.id AS text)
        WHERE l.spent_nanos <> coalesce(u.nanos, 0)
        """,
    ),
    Invariant(
        "postings-equal-ledger",  # I4
        "what a lease posted is the sum of its ledger entries",
        f"""
        SELECT l.id FROM {{leases}} l JOIN accounts a ON a.id = l.account_id AND a.key_id IS NULL
        LEFT JOIN {_POSTED} e ON e.lease = CAST(l.id AS text)
        WHERE l.posted_nanos <> coalesce(e.nanos, 0)
        """,
    ),
    Invariant(
        "direct-usage-is-entered-once",  # I5
        "usage that an account paid directly has one ledger entry of its cost",
        """
        SELECT u.request_id FROM usage_events u
        LEFT JOIN ledger_entries e ON e.kind = 'usage' AND e.ref = CAST(u.request_id AS text)
        WHERE {usage} AND u.lease_id IS NULL AND u.charged_nanos > 0
            AND (e.id IS NULL OR e.amount_nanos <> -u.charged_nanos
                OR e.organization_id <> u.organization_id)
        """,
        of_rows=True,
    ),
    Invariant(
        "cost-is-tokens-times-price",  # I5
        "each usage row costs its tokens at its own price, rounded up",
        """
        SELECT u.request_id FROM usage_events u LEFT JOIN model_prices p ON p.id = u.price_id
        WHERE {usage} AND (p.id IS NULL OR p.model_id <> u.model_id
            OR u.cost_nanos <> (CAST(u.tokens AS bigint) * p.nanos_per_million_tokens + 999999)
                / 1000000)
        """,
        of_rows=True,
    ),
    Invariant(
        "charged-whole-or-not-at-all",  # I5
        "each usage row charges its cost, or nothing where it is free or written off",
        """
        SELECT request_id FROM usage_events u
        WHERE {usage} AND u.charged_nanos NOT IN (0, u.cost_nanos)
        """,
        of_rows=True,
    ),
    Invariant(
        "usage-has-an-owner",  # I5
        "each usage row names a key of its organization",
        """
        SELECT u.request_id FROM usage_events u LEFT JOIN api_keys k ON k.id = u.key_id
        WHERE {usage} AND (k.id IS NULL OR k.organization_id <> u.organization_id)
        """,
        of_rows=True,
    ),
    Invariant(
        "hours-equal-usage",  # I5
        "the sums by the hour are the sums of the usage rows; where these are gone, those of each "
        "day are what they were",
        """
        SELECT slot FROM (
            SELECT CASE WHEN hour < :kept THEN utc_day(hour) ELSE CAST(organization_id AS text) END
                AS slot, CASE WHEN hour >= :kept THEN utc_hour(hour) END AS hour,
                CASE WHEN hour >= :kept THEN key_id END AS key_id,
                CASE WHEN hour >= :kept THEN model_id END AS model_id,
                requests, inputs, tokens, charged_nanos
            FROM usage_hours WHERE shard >= 0
            UNION ALL SELECT
                CASE WHEN created_at < :kept THEN utc_day(created_at)
                ELSE CAST(organization_id AS text) END,
                CASE WHEN created_at >= :kept THEN utc_hour(created_at) END,
                CASE WHEN created_at >= :kept THEN key_id END,
                CASE WHEN created_at >= :kept THEN model_id END,
                -1, -inputs, -tokens, -charged_nanos
            FROM usage_events
            UNION ALL SELECT id, NULL, NULL, NULL,
                CASE kind WHEN 'requests' THEN -amount ELSE 0 END,
                CASE kind WHEN 'inputs' THEN -amount ELSE 0 END,
                CASE kind WHEN 'tokens' THEN -amount ELSE 0 END,
                CASE kind WHEN 'charged' THEN -amount ELSE 0 END
            FROM audit_sums WHERE part = 'opening'
                AND kind IN ('requests', 'inputs', 'tokens', 'charged')) parts
        GROUP BY slot, hour, key_id, model_id
        HAVING sum(requests) <> 0 OR sum(inputs) <> 0 OR sum(tokens) <> 0
            OR sum(charged_nanos) <> 0
        """,
        of_rows=True,
        by_hour="""
        SELECT organization_id FROM (
            SELECT organization_id, key_id, model_id, requests, inputs, tokens, charged_nanos
            FROM usage_hours WHERE hour = :hour AND shard >= 0
            UNION ALL SELECT organization_id, key_id, model_id, -1, -inputs, -tokens,
                -charged_nanos FROM usage_events
            WHERE request_id >= ledger_first_id(:hour)
                AND request_id < ledger_first_id(:hour_after)) parts
        GROUP BY organization_id, key_id, model_id
        HAVING sum(requests) <> 0 OR sum(inputs) <> 0 OR sum(tokens) <> 0
            OR sum(charged_nanos) <> 0
        """,
    ),
    Invariant(
        "imported-hours-are-what-came",
        "the hours that came with an organization from another deployment, without their usage "
        "rows, are charged what they were",
        """
        SELECT id FROM (
            SELECT CAST(organization_id AS text) AS id, charged_nanos AS nanos
            FROM usage_hours WHERE shard < 0
            UNION ALL SELECT id, -amount FROM audit_sums
            WHERE part = 'opening' AND kind = 'imported') parts
        GROUP BY id HAVING sum(nanos) <> 0
        """,
        of_rows=True,
        by_hour="""
        SELECT organization_id FROM usage_hours WHERE hour = :hour AND shard < 0
            AND CAST(organization_id AS text) NOT IN (
                SELECT id FROM audit_sums WHERE part = 'opening' AND kind = 'imported')
        """,
    ),
    Invariant(
        "days-equal-hours",  # I5
        "the sums by the UTC day are the sums of their hours",
        _DAYS.format(days="true", hours="true"),
        of_rows=True,
        by_hour=_DAYS.format(days="day = :day", hours="hour >= :midnight AND hour < :day_after"),
    ),
    Invariant(
        "lots-equal-balance",
        "the remaining credit of the lots is what is available and leased",
        """
        SELECT a.id FROM accounts a LEFT JOIN (
            SELECT organization_id, sum(remaining_nanos) AS nanos FROM credit_lots
            GROUP BY organization_id) l ON l.organization_id = a.id
        WHERE a.key_id IS NULL
            AND a.available_nanos + a.leased_nanos <> coalesce(l.nanos, 0)
        """,
    ),
    Invariant(
        "lots-add-up",
        "what remains of a lot and what was taken of it add up to its amount",
        "SELECT id FROM credit_lots WHERE remaining_nanos + burned_nanos <> amount_nanos",
    ),
    Invariant(
        "lots-equal-grants",
        "a lot that was granted has one entry of its amount, and one that was bought is its "
        "payment's, here or where its organization was before",
        """
        SELECT l.id FROM credit_lots l
        LEFT JOIN ledger_entries e ON e.kind = 'grant' AND e.ref = CAST(l.id AS text)
        LEFT JOIN payments p ON l.source_ref = 'payment:' || CAST(p.id AS text)
        LEFT JOIN audit_sums s ON s.part = 'opening' AND s.kind = 'lot'
            AND s.id = CAST(l.id AS text)
        WHERE CASE WHEN e.id IS NULL THEN 0 ELSE 1 END + CASE WHEN p.id IS NULL THEN 0 ELSE 1 END
                + CASE WHEN s.id IS NULL THEN 0 ELSE 1 END <> 1
            OR l.amount_nanos <> coalesce(e.amount_nanos, p.credit_nanos, s.amount)
            OR l.organization_id <>
                coalesce(e.organization_id, p.organization_id, l.organization_id)
        UNION ALL SELECT e.organization_id FROM ledger_entries e
        LEFT JOIN credit_lots l ON CAST(l.id AS text) = e.ref
        WHERE e.kind = 'grant' AND l.id IS NULL
        """,
    ),
    Invariant(
        "all-sums-to-nothing",  # I9
        "all accounts, the platform's own included, sum to zero",
        f"""
        SELECT 'the platform' FROM (
            SELECT sum(nanos) AS nanos FROM (
                SELECT coalesce(sum(available_nanos + leased_nanos - owed_nanos), 0) AS nanos
                FROM accounts WHERE key_id IS NULL
                UNION ALL SELECT -coalesce(sum(balance), 0) FROM {_ORGANIZATIONS} o
                UNION ALL SELECT coalesce(sum(amount_nanos), 0) FROM book_entries
                WHERE account IS NOT NULL
                UNION ALL SELECT -coalesce(sum(amount_nanos), 0) FROM book_entries
                WHERE counterpart IS NOT NULL) parts
            ) total WHERE nanos <> 0
        """,
    ),
)
