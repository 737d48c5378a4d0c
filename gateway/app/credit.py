"""The credit of one process: the engine that holds leases, its ledger, and its journal.

Made from the settings; nothing is opened before the engine starts.
"""

from __future__ import annotations

from pathlib import Path

from gateway.data_plane.metering.journal import Journal
from gateway.data_plane.metering.leased_credits import EngineRules, LeasedCredits
from gateway.data_plane.metering.leases import LeaseRules
from gateway.identifiers import new_id
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.ledger.postgres import PostgresLedger
from gateway.storage.ledger.sqlite import SqliteLedger

_SEGMENT_BYTES = 4_194_304


def open_ledger(database: Database) -> PostgresLedger | SqliteLedger:
    """Return the ledger of a database."""
    return SqliteLedger(database) if database.is_sqlite else PostgresLedger(database)


def engine(
    settings: Settings, database: Database, ledger: PostgresLedger | SqliteLedger
) -> LeasedCredits:
    """Make the engine, with a journal of its own."""
    return LeasedCredits(
        ledger,
        Journal(
            _journal_folder(settings, database),
            new_id(),
            bytes_max=settings.journal_bytes_max,
            segment_bytes=min(_SEGMENT_BYTES, settings.journal_bytes_max),
        ),
        leases=LeaseRules(
            lease_seconds=settings.lease_seconds,
            margin_seconds=settings.lease_seconds / 9,
            renew_seconds=settings.lease_seconds / 3,
            slice_nanos=settings.lease_slice_nanos,
            slice_nanos_max=settings.lease_slice_nanos_max,
        ),
        rules=EngineRules(
            commit_seconds=settings.commit_seconds, credit_seconds=settings.credit_wait_seconds
        ),
    )


def _journal_folder(settings: Settings, database: Database) -> Path:
    """Return the folder of the journals of this database."""
    if settings.journal_path:
        return Path(settings.journal_path)
    if database.is_sqlite and database.url.database:
        return Path(f"{database.url.database}.journals")
    return Path(".data/journal")
