"""The dashboard of money: what is charged, where usage waits, and whether the books agree."""

from __future__ import annotations

from testing.dashboards.board import Board, rate_by, selected

_DOLLARS = "/ 1e9"
"""Metrics count nano-dollars."""


def board() -> Board:
    """Make it."""
    made = Board(
        "money",
        "Gateway: money",
        "Is everybody charged rightly, does usage reach the ledger, and do payments arrive?",
    )
    _now(made)
    _spending(made)
    _ledger(made)
    _books(made)
    _payments(made)
    return made


def _now(made: Board) -> None:
    made.row("Now")
    made.number(
        "Ledger away",
        f"max({selected('gateway_ledger_away_seconds')})",
        "How long the gateway that is worst off could not write usage. Leases last 90 s.",
        unit="s",
        alert="LedgerAway",
        threshold=30,
    )
    made.number(
        "Organizations refused",
        f"max({selected('gateway_ledger_refused_organizations')})",
        "Set apart and frozen, because the ledger refuses what they used.",
        unit="short",
        alert="LedgerRefusesOrganization",
        threshold=1,
    )
    made.number(
        "Breaches of the books",
        "max(gateway_audit_breaches)",
        "Of the last audit. No value: it is not known, because audits fail.",
        unit="short",
        alert="BooksWrong",
        threshold=1,
    )
    made.number(
        "Last good audit",
        'time() - max(gateway_job_last_success_timestamp_seconds{name="audit"})',
        "How long ago an audit of the books last ran to its end.",
        unit="s",
        alert="AuditNotRunning",
        threshold=3600,
    )
    made.number(
        "Payments behind",
        "max(gateway_payments_overdue_seconds)",
        "How long what Stripe told, or what is due to be read there, has waited.",
        unit="s",
        alert="PaymentsBehind",
        threshold=300,
    )
    made.number(
        "Payments to look at",
        "max(gateway_payments_attention)",
        "Payments that don't add up, until a person has seen them.",
        unit="short",
        alert="PaymentsOdd",
        threshold=1,
    )


def _spending(made: Board) -> None:
    made.row("What is charged")
    made.graph(
        "Charged",
        (f"3600 * {rate_by('gateway_charged_nanos_total', 'model')} {_DOLLARS}", "{{model}}"),
        about="Dollars an hour, by model, at the pace of this moment.",
        unit="currencyUSD",
        width=12,
    )
    made.graph(
        "Billed tokens",
        (rate_by("gateway_tokens_total", "model"), "{{model}}"),
        about="Tokens a second that were embedded and billed. Without spending: they were free.",
        unit="short",
        width=12,
    )


def _ledger(made: Board) -> None:
    made.row("From the gateway to the ledger")
    made.graph(
        "Ledger away",
        (selected("gateway_ledger_away_seconds"), "{{instance}}"),
        about="All gateways at once: the database. One: its way there.",
        unit="s",
        alert="LedgerAway",
        threshold=30,
    )
    made.graph(
        "Not confirmed yet",
        (selected("gateway_ledger_unconfirmed_requests"), "{{instance}}"),
        about="Requests that were answered, and whose usage the ledger has not confirmed.",
        unit="short",
    )
    made.graph(
        "Journal",
        (
            f"{selected('gateway_journal_bytes')} / {selected('gateway_journal_bytes_max')}",
            "{{instance}}",
        ),
        about="How full the journal is, for usage that the database could not take in time.",
        unit="percentunit",
        ceiling=1,
        alert="JournalNearlyFull",
        threshold=0.5,
    )
    made.graph(
        "Journal in use",
        (rate_by("gateway_journal_requests_total", "instance"), "{{instance}}: requests"),
        (rate_by("gateway_journal_failures_total", "instance"), "{{instance}}: failures"),
        about="Requests per second that the journal acknowledged because the ledger took too long, "
        "and attempts to write that failed.",
        unit="reqps",
    )
    made.graph(
        "Credit in leases",
        (f"sum({selected('gateway_lease_free_nanos')}) {_DOLLARS}", "free"),
        (f"sum({selected('gateway_lease_reserved_nanos')}) {_DOLLARS}", "reserved"),
        about="Dollars that gateways hold of accounts, to serve without asking the database.",
        unit="currencyUSD",
        stacked=True,
    )
    made.graph(
        "Requests that wait for credit",
        (selected("gateway_lease_waiting_requests"), "{{instance}}"),
        about="Each waits for the database, GATEWAY_CREDIT_WAIT_SECONDS at most (503).",
        unit="short",
    )


def _books(made: Board) -> None:
    made.row("Right or wrong")
    made.graph(
        "Written off, unknown",
        (f"increase({selected('gateway_ledger_written_off_requests_total')}[1h])", "written off"),
        (f"increase({selected('gateway_charges_unknown_total')}[1h])", "unknown"),
        about="Of the last hour: answered and not chargeable any more; and clients told that it "
        "is not known whether they were charged, which is credited back.",
        unit="short",
        alert="UsageWrittenOff",
    )
    made.graph(
        "Breaches",
        ("max by (invariant) (gateway_audit_breaches)", "{{invariant}}"),
        about="What the last audit found against each rule, at most 20. A gap: audits fail.",
        unit="short",
        alert="BooksWrong",
        threshold=1,
    )
    made.graph(
        "Ticks refused",
        (rate_by("gateway_ledger_refusals_total", "instance"), "{{instance}}"),
        about="Writes that the ledger refused because of their contents.",
        unit="ops",
        alert="LedgerRefusesOrganization",
    )


def _payments(made: Board) -> None:
    made.row("Payments through Stripe")
    made.graph(
        "Events",
        ("sum by (type) (rate(gateway_stripe_events_total[$__rate_interval]))", "{{type}}"),
        about="What Stripe told, by type.",
        unit="ops",
    )
    made.graph(
        "Events refused",
        (
            "sum by (reason) (rate(gateway_stripe_events_refused_total[$__rate_interval]))",
            "{{reason}}",
        ),
        about="Calls of the webhook that were refused. signature: the secret, or a stranger.",
        unit="ops",
        alert="StripeWebhookRefused",
    )
    made.graph(
        "Behind",
        ("max(gateway_payments_overdue_seconds)", "to be read"),
        ("max(gateway_payments_unanswered_seconds)", "without an outcome"),
        about="The oldest that waits to be read; and the oldest auto top-up or refund of which "
        "Stripe has not said what became of it.",
        unit="s",
        alert="PaymentsBehind",
        threshold=300,
    )
