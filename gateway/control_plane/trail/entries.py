"""Entries of the audit trail. Each is added in the transaction of what it tells.

An entry's hash covers the hash before it, so an entry that is changed or removed breaks the chain.
Entries hold ids, numbers and states. What may say something of a person (a reason, a network, a
name, a mailbox) stands in a table beside it, under a salted digest: erased there, it is forgotten,
and the chain still holds. `verification` checks both, and finds words that were erased of someone
who did not delete their account.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Literal

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.storage.database import alone
from gateway.storage.tables import trail_entries, trail_words

ActorKind = Literal["operator", "member", "command", "system"]

_SALT_BYTES = 16
FIRST = bytes(32)
"""What the first entry's hash is chained to."""
FORGOTTEN = "account.deleted"
"""The action whose subject's words may be erased."""


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts: an operator, a member of an organization, the command line, or a job.

    `origin` is the network that the request came from; empty for what has none.
    """

    kind: ActorKind
    user_id: str | None = None
    origin: str = ""


class Personal(msgspec.Struct, frozen=True):
    """A value of `before` or `after` that may say something of a person, and of whom."""

    words: str
    user_id: str | None = None


SYSTEM = Actor(kind="system")


async def record(
    connection: AsyncConnection,
    actor: Actor,
    action: str,
    subject: str,
    *,
    organization_id: str | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
) -> int:
    """Add an entry and return its number.

    `action` is like `credit.granted`, `subject` like `organization:ID`. The organization, if any,
    may read the entry. The chain is locked until the transaction ends, so record last.
    """
    await alone(connection, "trail")
    newest = select(trail_entries.c.number, trail_entries.c.hash)
    last = (
        await connection.execute(newest.order_by(trail_entries.c.number.desc()).limit(1))
    ).first()
    number, chained = (last.number + 1, last.hash) if last else (1, FIRST)
    words: list[dict[str, Any]] = []
    row = {
        "number": number,
        "created_at": wall.now(),
        "actor_kind": actor.kind,
        "actor_id": actor.user_id,
        "organization_id": organization_id,
        "action": action,
        "subject": subject,
        "before": _json(words, before or {}),
        "after": _json(words, after or {}),
        "reason": _digest(words, Personal(reason, actor.user_id)),
        "origin": _digest(words, Personal(actor.origin, actor.user_id)),
    }
    if words:
        await connection.execute(insert(trail_words), words)
    await connection.execute(insert(trail_entries).values(**row, hash=hash_of(chained, row)))
    return number


async def forget(connection: AsyncConnection, user_id: str, address: str) -> None:
    """Record that a person deleted their account, and erase what the trail knows of them by name.

    These are the words that are theirs, and their address wherever it stands by itself. Salts are
    emptied too, so that nobody can try words against the digests that stay.
    """
    await record(connection, Actor(kind="member", user_id=user_id), FORGOTTEN, f"user:{user_id}")
    theirs = trail_words.c.user_id == user_id
    named = trail_words.c.user_id.is_(None) & (trail_words.c.words == address)
    await connection.execute(
        update(trail_words)
        .where(theirs | named, trail_words.c.words != "")
        .values(words="", salt=b"", user_id=user_id)
    )


def hash_of(chained: bytes, row: Mapping[str, Any]) -> bytes:
    """Return the hash of an entry after another one's."""
    said = {name: row[name] for name in _HASHED}
    said["created_at"] = row["created_at"].astimezone(UTC).isoformat(timespec="microseconds")
    return hashlib.sha256(chained + msgspec.json.encode(said, order="deterministic")).digest()


def _json(words: list[dict[str, Any]], values: Mapping[str, Any]) -> str:
    stored = {
        name: {"digest": _digest(words, value)} if isinstance(value, Personal) else value
        for name, value in values.items()
    }
    return msgspec.json.encode(stored, order="deterministic").decode()


def _digest(words: list[dict[str, Any]], personal: Personal) -> str:
    """Return the digest that stands for some words, and add them to those to store."""
    if not personal.words:
        return ""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.sha256(salt + personal.words.encode()).hexdigest()
    words.append(
        {"digest": digest, "salt": salt, "words": personal.words, "user_id": personal.user_id}
    )
    return digest


_HASHED = (
    "number",
    "created_at",
    "actor_kind",
    "actor_id",
    "organization_id",
    "action",
    "subject",
    "before",
    "after",
    "reason",
    "origin",
)
