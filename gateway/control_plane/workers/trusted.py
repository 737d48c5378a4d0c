"""Asks a worker that an operator trusts for what becomes the golden vectors of its revision."""

from __future__ import annotations

from typing import Any

import msgspec

from backends import registry
from backends.adapters.trust import Trust
from gateway.control_plane.catalog import catalog, golden
from gateway.data_plane.metering import tokens
from gateway.data_plane.metering.quote import counter_of, quote
from gateway.data_plane.routing.examination import Examiner
from gateway.data_plane.routing.fleet import spec_of
from gateway.errors import NotFound
from gateway.snapshots import GoldenRow, ModelSnapshot
from gateway.storage.database import Database

_SECONDS = 60.0


async def asked(
    database: Database, model: str, url: str, trust: Trust
) -> tuple[str, list[GoldenRow]]:
    """Ask a worker for its answers to the golden texts; return its revision and the rows.

    Raises UnknownBackend, NotFound, Uncountable, or BackendError if the worker is not ready or
    does not fit.
    """
    async with database.read() as connection:
        known = (await catalog.snapshot(connection)).models.get(model)
    if known is None:
        raise NotFound(f"There is no model {model!r}; see gateway models list.")
    backend = registry.connect(url, trust)
    # accept a new revision: it is what gets pinned
    spec = msgspec.structs.replace(spec_of(known), golden={})
    examiner = Examiner(spec)
    try:
        info = await examiner.handshake(backend, timeout_seconds=_SECONDS)
        texts = _ids_of_texts(known)
        rows = await examiner.record(backend, info, texts, timeout_seconds=_SECONDS)
    finally:
        await backend.close()
    return info.revision, rows


def _ids_of_texts(model: ModelSnapshot) -> list[Any]:
    counter = counter_of(tokens.counters(), model)
    return [row.ids for row in quote(counter, model, golden.TEXTS).rows.rows]
