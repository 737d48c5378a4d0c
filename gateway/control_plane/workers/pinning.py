"""Golden vectors from a worker that somebody trusts: asked once, and kept for its revision."""

from __future__ import annotations

from typing import Any

import msgspec

from backends import registry
from gateway.control_plane.catalog import catalog, golden
from gateway.data_plane.metering import tokens
from gateway.data_plane.metering.rows import RowMaker
from gateway.data_plane.routing.examination import Examiner
from gateway.data_plane.routing.fleet import spec_of
from gateway.errors import NotFound
from gateway.snapshots import ModelSnapshot
from gateway.storage.database import Database

_SECONDS = 60.0


async def pin(database: Database, model: str, url: str) -> tuple[str, int]:
    """Keep what a worker gives for the golden texts; returns its revision, and how many rows.

    Raises NotFound, AlreadyPinned, or BackendError: it warms, or is not what the model needs.
    """
    async with database.read() as connection:
        known = (await catalog.snapshot(connection)).models.get(model)
    if known is None:
        raise NotFound(f"There is no model {model!r}; see gateway models list.")
    backend = registry.connect(url)
    # a revision that is new here is just what is to be pinned
    spec = msgspec.structs.replace(spec_of(known), golden={})
    examiner = Examiner(spec)
    try:
        info = await examiner.handshake(backend, timeout_seconds=_SECONDS)
        texts = _ids_of_texts(known)
        rows = await examiner.record(backend, info, texts, timeout_seconds=_SECONDS)
    finally:
        await backend.close()
    async with database.write() as connection:
        await golden.pin(connection, model, info.revision, rows)
    return info.revision, len(rows)


def _ids_of_texts(model: ModelSnapshot) -> list[Any]:
    maker = RowMaker(
        tokens.load(), dimensions=model.dimensions_default, tokens_max=model.tokens_max, prompt=""
    )
    return [row.ids for row in maker.from_texts(golden.TEXTS, truncate=None).rows]
