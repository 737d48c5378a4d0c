"""The audit trail as people read it, newest first, and what it can be searched by."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, false, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.trail.entries import ActorKind
from gateway.control_plane.trail.verification import digests_of
from gateway.identifiers import is_id
from gateway.money import NANOS_PER_CENT, money
from gateway.storage.tables import organizations, trail_entries, trail_words, users

FORGOTTEN_WORDS = "(forgotten)"
"""What stands for words that were erased."""
NUMBER_MAX = 2**63 - 1
_ACTIONS_MAX = 500
_DIGESTS_MAX = 10_000
"""Most that one statement asks for: drivers take about 32,000 values."""


class TrailFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries to show; empty: all."""

    actor_id: str = ""
    actor_kind: str = ""
    action: str = ""
    """An action, or the noun before its point: `key` is `key.created` and all others of keys."""
    subject: str = ""
    organization_id: str = ""
    since: datetime | None = None
    until: datetime | None = None


class TrailEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry with its words."""

    number: int
    created_at: datetime
    actor_kind: ActorKind
    actor_id: str | None
    actor: str | None
    """The actor's address; None for a job, the command line and deleted accounts."""
    organization_id: str | None
    organization: str | None
    action: str
    subject: str
    before: dict[str, Any]
    after: dict[str, Any]
    reason: str
    origin: str


class Change(NamedTuple):
    """One value before and after, in words; empty: there was none, or there is none now."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        """Write it in one line."""
        if not (self.before and self.after):
            return f"{self.name}: {self.after or f'{self.before} →'}"
        return f"{self.name}: {self.before} → {self.after}"


def changes(entry: TrailEntry) -> list[Change]:
    """Return what an entry changed, by name; amounts as dollars."""
    names = sorted(entry.before.keys() | entry.after.keys())
    return [
        Change(
            name.removesuffix("_nanos").removesuffix("_cents").replace("_", " "),
            _text(name, entry.before.get(name)),
            _text(name, entry.after.get(name)),
        )
        for name in names
        if entry.before.get(name) != entry.after.get(name)
    ]


def all_before(changed: Sequence[Change]) -> str:
    """Return what was before, in one line."""
    return "; ".join(f"{change.name}: {change.before}" for change in changed if change.before)


def all_after(changed: Sequence[Change]) -> str:
    """Return what is now, in one line."""
    return "; ".join(f"{change.name}: {change.after}" for change in changed if change.after)


async def page(
    connection: AsyncConnection, chosen: TrailFilter, *, before: int | None = None, limit: int
) -> list[TrailEntry]:
    """Return entries, the newest first, in three statements; the next page is before the last."""
    entries = trail_entries.c
    query = (
        select(trail_entries, users.c.email, organizations.c.name.label("organization"))
        .join(users, users.c.id == entries.actor_id, isouter=True)
        .join(organizations, organizations.c.id == entries.organization_id, isouter=True)
        .where(*await _conditions(connection, chosen))
        .order_by(entries.number.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(entries.number < before)
    rows = [dict(row) for row in (await connection.execute(query)).mappings()]
    words = await _words(connection, rows)
    return [_entry(row, words) for row in rows]


async def actions(connection: AsyncConnection) -> list[str]:
    """Return the actions that were ever recorded, by name; each costs one look at the index."""
    found = await connection.scalars(
        text(
            "WITH RECURSIVE known (action) AS (SELECT min(action) FROM trail_entries UNION ALL "
            "SELECT (SELECT min(action) FROM trail_entries WHERE action > known.action) "
            "FROM known WHERE known.action IS NOT NULL) "
            "SELECT action FROM known WHERE action IS NOT NULL LIMIT :most"
        ),
        {"most": _ACTIONS_MAX},
    )
    return [str(action) for action in found]


async def _conditions(
    connection: AsyncConnection, chosen: TrailFilter
) -> list[ColumnElement[bool]]:
    entries = trail_entries.c
    if not all(is_id(one) for one in (chosen.actor_id, chosen.organization_id) if one):
        return [false()]
    conditions = [
        column == wanted
        for column, wanted in (
            (entries.actor_id, chosen.actor_id),
            (entries.actor_kind, chosen.actor_kind),
            (entries.subject, chosen.subject),
            (entries.organization_id, chosen.organization_id),
        )
        if wanted
    ]
    if "." in chosen.action:
        conditions.append(entries.action == chosen.action)
    elif chosen.action:
        # by name, which the index knows in every collation
        of = [name for name in await actions(connection) if name.startswith(f"{chosen.action}.")]
        conditions.append(entries.action.in_(of))
    # numbers follow the time, and are what pages are ordered by
    if chosen.since:
        first = select(func.min(entries.number)).where(entries.created_at >= chosen.since)
        conditions.append(entries.number >= (await connection.scalar(first) or NUMBER_MAX))
    if chosen.until:
        last = select(func.max(entries.number)).where(entries.created_at < chosen.until)
        conditions.append(entries.number <= (await connection.scalar(last) or 0))
    return conditions


async def _words(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    named = [digest for row in rows for digest in digests_of(row)]
    words: dict[str, str] = {}
    for at in range(0, len(named), _DIGESTS_MAX):
        query = select(trail_words.c.digest, trail_words.c.words).where(
            trail_words.c.digest.in_(named[at : at + _DIGESTS_MAX])
        )
        words |= {row.digest: row.words for row in await connection.execute(query)}
    return words


def _entry(row: dict[str, Any], words: dict[str, str]) -> TrailEntry:
    def said(digest: str) -> str:
        return (words.get(digest) or FORGOTTEN_WORDS) if digest else ""

    def values(column: str) -> dict[str, Any]:
        return {
            name: said(value.get("digest", "")) if isinstance(value, dict) else value
            for name, value in msgspec.json.decode(row[column]).items()
        }

    return TrailEntry(
        number=row["number"],
        created_at=row["created_at"],
        actor_kind=row["actor_kind"],
        actor_id=row["actor_id"],
        actor=row["email"],
        organization_id=row["organization_id"],
        organization=row["organization"],
        action=row["action"],
        subject=row["subject"],
        before=values("before"),
        after=values("after"),
        reason=said(row["reason"]),
        origin=said(row["origin"]),
    )


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name.endswith("_nanos"):
        return money(value)
    if isinstance(value, int) and name.endswith("_cents"):
        return money(value * NANOS_PER_CENT)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
