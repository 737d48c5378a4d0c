"""Whether the audit trail is what was recorded: the chain of its entries, and their words.

An entry that is changed, put in or taken out breaks the chain; the newest is noted beside it, so
the last ones can't go unnoticed either. Whoever rewrites everything with the database in their
hands is found by a hash that was noted elsewhere: `gateway trail verify` prints it and compares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.trail.entries import FIRST, FORGOTTEN, hash_of
from gateway.storage.tables import trail_entries, trail_heads, trail_words

SHOWN_MAX = 20
"""Most entries that are named for one rule."""
_BATCH = 500


class TrailRule(NamedTuple):
    """What must be true of the trail."""

    name: str
    rule: str


CHAIN = TrailRule(
    "trail-is-a-chain",
    "entries are numbered without a gap, each has the hash of itself and the one before, and the "
    "newest is the one noted",
)
WORDS = TrailRule(
    "trail-words-are-kept",
    "words have the digests that entries name, and are only erased of people who deleted their "
    "account",
)
RULES = (CHAIN, WORDS)


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked: up to which entry, its hash, and the numbers of what breaks a rule."""

    number: int
    hash: bytes
    is_whole: bool
    """Whether the newest entry was reached."""
    broken: dict[str, list[str]]
    """The entries that break a rule, by its name; the first of the chain, since all others follow.
    """


async def verify(
    connection: AsyncConnection, *, after: int = 0, most: int | None = None
) -> Verified:
    """Check the entries after a number, `most` of them at most.

    The connection's transaction must see one moment: see `storage.database.see_one_moment`.
    """
    number, chained = after, await _hash_of(connection, after)
    torn: list[str] = []
    wordless: list[str] = []
    head = (await connection.execute(select(trail_heads))).one_or_none()
    is_whole = False
    while not torn and (most is None or number - after < most):
        rows = await _rows(connection, number)
        for row in rows:
            if row["number"] != number + 1 or hash_of(chained, row) != row["hash"]:
                torn.append(str(number + 1))
                break
            number, chained = row["number"], row["hash"]
        wordless += await _wordless(connection, rows)
        if len(rows) < _BATCH:
            is_whole = True
            break
    if is_whole and not torn and (head is None or tuple(head) != (number, chained)):
        torn.append(str(number if head is None else max(number, head.number)))
    found = {CHAIN.name: torn, WORDS.name: wordless[:SHOWN_MAX]}
    return Verified(
        number=number,
        hash=chained,
        is_whole=is_whole,
        broken={name: culprits for name, culprits in found.items() if culprits},
    )


async def holds(connection: AsyncConnection, number: int, known: bytes) -> bool:
    """Tell whether an entry has the hash that was noted elsewhere."""
    return await _hash_of(connection, number) == known


async def _hash_of(connection: AsyncConnection, number: int) -> bytes:
    if number == 0:
        return FIRST
    query = select(trail_entries.c.hash).where(trail_entries.c.number == number)
    return await connection.scalar(query) or b""


async def _rows(connection: AsyncConnection, after: int) -> list[dict[str, Any]]:
    query = select(trail_entries).where(trail_entries.c.number > after)
    found = await connection.execute(query.order_by(trail_entries.c.number).limit(_BATCH))
    return [dict(row) for row in found.mappings()]


async def _wordless(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the entries whose words are missing, changed, or erased without cause."""
    named = {digest: str(row["number"]) for row in rows for digest in digests_of(row)}
    if not named:
        return []
    query = select(trail_words).where(trail_words.c.digest.in_(named))
    words = {row.digest: row for row in await connection.execute(query)}
    erased = {row.user_id for row in words.values() if not row.words}
    forgotten = await _forgotten(connection, erased - {None})
    wrong = set()
    for digest, number in named.items():
        kept = words.get(digest)
        if kept is None or (
            kept.user_id not in forgotten
            if not kept.words
            else hashlib.sha256(kept.salt + kept.words.encode()).hexdigest() != digest
        ):
            wrong.add(number)
    return sorted(wrong, key=int)


async def _forgotten(connection: AsyncConnection, user_ids: Iterable[str]) -> set[str]:
    subjects = {f"user:{user_id}": user_id for user_id in user_ids}
    query = select(trail_entries.c.subject).where(
        trail_entries.c.subject.in_(subjects), trail_entries.c.action == FORGOTTEN
    )
    return {subjects[subject] for subject in await connection.scalars(query)} if subjects else set()


def digests_of(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the digests of an entry's words."""
    yield from (row[name] for name in ("reason", "origin") if row[name])
    for name in ("before", "after"):
        try:
            values = msgspec.json.decode(row[name], type=dict[str, Any]).values()
        except msgspec.MsgspecError:
            continue  # it was tampered with, which breaks the chain
        digests = (value.get("digest") for value in values if isinstance(value, dict))
        yield from (str(digest) for digest in digests if digest)
