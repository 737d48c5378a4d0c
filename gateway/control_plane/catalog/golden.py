"""Golden vectors: what a model's revision gives for a few fixed texts, the same for every worker.

They belong to a revision. Reviewed files lie in `golden/`, and `gateway migrate` brings them into
the catalogue; others are pinned by `gateway workers pin` from a worker that an operator trusts.
Once there, they stay: a worker that differs is the one that is wrong.

Changes of the catalogue, one at a time.

Each takes a model's row and then the row of versions. Two that touch several models in different
orders, a deployment's seed and a launch, would end up waiting for each other.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
from sqlalchemy import Select, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

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
"""Few and short: each is embedded in every dimension whenever a worker is examined."""

_FOLDER = Path(__file__).parent / "golden"


class AlreadyPinned(GatewayError):
    """The revision has golden vectors."""

    status = 409
    code = "already_pinned"


class ReviewedGolden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of `golden/`."""

    model: str
    revision: str
    rows: list[GoldenRow]


def reviewed() -> list[ReviewedGolden]:
    """Read the files."""
    paths = sorted(_FOLDER.glob("*.json"))
    return [msgspec.json.decode(path.read_bytes(), type=ReviewedGolden) for path in paths]


async def seed(connection: AsyncConnection) -> None:
    """Bring the reviewed ones into the catalogue; doing it again changes nothing."""
    for found in reviewed():
        await _write(connection, found.model, found.revision, found.rows)


async def pin(
    connection: AsyncConnection, model_id: str, revision: str, rows: list[GoldenRow]
) -> None:
    """Keep what a trusted worker gave. Raises AlreadyPinned: a revision's vectors never change."""
    await begin_change(connection)
    if revision in await revisions(connection, model_id):
        raise AlreadyPinned(f"Revision {revision} of {model_id} has its golden vectors already.")
    await _write(connection, model_id, revision, rows)


async def revisions(connection: AsyncConnection, model_id: str) -> set[str]:
    """Return the revisions of a model that have golden vectors."""
    query = select(golden_rows.c.revision).where(golden_rows.c.model_id == model_id)
    return set(await connection.scalars(query))


async def by_model(
    connection: AsyncConnection, model_ids: Select[tuple[str]]
) -> dict[str, dict[str, tuple[GoldenRow, ...]]]:
    """Read those of some models, by model and revision."""
    found: dict[str, dict[str, tuple[GoldenRow, ...]]] = {}
    some = golden_rows.c.model_id.in_(model_ids)
    for row in await connection.execute(select(golden_rows).where(some)):
        rows = msgspec.json.decode(row.rows, type=tuple[GoldenRow, ...])
        found.setdefault(row.model_id, {})[row.revision] = rows
    return found


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
            pinned_at=datetime.now(UTC),
        )
    )


async def begin_change(connection: AsyncConnection) -> None:
    """Wait until nobody else changes the catalogue; ours is done when the transaction ends."""
    await alone(connection, "the catalogue")
