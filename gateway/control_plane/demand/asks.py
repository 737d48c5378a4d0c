"""Asks: names of models that the catalog does not have, and how often each was asked for.

People ask with the form, with a search that finds nothing, or with the address of a missing page;
programs ask with calls. Anyone can make up names, so they are normalized, counted in memory first,
and only the most requested are kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import case, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.data_plane.tallies import NameTally, Tally
from gateway.errors import BadRequest
from gateway.storage.database import Database, insert_into
from gateway.storage.tables import model_requests

Source = Literal["form", "search", "page", "call"]

NAME_CHARACTERS_MAX = 100
KEPT_MAX = 2_000
"""Most names that are kept: those asked for by form first, then the most asked for."""

_COLUMNS: Mapping[Source, str] = {
    "form": "forms",
    "search": "searches",
    "page": "pages",
    "call": "calls",
}
_MOST_ASKED = (
    model_requests.c.forms.desc(),
    # a program that calls in a loop asks once
    (
        model_requests.c.searches
        + model_requests.c.pages
        + case((model_requests.c.calls > 0, 1), else_=0)
    ).desc(),
    model_requests.c.last_at.desc(),
    model_requests.c.key,
)
_MISSED_MAX = 1_000
_AT_ONCE = 500
_SITES = re.compile(r"^(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/", re.IGNORECASE)
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9][A-Za-z0-9 ._+:/-]*")
_PARTED = re.compile(r"[ _-]+")


class NoName(BadRequest):
    """What was typed can't be the name of a model."""

    code = "no_model_name"


class AskedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A name, and how often it was asked for from each place."""

    name: str
    forms: int
    searches: int
    pages: int
    calls: int
    first_at: datetime
    last_at: datetime


class Asks:
    """Counts requests for unknown models; `flush` is a job that writes the counts."""

    def __init__(self, database: Database, unknown: NameTally) -> None:
        self._database = database
        self._unknown = unknown
        self._missed = Tally[tuple[str, Source]](entries_max=_MISSED_MAX)

    def missed(self, name: str, source: Source) -> None:
        """Count a name that was not found, if it can be a model's."""
        if (known := normalized(name)) is not None:
            self._missed.add((known, source))

    async def flush(self) -> None:
        """Write the counts; on an error they are kept for the next time."""
        with self._missed.draining() as missed, self._unknown.draining() as unknown:
            counted = Counter(missed)
            for name, count in unknown.items():
                if (known := normalized(name)) is not None:
                    counted[known, "call"] += count
            if not counted:
                return
            async with self._database.write() as connection:
                await record(connection, counted)
        async with self._database.write() as connection:
            await forget_rare(connection)


def normalized(text: str) -> str | None:
    """Return the model name that was meant; None for text that can't be one."""
    name = " ".join(_SITES.sub("", text.strip()).split()).strip("/ ")
    return name if len(name) <= NAME_CHARACTERS_MAX and _NAME.fullmatch(name) else None


def key_of(name: str) -> str:
    """Return a form that all spellings of a name share."""
    return _PARTED.sub("-", name.casefold())


async def ask(connection: AsyncConnection, text: str) -> str:
    """Count what somebody asked for by the form; return its name. Raises NoName."""
    name = normalized(text)
    if name is None:
        raise NoName(
            "Enter the model's name, like BAAI/bge-m3: letters, digits and - _ . / only, at most "
            f"{NAME_CHARACTERS_MAX} characters.",
            param="model",
        )
    await record(connection, {(name, "form"): 1})
    return name


async def record(connection: AsyncConnection, counted: Mapping[tuple[str, Source], int]) -> None:
    """Add counts; the first spelling of a name stays."""
    now = wall.now()
    sums: dict[str, Counter[str]] = {}
    names: dict[str, str] = {}
    for (name, source), count in counted.items():
        key = key_of(name)
        names.setdefault(key, name)
        sums.setdefault(key, Counter())[_COLUMNS[source]] += count
    rows = [
        {"key": key, "name": names[key], "first_at": now, "last_at": now,
         **{column: sums[key][column] for column in _COLUMNS.values()}}
        for key in sorted(sums)  # one locking order for all
    ]  # fmt: skip
    for first in range(0, len(rows), _AT_ONCE):
        added = insert_into(connection, model_requests).values(rows[first : first + _AT_ONCE])
        more = {name: model_requests.c[name] + added.excluded[name] for name in _COLUMNS.values()}
        await connection.execute(
            added.on_conflict_do_update(
                index_elements=["key"], set_={**more, "last_at": added.excluded.last_at}
            )
        )


async def forget_rare(connection: AsyncConnection) -> int:
    """Delete the names beyond KEPT_MAX; return how many."""
    beyond = select(model_requests.c.key).order_by(*_MOST_ASKED).offset(KEPT_MAX)
    gone = await connection.execute(
        delete(model_requests).where(
            model_requests.c.key.in_(beyond.with_for_update(skip_locked=True))
        )
    )
    return gone.rowcount


async def listed(connection: AsyncConnection, limit: int) -> list[AskedModel]:
    """Return what is asked for most; what people asked for by form first."""
    columns = [model_requests.c[name] for name in AskedModel.__struct_fields__]
    found = await connection.execute(select(*columns).order_by(*_MOST_ASKED).limit(limit))
    return [AskedModel(**row) for row in found.mappings()]
