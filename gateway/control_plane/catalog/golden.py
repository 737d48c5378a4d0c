"""Golden vectors: what a model's revision computes for a few fixed texts, on every worker.

Each revision has its own. `gateway migrate` reads the reviewed files in `golden/` into the catalog;
`gateway workers pin` adds others from a worker that an operator trusts. They never change, so a
worker that differs is wrong.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import Select, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.errors import GatewayError
from gateway.snapshots import GoldenRow
from gateway.storage.database import alone
from gateway.storage.tables import golden_rows

TEXTS = (
    "Hello, world!",
    "How many tokens does a sentence cost?",
    "The quick brown fox jumps over the lazy dog.",
    "Invoices are sums; a sum that is wrong by one is wrong.",
    "42",
)
"""Few and short: every examination of a worker embeds each in every dimension."""

_FOLDER = Path(__file__).parent / "golden"


class AlreadyPinned(GatewayError):
    """The revision has golden vectors already."""

    status = 409
    code = "already_pinned"


class ReviewedGolden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of `golden/`."""

    model: str
    revision: str
    rows: list[GoldenRow]


class PinnedRevision(NamedTuple):
    """A revision with golden vectors, and when they were pinned."""

    revision: str
    pinned_at: datetime


def reviewed() -> list[ReviewedGolden]:
    """Read the reviewed files."""
    paths = sorted(_FOLDER.glob("*.json"))
    return [msgspec.json.decode(path.read_bytes(), type=ReviewedGolden) for path in paths]


async def seed(connection: AsyncConnection) -> None:
    """Write the reviewed vectors to the catalog; repeating it changes nothing."""
    for found in reviewed():
        await _write(connection, found.model, found.revision, found.rows)


async def pin(
    connection: AsyncConnection, model_id: str, revision: str, rows: list[GoldenRow]
) -> None:
    """Store what a trusted worker computed. Raises AlreadyPinned, since vectors never change."""
    await lock_catalog(connection)
    if revision in await revisions(connection, model_id):
        raise AlreadyPinned(f"Revision {revision} of {model_id} already has golden vectors.")
    await _write(connection, model_id, revision, rows)


async def revisions(connection: AsyncConnection, model_id: str) -> set[str]:
    """Return the revisions of a model that have golden vectors."""
    query = select(golden_rows.c.revision).where(golden_rows.c.model_id == model_id)
    return set(await connection.scalars(query))


async def pinned(connection: AsyncConnection, model_id: str) -> list[PinnedRevision]:
    """Return a model's revisions with golden vectors, the newest first."""
    query = select(golden_rows.c.revision, golden_rows.c.pinned_at)
    query = query.where(golden_rows.c.model_id == model_id)
    found = await connection.execute(query.order_by(golden_rows.c.pinned_at.desc()))
    return [PinnedRevision(*row) for row in found]


async def by_model(
    connection: AsyncConnection, model_ids: Select[tuple[str]]
) -> dict[str, dict[str, tuple[GoldenRow, ...]]]:
    """Return the golden rows of some models, by model and revision."""
    found: dict[str, dict[str, tuple[GoldenRow, ...]]] = {}
    some = golden_rows.c.model_id.in_(model_ids)
    for row in await connection.execute(select(golden_rows).where(some)):
        rows = msgspec.json.decode(row.rows, type=tuple[GoldenRow, ...])
        found.setdefault(row.model_id, {})[row.revision] = rows
    return found


async def lock_catalog(connection: AsyncConnection) -> None:
    """Let no one else change the catalog until the transaction ends.

    A change locks a model's row and then the row of versions. Two changes of several models in
    different orders, such as a migration's seed and a launch, would deadlock.
    """
    await alone(connection, "the catalog")


async def _write(
    connection: AsyncConnection, model_id: str, revision: str, rows: list[GoldenRow]
) -> None:
    await connection.execute(
        delete(golden_rows).where(
            golden_rows.c.model_id == model_id, golden_rows.c.revision == revision
        )
    )
    await connection.execute(
        insert(golden_rows).values(
            model_id=model_id,
            revision=revision,
            rows=msgspec.json.encode(rows).decode(),
            pinned_at=wall.now(),
        )
    )
