"""An organization's requests as its console lists them: how they were answered, and what they cost.

How a request was answered is in the log, which is bounded; what it cost is read from the ledger
each time, so that a page can't say anything else. A charge that the log does not have is found in
the ledger by its id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

import msgspec
from sqlalchemy import Row, Select, false, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.data_plane.tallies import ERRORS_FROM
from gateway.identifiers import first_id, is_id
from gateway.storage.tables import api_keys, credit_lots, request_log, usage_events

Outcome = Literal["", "success", "errors", "4xx", "5xx"]
_SERVER_ERRORS_FROM = 500
_STATUS_OK = 200


class Charged(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger says of a request."""

    inputs: int
    tokens: int
    cost_nanos: int
    """What it would have cost alone."""
    charged_nanos: int
    """What was charged: that, or 0."""
    is_credited_back: bool


class LoggedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request, and its charge if it has one."""

    request_id: str
    created_at: datetime
    key_id: str
    key_name: str | None
    key_last_four: str | None
    model_id: str
    status: int
    code: str
    latency_ms: int | None
    """None: it is not in the log."""
    tokens: int | None
    original_id: str | None
    missed: int
    charge: Charged | None = None
    """None: the ledger has none, or none yet."""

    @property
    def is_error(self) -> bool:
        """Whether it was refused, failed or left."""
        return self.status >= ERRORS_FROM


class RequestFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests; what is empty says nothing."""

    outcome: Outcome = ""
    code: str = ""
    key_id: str = ""
    model_id: str = ""
    day: date | None = None

    def __bool__(self) -> bool:
        """Tell whether it leaves any out."""
        return self != RequestFilter()


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What an organization's log has to choose from."""

    codes: list[str]
    models: list[str]


async def page(
    connection: AsyncConnection,
    organization_id: str,
    chosen: RequestFilter,
    *,
    before: str = "",
    limit: int,
) -> list[LoggedRequest]:
    """Return the newest requests of the log, or those that came before one."""
    log = request_log.c
    query = _logged(organization_id).order_by(log.request_id.desc()).limit(limit)
    if before:
        query = query.where(log.request_id < before if is_id(before) else false())
    if chosen.outcome in {"errors", "4xx", "5xx"}:
        lowest = _SERVER_ERRORS_FROM if chosen.outcome == "5xx" else ERRORS_FROM
        query = query.where(log.status >= lowest)
    if chosen.outcome in {"success", "4xx"}:
        above = _SERVER_ERRORS_FROM if chosen.outcome == "4xx" else ERRORS_FROM
        query = query.where(log.status < above)
    if chosen.code:
        query = query.where(log.code == chosen.code)
    if chosen.key_id:
        query = query.where(log.key_id == chosen.key_id if is_id(chosen.key_id) else false())
    if chosen.model_id:
        query = query.where(log.model_id == chosen.model_id)
    if chosen.day:
        start = datetime.combine(chosen.day, time(), UTC)
        end = start + timedelta(days=1)
        query = query.where(log.request_id >= first_id(start), log.request_id < first_id(end))
    rows = (await connection.execute(query)).all()
    charges = await _charges(connection, organization_id, [row.request_id for row in rows])
    return [_request(row, charges) for row in rows]


async def find(
    connection: AsyncConnection, organization_id: str, request_id: str
) -> LoggedRequest | None:
    """Return a request of an organization by its id, from the log or, if charged, the ledger."""
    if not is_id(request_id):
        return None
    charges = await _charges(connection, organization_id, [request_id])
    query = _logged(organization_id).where(request_log.c.request_id == request_id)
    row = (await connection.execute(query)).one_or_none()
    if row is not None:
        return _request(row, charges)
    if request_id not in charges:
        return None
    event = usage_events.c
    query = _named(
        select(
            event.request_id, event.created_at, event.key_id, event.model_id, event.tokens,
            *_KEY_COLUMNS,
        ).select_from(usage_events),
        event.key_id,
    ).where(event.request_id == request_id)  # fmt: skip
    row = (await connection.execute(query)).one()
    return LoggedRequest(
        **row._mapping,  # noqa: SLF001 - SQLAlchemy's public name
        status=_STATUS_OK,
        code="",
        latency_ms=None,
        original_id=None,
        missed=0,
        charge=charges[request_id],
    )


async def last_refused(
    connection: AsyncConnection, organization_id: str, key_id: str, since: datetime
) -> LoggedRequest | None:
    """Return the newest request of a key that got no good answer since a time."""
    log = request_log.c
    query = _logged(organization_id).where(
        log.request_id >= first_id(since), log.key_id == key_id, log.status >= ERRORS_FROM
    )
    found = await connection.execute(query.order_by(log.request_id.desc()).limit(1))
    row = found.one_or_none()
    return _request(row, {}) if row else None


async def choices(connection: AsyncConnection, organization_id: str) -> Choices:
    """Return what there is to choose from."""
    log = request_log.c
    found = await connection.execute(
        select(log.code, log.model_id).where(log.organization_id == organization_id).distinct()
    )
    rows = found.all()
    return Choices(
        codes=sorted({row.code for row in rows} - {""}),
        models=sorted({row.model_id for row in rows} - {""}),
    )


_KEY_COLUMNS = (
    api_keys.c.name.label("key_name"),
    api_keys.c.last_four.label("key_last_four"),
)
_COLUMNS = (
    "request_id", "created_at", "key_id", "model_id", "status", "code", "latency_ms", "tokens",
    "original_id", "missed",
)  # fmt: skip


def _logged(organization_id: str) -> Select[Any]:
    log = request_log.c
    columns = [log[name] for name in _COLUMNS]
    query = select(*columns, *_KEY_COLUMNS).select_from(request_log)
    return _named(query, log.key_id).where(log.organization_id == organization_id)


def _named(query: Select[Any], key_id: Any) -> Select[Any]:
    return query.join(api_keys, api_keys.c.id == key_id, isouter=True)


def _request(row: Row[Any], charges: Mapping[str, Charged]) -> LoggedRequest:
    return LoggedRequest(**row._mapping, charge=charges.get(row.request_id))  # noqa: SLF001


async def _charges(
    connection: AsyncConnection, organization_id: str, request_ids: Iterable[str]
) -> Mapping[str, Charged]:
    """Return what the ledger has of requests; their ids say in which partitions it is."""
    ids = sorted(request_ids)
    if not ids:
        return {}
    event, lot = usage_events.c, credit_lots.c
    found = await connection.execute(
        select(
            event.request_id, event.inputs, event.tokens, event.cost_nanos, event.charged_nanos
        ).where(
            event.organization_id == organization_id,
            event.request_id.between(ids[0], ids[-1]),
            event.request_id.in_(ids),
        )
    )
    rows = {row.request_id: row for row in found}
    if not rows:
        return {}
    sources = [f"request:{one}" for one in rows]
    back = await connection.scalars(select(lot.source_ref).where(lot.source_ref.in_(sources)))
    credited = {source.removeprefix("request:") for source in back}
    return {
        request_id: Charged(
            inputs=row.inputs,
            tokens=row.tokens,
            cost_nanos=row.cost_nanos,
            charged_nanos=row.charged_nanos,
            is_credited_back=request_id in credited,
        )
        for request_id, row in rows.items()
    }
