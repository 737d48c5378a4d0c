"""One search over all that has an id or a name: what the words look like says where to look.

Each look is one statement with an index behind it. A key's own secret is recognized by its digest,
and is kept nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
from sqlalchemy import Select, Text, cast, literal, null, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office.directory import begins
from gateway.identifiers import is_id, made_at_ms
from gateway.storage.tables import (
    api_keys,
    memberships,
    organizations,
    outbox,
    payment_customers,
    payment_disputes,
    payment_refunds,
    payments,
    request_log,
    stripe_events,
    usage_events,
    users,
)

HitKind = Literal["organization", "person", "key", "payment", "mail", "event", "request"]

HITS_MAX = 20
"""Most hits of each look."""
WORDS_MAX = 300
"""Longest search."""

_CLOSE = timedelta(milliseconds=1)
"""How far the time of a row may be from that of its id: a rounding."""
_STRIPE = re.compile(r"(cus|pi|ch|py|cs|du|dp|re|pyr|evt|in|pm)_\w+")
_KEY_END = re.compile(r"(?:sk-)?[….]{0,3}([0-9A-Za-z]{4}|[0-9A-Za-z]{6})")
"""How a key ends: its last four characters, or its checksum, which the four are the end of."""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was found."""

    kind: HitKind
    id: str
    words: str
    organization_id: str | None
    organization: str | None
    note: str = ""

    @property
    def href(self) -> str:
        """Where it is."""
        if self.kind == "mail":
            return f"/admin/mail/{self.id}"
        if self.kind == "event":
            return f"/admin/events/{self.id}"
        if self.kind == "request":
            return f"/admin/organizations/{self.organization_id}/request-log/{self.id}"
        if self.kind == "key":
            return f"/admin/keys?ends={self.words[-4:]}&organization={self.organization_id}"
        if self.organization_id:
            return f"/admin/organizations/{self.organization_id}"
        return ""


async def search(connection: AsyncConnection, words: str) -> list[Hit]:
    """Return what the words may mean, at most HITS_MAX of each kind."""
    words = words.strip()[:WORDS_MAX]
    looks: Sequence[Callable[[AsyncConnection, str], Awaitable[list[Hit]]]]
    if not words:
        return []
    if is_id(words.lower()):
        looks = [_by_id, _requests]
        words = words.lower()
    elif "@" in words[1:]:
        looks = [_people, _mails]
        words = words.lower()
    elif _STRIPE.fullmatch(words):
        looks = [_stripe]
    elif _KEY_END.fullmatch(words):
        looks = [_keys, _named]
    else:
        looks = [_named]
    return [hit for look in looks for hit in await look(connection, words)]


async def key(connection: AsyncConnection, key_id: str) -> list[Hit]:
    """Return one key."""
    return await _read(connection, _key().where(api_keys.c.id == key_id))


async def _named(connection: AsyncConnection, words: str) -> list[Hit]:
    query = _organization().where(begins(organizations.c.name, words))
    return await _read(connection, query.order_by(organizations.c.name))


async def _people(connection: AsyncConnection, address: str) -> list[Hit]:
    query = (
        _hit("person", users.c.id, users.c.email, note=memberships.c.role)
        .select_from(users)
        .join(memberships, memberships.c.user_id == users.c.id, isouter=True)
        .join(organizations, organizations.c.id == memberships.c.organization_id, isouter=True)
        .where(users.c.email == address)
    )
    return await _read(connection, query)


async def _mails(connection: AsyncConnection, address: str) -> list[Hit]:
    query = _mail().where(outbox.c.recipient == address).order_by(outbox.c.id.desc())
    return await _read(connection, query)


async def _keys(connection: AsyncConnection, words: str) -> list[Hit]:
    found = _KEY_END.fullmatch(words)
    assert found
    query = _key().where(api_keys.c.last_four == found[1][-4:]).order_by(api_keys.c.id.desc())
    return await _read(connection, query)


async def _stripe(connection: AsyncConnection, stripe_id: str) -> list[Hit]:
    of_refund = select(payment_refunds.c.payment_id).where(payment_refunds.c.refund_id == stripe_id)
    of_dispute = select(payment_disputes.c.payment_id).where(payment_disputes.c.id == stripe_id)
    bought = _payment().where(
        or_(
            payments.c.intent_id == stripe_id,
            payments.c.session_id == stripe_id,
            payments.c.charge_id == stripe_id,
            payments.c.id.in_(of_refund),
            payments.c.id.in_(of_dispute),
        )
    )
    customer = (
        _organization()
        .join(payment_customers, payment_customers.c.organization_id == organizations.c.id)
        .where(
            or_(
                payment_customers.c.customer_id == stripe_id,
                payment_customers.c.payment_method_id == stripe_id,
            )
        )
    )
    events = _event().where(
        or_(stripe_events.c.id == stripe_id, stripe_events.c.object_id == stripe_id)
    )
    return [
        hit
        for query in (bought, customer, events.order_by(stripe_events.c.received_at.desc()))
        for hit in await _read(connection, query)
    ]


async def _by_id(connection: AsyncConnection, words: str) -> list[Hit]:
    """Look for an id of ours in all tables at once: they are unique over all of them."""
    person = (
        _hit("person", users.c.id, users.c.email, note=memberships.c.role)
        .select_from(users)
        .join(memberships, memberships.c.user_id == users.c.id, isouter=True)
        .join(organizations, organizations.c.id == memberships.c.organization_id, isouter=True)
        .where(users.c.id == words)
    )
    return await _read(
        connection,
        union_all(
            _organization().where(organizations.c.id == words),
            _key().where(api_keys.c.id == words),
            _payment().where(payments.c.id == words),
            _mail().where(outbox.c.id == words),
            person,
        ),
    )


async def _requests(connection: AsyncConnection, words: str) -> list[Hit]:
    """Look for a request by its id: in the ledger, else in the log."""
    return await _charged(connection, words) or await _logged(connection, words)


async def _charged(connection: AsyncConnection, words: str) -> list[Hit]:
    """Look for a charged request: its id says in which partition it is."""
    query = (
        _hit(
            "request",
            usage_events.c.request_id,
            usage_events.c.model_id,
            note=cast(usage_events.c.tokens, Text),
        )
        .join(organizations, organizations.c.id == usage_events.c.organization_id)
        .where(usage_events.c.request_id == words)
    )
    return [
        msgspec.structs.replace(hit, note=f"{int(hit.note):,} tokens")
        for hit in await _read(connection, query)
    ]


async def _logged(connection: AsyncConnection, words: str) -> list[Hit]:
    """Look for a request of the log, which has an index of times: the id says when it began."""
    try:
        began = datetime.fromtimestamp(made_at_ms(words) / 1000, UTC)
        between = began - _CLOSE, began + _CLOSE
    except (OverflowError, ValueError):  # an id that was not made at a time
        return []
    log = request_log.c
    said = cast(log.status, Text) + literal(" ", Text) + log.code
    query = (
        _hit("request", log.request_id, log.model_id, note=said)
        .join(organizations, organizations.c.id == log.organization_id)
        .where(log.created_at.between(*between), log.request_id == words)
    )
    return [
        msgspec.structs.replace(hit, words=hit.words or "unknown model")
        for hit in await _read(connection, query)
    ]


def _hit(
    kind: HitKind, id_: Any, words: Any, *, note: Any = "", of_one: bool = True
) -> Select[Any]:
    """Select hits of a kind; with `of_one`, each is an organization's, which is joined."""
    return select(
        literal(kind, Text).label("kind"),
        cast(id_, Text).label("id"),
        words.label("words"),
        (cast(organizations.c.id, Text) if of_one else cast(null(), Text)).label("organization_id"),
        (organizations.c.name if of_one else cast(null(), Text)).label("organization"),
        (literal(note, Text) if isinstance(note, str) else note).label("note"),
    )


def _organization() -> Select[Any]:
    return _hit("organization", organizations.c.id, organizations.c.name)


def _key() -> Select[Any]:
    words = literal("sk-…", Text) + api_keys.c.last_four
    return _hit("key", api_keys.c.id, words, note=api_keys.c.name).join(
        organizations, organizations.c.id == api_keys.c.organization_id
    )


def _payment() -> Select[Any]:
    return _hit(
        "payment", payments.c.id, cast(payments.c.amount_cents, Text), note=payments.c.state
    ).join(organizations, organizations.c.id == payments.c.organization_id)


def _mail() -> Select[Any]:
    state = outbox.c.state + literal(" to ", Text) + outbox.c.recipient
    return _hit("mail", outbox.c.id, outbox.c.subject, note=state, of_one=False)


def _event() -> Select[Any]:
    about = stripe_events.c.object_id
    return _hit("event", stripe_events.c.id, stripe_events.c.type, note=about, of_one=False)


async def _read(connection: AsyncConnection, query: Any) -> list[Hit]:
    found = (await connection.execute(query.limit(HITS_MAX))).mappings()
    return [Hit(**{**row, "words": row["words"] or "", "note": row["note"] or ""}) for row in found]
