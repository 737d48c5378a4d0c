"""Votes and waitlist entries as operators list them: filtered, newest first, by pages.

A page begins after the id of the last row of the one before; nothing is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.addresses import Address
from gateway.identifiers import is_id
from gateway.storage.tables import (
    demand_votes,
    domain_of,
    memberships,
    set_aside_votes,
    unsubscriptions,
    users,
    waitlist_entries,
)

Counting = Literal["", "counted", "set_aside"]
Account = Literal["", "yes", "no", "unsubscribed"]


class ListedVote(msgspec.Struct, frozen=True, kw_only=True):
    """A vote, who cast it, and why it was set aside."""

    id: str
    model_id: str
    user_id: str
    email: str | None
    organization_id: str | None
    volume_million_tokens: int | None
    price_max_nanos: int | None
    use_case: str
    created_at: datetime
    set_aside_at: datetime | None
    set_aside_reason: str | None


class VoteFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which votes; an empty filter matches all."""

    model: str = ""
    q: str = ""
    """An address, or a domain."""
    counting: str = ""
    """A Counting."""


class ListedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the waitlist."""

    id: str
    model_id: str
    email: str
    user_id: str | None
    organization_id: str | None
    confirmed_at: datetime
    unsubscribed_at: datetime | None


class EntryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries; an empty filter matches all."""

    model: str = ""
    q: str = ""
    """An address, or a domain."""
    account: str = ""
    """An Account."""


async def votes(
    connection: AsyncConnection, chosen: VoteFilter, *, before: str = "", limit: int
) -> list[ListedVote]:
    """Return a page of votes, newest first."""
    query = _votes()
    if chosen.model:
        query = query.where(demand_votes.c.model_id == chosen.model)
    if chosen.q:
        query = query.where(_matches(demand_votes.c.voter_key, chosen.q))
    if chosen.counting == "counted":
        query = query.where(set_aside_votes.c.model_id.is_(None))
    elif chosen.counting == "set_aside":
        query = query.where(set_aside_votes.c.model_id.is_not(None))
    found = await connection.execute(_page(query, demand_votes.c.id, before, limit))
    return [ListedVote(**row) for row in found.mappings()]


async def named(connection: AsyncConnection, ids: Sequence[str]) -> list[ListedVote]:
    """Return the votes of these ids that there are."""
    query = _votes().where(demand_votes.c.id.in_(ids)).order_by(demand_votes.c.id)
    return [ListedVote(**row) for row in (await connection.execute(query)).mappings()]


async def waiting(
    connection: AsyncConnection, chosen: EntryFilter, *, before: str = "", limit: int
) -> list[ListedEntry]:
    """Return a page of waitlist entries, newest first."""
    query = select(
        *(
            waitlist_entries.c[name]
            for name in ListedEntry.__struct_fields__
            if name in waitlist_entries.c
        ),
        _home(waitlist_entries.c.user_id).label("organization_id"),
        unsubscriptions.c.created_at.label("unsubscribed_at"),
    ).outerjoin(unsubscriptions, unsubscriptions.c.email == waitlist_entries.c.email)
    if chosen.model:
        query = query.where(waitlist_entries.c.model_id == chosen.model)
    if chosen.q:
        query = query.where(_matches(waitlist_entries.c.address_key, chosen.q))
    if chosen.account == "yes":
        query = query.where(waitlist_entries.c.user_id.is_not(None))
    elif chosen.account == "no":
        query = query.where(waitlist_entries.c.user_id.is_(None))
    elif chosen.account == "unsubscribed":
        query = query.where(unsubscriptions.c.email.is_not(None))
    found = await connection.execute(_page(query, waitlist_entries.c.id, before, limit))
    return [ListedEntry(**row) for row in found.mappings()]


def _votes() -> Select[Any]:
    aside = (set_aside_votes.c.model_id == demand_votes.c.model_id) & (
        set_aside_votes.c.voter_key == demand_votes.c.voter_key
    )
    return (
        select(
            *(
                demand_votes.c[name]
                for name in ListedVote.__struct_fields__
                if name in demand_votes.c
            ),
            users.c.email,
            _home(demand_votes.c.user_id).label("organization_id"),
            set_aside_votes.c.created_at.label("set_aside_at"),
            set_aside_votes.c.reason.label("set_aside_reason"),
        )
        .join(users, users.c.id == demand_votes.c.user_id)
        .outerjoin(set_aside_votes, aside)
    )


def _page(query: Select[Any], key: ColumnElement[Any], before: str, limit: int) -> Select[Any]:
    if is_id(before):
        query = query.where(key < before)
    return query.order_by(key.desc()).limit(limit)


def _matches(key: ColumnElement[str], q: str) -> ColumnElement[bool]:
    """Match an address exactly, or the domain that a text without a mailbox names."""
    mailbox, _, domain = q.strip().lower().rpartition("@")
    if mailbox:
        return key == Address(q.strip().lower()).key
    return domain_of(key) == domain


def _home(user_id: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the first organization of a user."""
    return (
        select(memberships.c.organization_id)
        .where(memberships.c.user_id == user_id)
        .order_by(memberships.c.created_at)
        .limit(1)
        .scalar_subquery()
    )
