"""The data plane of one process: everything between a request and its vectors.

`credit` is the engine that holds leases, with a ledger and a journal; nothing is opened before the
engine starts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.registry import Collector

from gateway.app.core import Core
from gateway.control_plane.accounts.key_changes import KeyChanges
from gateway.control_plane.accounts.organization_limits import OrganizationLimits
from gateway.control_plane.billing import api
from gateway.control_plane.receipts.api import RECEIPT_OPERATIONS, receipt_routes
from gateway.control_plane.secrets.remaking import Remaking
from gateway.control_plane.status.answers import Answered
from gateway.control_plane.status.request_log import RequestLog
from gateway.data_plane.api import embeddings, health, models
from gateway.data_plane.api.callers import Callers
from gateway.data_plane.api.door import Bounds
from gateway.data_plane.api.exchange import HotEndpoint
from gateway.data_plane.api.hot_path import HotPath
from gateway.data_plane.api.preferences import Patience
from gateway.data_plane.api.replays import Replays
from gateway.data_plane.api.requests import RequestLimits
from gateway.data_plane.auth.authenticator import Authenticator, KeyRules
from gateway.data_plane.auth.reads import ReadRules
from gateway.data_plane.limits.abandonment import Abandonment
from gateway.data_plane.limits.concurrency import InFlight
from gateway.data_plane.limits.rates import KeyRate
from gateway.data_plane.metering.engine_rules import EngineRules
from gateway.data_plane.metering.journal import Journal
from gateway.data_plane.metering.leased_credits import LeasedCredits
from gateway.data_plane.metering.leases import LeaseRules
from gateway.data_plane.metering.metrics import LedgerMetrics
from gateway.data_plane.metering.receipts import ReceiptSigner
from gateway.data_plane.metering.tokens import CountingThreads
from gateway.data_plane.recent_requests import RecentRequests
from gateway.data_plane.records import Records
from gateway.data_plane.routing.metrics import RouterMetrics
from gateway.data_plane.tallies import AnswerTally
from gateway.identifiers import new_id
from gateway.observability.access import access_log
from gateway.observability.exposition import Exposition
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.database_metrics import DatabaseMetrics
from gateway.storage.keys import PostgresKeys, SqliteKeys, open_key_store
from gateway.storage.ledger.postgres import PostgresLedger
from gateway.storage.ledger.sqlite import SqliteLedger
from gateway.wings import Job, Wing

if TYPE_CHECKING:  # only a deployment with Redis imports it
    from gateway.storage.redis import KeyAnnouncements


@dataclass(frozen=True, kw_only=True)
class DataPlane:
    """The parts that serve /v1."""

    authenticator: Authenticator
    key_store: PostgresKeys | SqliteKeys
    announcements: KeyAnnouncements | None
    """Changed keys, to and from other processes; None without Redis."""
    receipts: ReceiptSigner
    ledger: PostgresLedger | SqliteLedger
    credit: LeasedCredits
    counting: CountingThreads
    records: Records
    answered: Answered
    request_log: RequestLog
    hot_path: HotPath
    organization_limits: OrganizationLimits
    watched: list[Collector] = field(default_factory=list)
    """Collectors that /metrics shows as well."""
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once this process leaves its load balancer."""

    async def key_changed(self, digest: bytes) -> None:
        """Forget a key here and in all other processes."""
        self.authenticator.forget(digest)
        if self.announcements:
            await self.announcements.announce(digest)


def make_data_plane(core: Core) -> DataPlane:
    """Make the parts; nothing connects yet."""
    settings, database = core.settings, core.database
    key_store = open_key_store(database)
    authenticator = Authenticator(key_store, secret=settings.keyring, rules=_key_rules(settings))
    receipts = ReceiptSigner(*settings.receipt_keyring.all)
    ledger = _open_ledger(database)
    credits_ = _engine(settings, database, ledger, receipts)
    counting = CountingThreads(settings.counting_threads)
    records = _records(settings)
    in_flight = InFlight(
        total_max=settings.in_flight_max,
        organization_max=settings.organization_in_flight_max,
        bytes_max=settings.bodies_bytes_max,
        organization_bytes_max=settings.organization_bodies_bytes_max,
    )
    return DataPlane(
        authenticator=authenticator,
        key_store=key_store,
        announcements=_announcements(settings, authenticator),
        receipts=receipts,
        ledger=ledger,
        credit=credits_,
        counting=counting,
        records=records,
        answered=Answered(database, records.answers),
        request_log=RequestLog(database, records.recent, rows_max=settings.request_log_rows_max),
        organization_limits=OrganizationLimits(database, in_flight.set_own),
        hot_path=HotPath(
            authenticator=authenticator,
            catalog=core.catalog,
            counters=core.counters,
            counting=counting,
            credit=credits_,
            demand=core.calls,
            unknown=core.unknown,
            estimates=KeyRate(settings.estimates_per_minute),
            in_flight=in_flight,
            limits=_limits(settings),
            proxies=settings.trusted_proxies,
            public_url=settings.public_url,
            replays=Replays(
                seconds=settings.replay_seconds,
                bytes_max=settings.replay_bytes_max,
                waiting_max=settings.replay_waiting_max,
                abandonment=Abandonment(
                    requests_max=settings.abandoned_requests,
                    tokens_share=settings.abandoned_tokens_share,
                ),
            ),
            router=core.router,
            patience=Patience(
                timeout_seconds=settings.request_timeout_seconds,
                hold_seconds=settings.hold_seconds,
                hold_seconds_max=settings.hold_seconds_max,
            ),
        ),
    )


def _records(settings: Settings) -> Records:
    return Records(
        AnswerTally(entries_max=settings.answer_entries_max),
        RecentRequests(
            entries_max=settings.request_log_entries_max,
            organization_entries_max=settings.request_log_organization_entries_max,
        ),
    )


def _announcements(settings: Settings, authenticator: Authenticator) -> KeyAnnouncements | None:
    if not settings.redis_url:
        return None
    from gateway.storage.redis import KeyAnnouncements  # noqa: PLC0415 - see core

    return KeyAnnouncements(settings.redis_url, authenticator.forget)


def _key_rules(settings: Settings) -> KeyRules:
    return KeyRules(
        entries_max=settings.key_cache_entries,
        trusted_seconds=settings.key_cache_seconds,
        stale_seconds=settings.key_stale_seconds,
        unknown_per_minute=settings.unknown_keys_per_minute,
        reads=ReadRules(
            wait_seconds=settings.key_wait_seconds, retry_seconds=settings.key_retry_seconds
        ),
    )


def _limits(settings: Settings) -> RequestLimits:
    return RequestLimits(
        body_bytes_max=settings.body_bytes_max,
        inputs_max=settings.inputs_max,
        input_characters_max=settings.input_characters_max,
        request_characters_max=settings.request_characters_max,
        request_tokens_max=settings.request_tokens_max,
        answer_floats_max=settings.answer_floats_max,
        idempotency_key_characters_max=settings.idempotency_key_characters_max,
    )


def endpoints(data: DataPlane, core: Core) -> list[HotEndpoint]:
    """Return the paths that the front door answers itself."""
    path = data.hot_path
    log_answer = access_log(core.settings.access_log)
    return [
        HotEndpoint(
            path="/v1/embeddings",
            handle=partial(embeddings.embed, path),
            in_flight=path.in_flight,
            records=data.records,
            tracing=core.tracing,
            log_answer=log_answer,
        ),
        HotEndpoint(
            path="/v1/embeddings/estimate",
            handle=partial(embeddings.estimate, path),
            in_flight=path.in_flight,
            tracing=core.tracing,
            log_answer=log_answer,
        ),
    ]


def bounds(settings: Settings) -> Bounds:
    """Return the bounds on what clients may hold."""
    return Bounds(
        connections_max=settings.connections_max,
        pipelined_max=settings.pipelined_max,
        head_bytes_max=settings.head_bytes_max,
        headers_max=settings.headers_max,
        head_seconds=settings.head_seconds,
        body_seconds=settings.body_seconds,
        bytes_per_second_min=settings.client_bytes_per_second_min,
        keep_alive_seconds=settings.keep_alive_seconds,
        connection_seconds=settings.connection_seconds,
        unread_seconds=settings.unread_seconds,
    )


def wings(core: Core, data: DataPlane) -> list[Wing]:
    """Return the wings that serve /v1, and that of health, which every process answers."""
    settings = core.settings
    callers = Callers(
        data.authenticator, KeyRate(settings.reads_per_minute), proxies=settings.trusted_proxies
    )
    authenticator = data.authenticator
    remaking = Remaking(
        core.database,
        authenticator.take_outdated,
        fingerprint=settings.keyring.fingerprints[0],
    )
    changes = KeyChanges(core.database, authenticator.forget, authenticator.outdate)
    served = Wing(
        "data",
        [
            models.router(callers, core.catalog),
        ],
        jobs=[
            Job("key-changes", settings.revocation_poll_seconds, changes.read),
            Job("organization-limits", _LIMITS_SECONDS, data.organization_limits.refresh),
            Job("outdated-digests", _OUTDATED_SECONDS, remaking.run),
            Job("mac-secrets", _MAC_SECRETS_SECONDS, data.authenticator.refresh),
            Job("write-answers", settings.answer_write_seconds, data.answered.flush),
            Job("write-requests", settings.answer_write_seconds, data.request_log.flush),
            Job("journal-room", _ROOM_SECONDS, data.credit.journal.measure),
        ],
    )

    def live() -> list[str]:
        return [model.id for model in core.catalog().models.values() if model.state == "live"]

    data.watched.extend(
        (
            RouterMetrics(core.router, live),
            LedgerMetrics(data.credit),
            DatabaseMetrics(core.database),
        )
    )
    exposition = Exposition(data.watched, core.siblings.metrics if core.siblings else None)
    if core.siblings:
        core.siblings.own_metrics = exposition.own
    watched = health.routes(
        core.catalog,
        core.router,
        data.credit,
        exposition,
        draining=data.draining.is_set,
        runs_on_schema=lambda: not core.schema.flaw,
        ledger_away_seconds_max=settings.ledger_away_seconds_max,
    )
    return [
        served,
        Wing(
            "data",
            [
                api.router(callers, core.database),
                receipt_routes(core.database, data.receipts, callers.count),
            ],
            operations=(*api.OPERATIONS, *RECEIPT_OPERATIONS),
        ),
        Wing("both", watched, jobs=[Job("schema", _SCHEMA_SECONDS, core.schema.look)]),
    ]


_OUTDATED_SECONDS = 1.0
"""How often digests of keys that were made with an older secret are written anew."""
_LIMITS_SECONDS = 5.0
"""How long a changed limit of an organization takes to apply."""
_SCHEMA_SECONDS = 5.0
"""How long a process stays ready on a schema that it no longer runs on."""
_SEGMENT_BYTES = 4_194_304
_ROOM_SECONDS = 30.0
"""How often the room on the journal's disk is measured."""
_MAC_SECRETS_SECONDS = 10.0
"""How often the secrets of keys' MACs are read again."""


def _open_ledger(database: Database) -> PostgresLedger | SqliteLedger:
    """Return the ledger of a database."""
    return SqliteLedger(database) if database.is_sqlite else PostgresLedger(database)


def _engine(
    settings: Settings,
    database: Database,
    ledger: PostgresLedger | SqliteLedger,
    receipts: ReceiptSigner,
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
            commit_seconds=settings.commit_seconds,
            gather_seconds=settings.gather_seconds,
            credit_seconds=settings.credit_wait_seconds,
        ),
        receipts=receipts if settings.receipts else None,
    )


def _journal_folder(settings: Settings, database: Database) -> Path:
    """Return the folder of the journals of this database."""
    if settings.journal_path:
        return Path(settings.journal_path)
    if database.is_sqlite and database.url.database:
        return Path(f"{database.url.database}.journals")
    return Path(".data/journal")
