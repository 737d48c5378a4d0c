"""Leased credit, its journal, the ledger and its receipts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from gateway.settings.declaring import SECRET, Count, Seconds, text


@dataclass(frozen=True, kw_only=True)
class MeteringSettings:
    """Leased credit, its journal, the ledger and its receipts."""

    lease_seconds: Annotated[
        Seconds,
        text(
            "How long a process keeps its leased credit without reaching the database. It serves "
            "paid requests until then; a dead process's credit is unavailable until then."
        ),
    ] = 90.0
    ledger_away_seconds_max: Annotated[
        Seconds,
        text(
            "How long usage may fail to reach the database before /health/ready returns 503. "
            "Below GATEWAY_LEASE_SECONDS, requests that leased credit could still pay for are "
            "turned away."
        ),
    ] = 90.0
    lease_slice_nanos: Annotated[
        Count, text("Credit leased at first; more is leased as it is spent faster.")
    ] = 2_000_000
    lease_slice_nanos_max: Annotated[Count, text("Most credit leased at once.")] = 10**9
    commit_seconds: Annotated[
        Seconds, text("How long a response waits for the database before the journal is used.")
    ] = 0.05
    gather_seconds: Annotated[
        float,
        Meta(ge=0, le=0.02),
        text(
            "The least time between two transactions of usage. Above 0, requests that come "
            "faster share one, which spares the database but delays their responses by that "
            "much."
        ),
    ] = 0.0
    credit_wait_seconds: Annotated[
        Seconds, text("How long a request waits for credit from the database (503).")
    ] = 2.0
    journal_path: Annotated[
        str,
        text(
            "A folder on a disk that outlives the process, for usage that the database could not "
            "store in time; one folder per database. Empty: .data/journal, or beside the SQLite "
            "file."
        ),
    ] = ""
    journal_bytes_max: Annotated[Count, text("Most bytes in one process's journal (503).")] = (
        268_435_456
    )
    usage_retention_days: Annotated[
        int, Meta(ge=32), text("How long individual usage rows are kept; hourly sums stay.")
    ] = 400
    audit_interval_seconds: Annotated[Seconds, text("How often the ledger is audited.")] = 300.0
    receipt_secret: Annotated[
        str,
        SECRET,
        text(
            "The secret that receipt keys are made from instead of GATEWAY_SECRET, so that the "
            "two can be rotated separately. Several, separated by commas: the first signs. Empty: "
            "GATEWAY_SECRET."
        ),
    ] = ""
    receipts: Annotated[bool, text("Whether responses carry a signed receipt in x-receipt.")] = True
