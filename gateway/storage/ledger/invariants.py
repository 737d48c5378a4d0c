"""What must be true of the money at every moment: each is SQL that finds the rows that break it.

The tests run them after everything they do; `gateway audit` and a job run them on a live database.
One transaction sees one moment, so they hold under load too. Invariants over requests look back to
`since` only: old usage rows are dropped, and sums over all of them would cost ever more. Sums over
accounts and ledger entries are always complete.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import see_one_moment
from gateway.storage.tables.types import Day, Instant

SHOWN_MAX = 20
_EVER = datetime(2020, 1, 1, tzinfo=UTC)
# the only SQL that differs between the two databases
_UTC_DAY_OF_HOUR = {
    "postgresql": "CAST(timezone('UTC', hour) AS date)",
    "sqlite": "substr(hour, 1, 10)",
}


class Invariant(NamedTuple):
    """A rule, and the query for what breaks it (one column: the id of the culprit)."""

    name: str
    rule: str
    sql: str


class Breach(NamedTuple):
    """A broken rule, and up to 20 of the accounts, leases or requests that break it."""

    invariant: Invariant
    culprits: list[str]


INVARIANTS = (
    Invariant(
        "balance-equals-ledger",  # I1
        "available + leased - owed is the sum of the account's ledger entries",
        """
        SELECT a.id FROM accounts a LEFT JOIN (
            SELECT organization_id, sum(amount_nanos) AS nanos FROM ledger_entries
            GROUP BY organization_id) e ON e.organization_id = a.id
        WHERE a.key_id IS NULL
            AND a.available_nanos + a.leased_nanos - a.owed_nanos <> coalesce(e.nanos, 0)
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
        SELECT id FROM leases WHERE state = 'closed'
            AND (granted_nanos <> spent_nanos OR posted_nanos <> spent_nanos)
        """,
    ),
    Invariant(
        "lease-equals-usage",  # I4
        "what a lease has spent is the sum of what its usage rows charged",
        """
        SELECT l.id FROM leases l LEFT JOIN (
            SELECT lease, sum(nanos) AS nanos FROM (
                SELECT lease_id AS lease, charged_nanos AS nanos FROM usage_events
                WHERE created_at >= :since
                UNION ALL SELECT budget_lease_id, charged_nanos FROM usage_events
                WHERE budget_lease_id IS NOT NULL AND created_at >= :since) parts
            GROUP BY lease) u ON u.lease = l.id
        WHERE l.opened_at >= :since AND l.spent_nanos <> coalesce(u.nanos, 0)
        """,
    ),
    Invariant(
        "postings-equal-ledger",  # I4
        "what a lease posted is the sum of its ledger entries",
        """
        SELECT l.id FROM leases l JOIN accounts a ON a.id = l.account_id AND a.key_id IS NULL
        LEFT JOIN (
            SELECT substr(ref, 1, 36) AS lease, -sum(amount_nanos) AS nanos FROM ledger_entries
            WHERE kind = 'usage' AND length(ref) > 36 AND created_at >= :since
            GROUP BY substr(ref, 1, 36)) e ON e.lease = CAST(l.id AS text)
        WHERE l.opened_at >= :since AND l.posted_nanos <> coalesce(e.nanos, 0)
        """,
    ),
    Invariant(
        "direct-usage-is-entered-once",  # I5
        "usage that an account paid directly has one ledger entry of its cost",
        """
        SELECT u.request_id FROM usage_events u
        LEFT JOIN ledger_entries e ON e.kind = 'usage' AND e.ref = CAST(u.request_id AS text)
        WHERE u.created_at >= :since AND u.lease_id IS NULL AND u.charged_nanos > 0
            AND (e.id IS NULL OR e.amount_nanos <> -u.charged_nanos
                OR e.organization_id <> u.organization_id)
        """,
    ),
    Invariant(
        "cost-is-tokens-times-price",  # I5
        "each usage row costs its tokens at its own price, rounded up",
        """
        SELECT u.request_id FROM usage_events u LEFT JOIN model_prices p ON p.id = u.price_id
        WHERE u.created_at >= :since AND (p.id IS NULL OR p.model_id <> u.model_id
            OR u.cost_nanos <> (CAST(u.tokens AS bigint) * p.nanos_per_million_tokens + 999999)
                / 1000000)
        """,
    ),
    Invariant(
        "usage-has-an-owner",  # I5
        "each usage row names a key of its organization",
        """
        SELECT u.request_id FROM usage_events u LEFT JOIN api_keys k ON k.id = u.key_id
        WHERE u.created_at >= :since AND (k.id IS NULL OR k.organization_id <> u.organization_id)
        """,
    ),
    Invariant(
        "hours-equal-usage",  # I5
        "the sums by the hour are the sums of the usage rows",
        """
        SELECT organization_id FROM (
            SELECT organization_id, requests, inputs, tokens, charged_nanos FROM usage_hours
            WHERE hour >= :hour
            UNION ALL SELECT organization_id, -1, -inputs, -tokens, -charged_nanos
            FROM usage_events WHERE created_at >= :hour) parts
        GROUP BY organization_id
        HAVING sum(requests) <> 0 OR sum(inputs) <> 0 OR sum(tokens) <> 0
            OR sum(charged_nanos) <> 0
        """,
    ),
    Invariant(
        "days-equal-hours",  # I5
        "the sums by the UTC day are the sums of their hours",
        """
        SELECT organization_id FROM (
            SELECT organization_id, day, key_id, model_id, shard, requests, inputs, tokens,
                charged_nanos FROM usage_days WHERE day >= :day
            UNION ALL SELECT organization_id, utc_day(hour), key_id, model_id, shard, -requests,
                -inputs, -tokens, -charged_nanos FROM usage_hours WHERE hour >= :midnight) parts
        GROUP BY organization_id, day, key_id, model_id, shard
        HAVING sum(requests) <> 0 OR sum(inputs) <> 0 OR sum(tokens) <> 0
            OR sum(charged_nanos) <> 0
        """,
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
        "posted-within-received",  # I8
        "credit and tax of a payment are at most what Stripe received for it and did not give back",
        """
        SELECT id FROM payments
        WHERE posted_nanos + tax_posted_nanos > 10000000 * CAST(CASE
            WHEN received_cents > refunded_cents + disputed_cents
            THEN received_cents - refunded_cents - disputed_cents ELSE 0 END AS bigint)
        """,
    ),
    Invariant(
        "payments-equal-ledger",  # I8
        "what a payment posted is the sum of its entries: credit in the ledger, tax in the books",
        """
        SELECT payment FROM (
            SELECT CAST(id AS text) AS payment, posted_nanos AS credit, tax_posted_nanos AS tax
            FROM payments
            UNION ALL SELECT substr(ref, 1, 36), -amount_nanos, 0 FROM ledger_entries
            WHERE kind IN ('topup', 'reversal') AND counterpart = 'receivable'
            UNION ALL SELECT CAST(payment_id AS text), 0, -amount_nanos FROM book_entries
            WHERE kind = 'tax') parts
        GROUP BY payment HAVING sum(credit) <> 0 OR sum(tax) <> 0
        """,
    ),
    Invariant(
        "all-sums-to-nothing",  # I9
        "all accounts, the platform's own included, sum to zero",
        """
        SELECT 'the platform' FROM (
            SELECT sum(nanos) AS nanos FROM (
                SELECT coalesce(sum(available_nanos + leased_nanos - owed_nanos), 0) AS nanos
                FROM accounts WHERE key_id IS NULL
                UNION ALL SELECT -coalesce(sum(amount_nanos), 0) FROM ledger_entries
                UNION ALL SELECT coalesce(sum(amount_nanos), 0) FROM book_entries
                WHERE account IS NOT NULL
                UNION ALL SELECT -coalesce(sum(amount_nanos), 0) FROM book_entries
                WHERE counterpart IS NOT NULL) parts
            ) total WHERE nanos <> 0
        """,
    ),
    Invariant(
        "clearing-equals-stripe",  # I10
        # that Stripe's balance has no others is what the sweep looks after
        "minus stripe_clearing is the net of Stripe's balance transactions from payments, before "
        "payouts, each entered once",
        """
        SELECT ref FROM (
            SELECT id AS ref, CAST(gross_cents - fee_cents AS bigint) * 10000000 AS nanos
            FROM stripe_transactions
            UNION ALL SELECT ref, CASE WHEN account = 'stripe_clearing' THEN amount_nanos
                ELSE -amount_nanos END
            FROM book_entries WHERE 'stripe_clearing' IN (account, counterpart)) parts
        GROUP BY ref HAVING sum(nanos) <> 0
        """,
    ),
    Invariant(
        "settled-payments-are-received",
        # Stripe may enter a charge in its balance hours after it succeeded. More may go back than
        # came in, by a refund and a dispute of the same money: that stays a receivable, our loss.
        "a payment that is final and nothing of it open has no receivable after a day, unless more "
        "went back than came in, or an operator looks at it",
        """
        SELECT p.id FROM payments p JOIN (
            SELECT payment, sum(nanos) AS nanos FROM (
                SELECT substr(ref, 1, 36) AS payment, -amount_nanos AS nanos FROM ledger_entries
                WHERE kind IN ('topup', 'reversal') AND counterpart = 'receivable'
                UNION ALL SELECT CAST(payment_id AS text), CASE WHEN account = 'receivable'
                    THEN amount_nanos ELSE -amount_nanos END
                FROM book_entries WHERE 'receivable' IN (account, counterpart)) parts
            GROUP BY payment) r ON r.payment = CAST(p.id AS text)
        WHERE r.nanos <> 0 AND p.state IN ('paid', 'failed', 'canceled', 'expired')
            AND p.refunded_cents + p.disputed_cents <= p.received_cents
            AND p.attention = '' AND p.seen = ''
            AND (p.received_cents = 0 OR p.paid_at < :yesterday
                OR EXISTS (SELECT 1 FROM stripe_transactions t
                WHERE t.payment_id = p.id AND t.type IN ('charge', 'payment')))
            AND NOT EXISTS (SELECT 1 FROM payment_refunds f WHERE f.payment_id = p.id
                AND f.state IN ('started', 'pending', 'requires_action'))
            AND NOT EXISTS (SELECT 1 FROM payment_disputes d WHERE d.payment_id = p.id
                AND d.status NOT IN ('won', 'lost', 'warning_closed', 'prevented'))
        """,
    ),
)


async def audit(connection: AsyncConnection, since: datetime = _EVER) -> list[Breach]:
    """Run every invariant in the connection's transaction and return what is broken."""
    await see_one_moment(connection)
    hour = since.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    midnight = hour.replace(hour=0)
    moments = {
        "since": since,
        "hour": hour,
        "midnight": midnight,
        "day": midnight.date(),
        "yesterday": datetime.now(UTC) - timedelta(days=1),
    }
    breaches = []
    for invariant in INVARIANTS:
        used = [name for name in moments if f":{name}" in invariant.sql]
        sql = invariant.sql.replace("utc_day(hour)", _UTC_DAY_OF_HOUR[connection.dialect.name])
        query = text(f"{sql} LIMIT {SHOWN_MAX}").bindparams(
            *(bindparam(name, type_=Day() if name == "day" else Instant()) for name in used)
        )
        found = await connection.scalars(query, {name: moments[name] for name in used})
        if culprits := [str(culprit) for culprit in found.all()]:
            breaches.append(Breach(invariant, culprits))
    return breaches
