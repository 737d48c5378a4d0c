"""The rules for payments and the platform's own accounts; see rules.py.

Each audit reads them completely: a payment has few rows, however much its credit is used.
"""

from __future__ import annotations

from gateway.storage.ledger.rules import Invariant

PAYMENT_INVARIANTS = (
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
        "payments-post-their-worth",  # I8
        "a paid payment is of its credit and its tax, and has posted what it kept of them, unless "
        "an operator looks at it",
        """
        SELECT id FROM payments WHERE credit_nanos <> CAST(amount_cents AS bigint) * 10000000
            OR (state = 'paid' AND received_cents > 0 AND attention = '' AND seen = ''
                AND (received_cents <> amount_cents + tax_cents
                OR posted_nanos + tax_posted_nanos <> 10000000 * CAST(CASE
                    WHEN received_cents > refunded_cents + disputed_cents
                    THEN received_cents - refunded_cents - disputed_cents ELSE 0 END AS bigint)))
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
