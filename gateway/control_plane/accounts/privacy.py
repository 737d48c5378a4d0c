"""What we hold about a person: exported and deleted on request.

Deletion clears the address and removes sessions, votes, waitlist entries and memberships; keys no
longer name who made or rotated them. An organization without remaining members loses its name, its
keys, its webhooks, its invitations, the log of its requests and its saved card, which is never
charged again. The ledger stays as it is: it names organizations, never people. Payments stay too,
because the law may require them, but no longer lead to a person. The audit trail keeps the fact
that someone acted, and forgets their words.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts import (
    authenticators,
    enrollments,
    identities,
    links,
    memberships,
    organizations,
    passkey_listing,
    sessions,
)
from gateway.control_plane.accounts.memberships import LastOwner, Membership
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.trail import entries, reading
from gateway.control_plane.trail.entries import Actor
from gateway.control_plane.trail.reading import TrailFilter
from gateway.errors import BadRequest
from gateway.storage import tables
from gateway.storage.clock import clock
from gateway.storage.database import count
from gateway.storage.ledger import postings
from gateway.storage.tables import (
    api_keys,
    auto_top_ups,
    demand_votes,
    error_days,
    error_hours,
    latency_days,
    latency_hours,
    mail_links,
    outbox,
    payment_customers,
    payments,
    request_log,
    set_aside_votes,
    unsubscriptions,
    users,
    waitlist_entries,
    webhook_endpoints,
)

_ACTIONS_MAX = 10_000
"""Most actions of a person that an export holds: the newest."""


class StillOperates(BadRequest):
    """An operator deletes their account: the service might be left without an owner."""

    code = "still_operates"


async def export(connection: AsyncConnection, visitor: Visitor) -> dict[str, Any]:
    """Return everything we store about a person."""
    mine = demand_votes.c.user_id == visitor.user_id
    waits = waitlist_entries.c.email == visitor.email
    me = await connection.execute(
        select(users.c.created_at, users.c.welcome).where(users.c.id == visitor.user_id)
    )
    created_at, welcome = me.one()
    return {
        "email": visitor.email,
        "created_at": created_at,
        "free_credit": welcome,
        "sessions": await _rows(
            connection,
            select(
                tables.sessions.c.created_at,
                tables.sessions.c.expires_at,
                tables.sessions.c.browser,
                tables.sessions.c.network,
            ).where(tables.sessions.c.user_id == visitor.user_id),
        ),
        "passkeys": await passkey_listing.listed(connection, visitor.user_id),
        "authenticator_since": await authenticators.set_up_at(connection, visitor.user_id),
        "mails": await _rows(
            connection,
            select(outbox.c.kind, outbox.c.subject, outbox.c.created_at, outbox.c.sent_at).where(
                outbox.c.recipient == visitor.email
            ),
        ),
        "unsubscribed": await _rows(
            connection,
            select(unsubscriptions.c.created_at).where(unsubscriptions.c.email == visitor.email),
        ),
        "identities": await identities.of_user(connection, visitor.user_id),
        "keys": await _rows(
            connection,
            select(api_keys.c.name, api_keys.c.created_at, api_keys.c.revoked_at).where(
                api_keys.c.created_by == visitor.user_id
            ),
        ),
        "rotated_keys": await _rows(
            connection,
            select(api_keys.c.name, api_keys.c.created_at, api_keys.c.revoked_at).where(
                or_(
                    api_keys.c.rotated_by == visitor.user_id,
                    api_keys.c.previous_rotated_by == visitor.user_id,
                )
            ),
        ),
        "organizations": await memberships.of_user(connection, visitor.user_id),
        **await _of_money_and_webhooks(connection, visitor.user_id),
        "actions": await _actions(connection, visitor.user_id),
        "votes": await _rows(connection, select(demand_votes).where(mine)),
        "votes_set_aside": await _rows(
            connection,
            select(set_aside_votes.c.model_id, set_aside_votes.c.created_at).where(
                _set_aside(visitor)
            ),
        ),
        "waitlist": await _rows(connection, select(waitlist_entries).where(waits)),
    }


async def _actions(connection: AsyncConnection, user_id: str) -> list[dict[str, Any]]:
    """Return what the audit trail has of a person, with the network that each request came from."""
    done = await reading.page(connection, TrailFilter(actor_id=user_id), limit=_ACTIONS_MAX)
    columns = ("created_at", "action", "subject", "before", "after", "reason", "origin")
    return [{name: getattr(entry, name) for name in columns} for entry in done]


async def _of_money_and_webhooks(connection: AsyncConnection, user_id: str) -> dict[str, Any]:
    """Return what a person bought, and what they set up for an organization."""
    bought, hooks, rules = payments.c, webhook_endpoints.c, auto_top_ups.c
    return {
        "payments": await _rows(
            connection,
            select(
                bought.id,
                bought.organization_id,
                bought.state,
                bought.amount_cents,
                bought.tax_cents,
                bought.tax_id,
                bought.country,
                bought.invoice_number,
                bought.created_at,
            )
            .where(bought.user_id == user_id)
            .order_by(bought.id),
        ),
        "webhooks": await _rows(
            connection,
            select(hooks.organization_id, hooks.url, hooks.created_at, hooks.removed_at).where(
                hooks.created_by == user_id
            ),
        ),
        "auto_top_ups": await _rows(
            connection,
            select(rules.organization_id, rules.enabled, rules.changed_at).where(
                rules.changed_by == user_id
            ),
        ),
    }


async def forget(connection: AsyncConnection, visitor: Visitor) -> None:
    """Delete a person. Raises LastOwner, StillOperates."""
    if visitor.operator_role is not None:
        raise StillOperates(
            "You are an operator of this service. Ask another owner of the service to remove you "
            "first."
        )
    now = wall.now()
    closed: set[str] = set()
    belongs = await memberships.of_user(connection, visitor.user_id)
    # in one order: two who leave the same organizations at once must not deadlock
    for membership in sorted(belongs, key=lambda membership: membership.organization_id):
        await memberships.lock(connection, membership.organization_id)
        theirs = tables.memberships.c.organization_id == membership.organization_id
        if await count(connection, tables.memberships, theirs) > 1:
            try:
                await memberships.remove(connection, membership.organization_id, visitor.user_id)
            except LastOwner:
                raise LastOwner(
                    f"{membership.name} has other members but no other owner: make one of them an "
                    "owner first."
                ) from None
        else:
            await _close(connection, membership.organization_id, now)
            closed.add(membership.organization_id)
    for table, condition in (
        # links first, in the order of sign-in, so that the two never deadlock
        (mail_links, mail_links.c.email == visitor.email),
        (demand_votes, demand_votes.c.user_id == visitor.user_id),
        (set_aside_votes, _set_aside(visitor)),
        (waitlist_entries, waitlist_entries.c.email == visitor.email),
        (tables.memberships, tables.memberships.c.user_id == visitor.user_id),
        (outbox, outbox.c.recipient == visitor.email),
        # no mail is left that could be sent to them
        (unsubscriptions, unsubscriptions.c.email == visitor.email),
    ):
        await connection.execute(delete(table).where(condition))
    await connection.execute(
        update(users)
        .where(users.c.id == visitor.user_id)
        .values(email=None, address_key=None, deleted_at=now)
    )
    for table, by in (
        (api_keys, api_keys.c.created_by),
        (api_keys, api_keys.c.rotated_by),
        (api_keys, api_keys.c.previous_rotated_by),
        (webhook_endpoints, webhook_endpoints.c.created_by),
        (auto_top_ups, auto_top_ups.c.changed_by),
    ):
        await connection.execute(update(table).where(by == visitor.user_id).values({by.name: None}))
    await identities.disconnect(connection, visitor.user_id)
    await authenticators.remove(connection, visitor.user_id)
    await passkey_listing.remove_all(connection, visitor.user_id)
    await enrollments.cancel(connection, visitor.user_id)
    await sessions.end_all(connection, visitor.user_id)
    await sessions.forget_devices(connection, visitor.user_id)
    await _record(connection, visitor, belongs, closed)


async def _record(
    connection: AsyncConnection, visitor: Visitor, belonged: list[Membership], closed: set[str]
) -> None:
    """Record in the audit trail that a person left, and erase what it says about them by name."""
    actor = Actor(kind="member", user_id=visitor.user_id)
    for membership in belonged:
        is_closed = membership.organization_id in closed
        await entries.record(
            connection,
            actor,
            "organization.closed" if is_closed else "member.left",
            f"organization:{membership.organization_id}" if is_closed else f"user:{actor.user_id}",
            organization_id=membership.organization_id,
            before={"role": membership.role},
        )
    await entries.forget(connection, visitor.user_id, visitor.email)


def _set_aside(visitor: Visitor) -> ColumnElement[bool]:
    """Return what is true of a person's votes that count for nothing.

    They are noted by mailbox: while another spelling of it has an account, they stay noted.
    """
    others = exists().where(
        users.c.address_key == visitor.address_key, users.c.id != visitor.user_id
    )
    return and_(set_aside_votes.c.voter_key == visitor.address_key, ~others)


async def _rows(connection: AsyncConnection, query: Select[Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def _close(connection: AsyncConnection, organization_id: str, now: datetime) -> None:
    await links.take_back(connection, "invitation", organization_id)
    # by default an organization is named after its founder
    await organizations.rename(connection, organization_id, "Deleted")
    await connection.execute(
        update(api_keys)
        .where(api_keys.c.organization_id == organization_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=clock(), changed_at=clock())
    )
    for table in (request_log, error_hours, error_days, latency_hours, latency_days):
        await connection.execute(delete(table).where(table.c.organization_id == organization_id))
    await connection.execute(
        update(webhook_endpoints)
        .where(
            webhook_endpoints.c.organization_id == organization_id,
            webhook_endpoints.c.removed_at.is_(None),
        )
        .values(removed_at=now, secret=b"", secret_before=None)
    )
    await _forget_card(connection, organization_id, now)


async def _forget_card(connection: AsyncConnection, organization_id: str, now: datetime) -> None:
    """Stop charging the saved card."""
    # an auto top-up starts with the account locked: one that comes later finds it off
    await postings.lock_account(connection, organization_id)
    await connection.execute(
        update(auto_top_ups)
        .where(auto_top_ups.c.organization_id == organization_id)
        .values(enabled=False, changed_by=None, changed_at=now)
    )
    await connection.execute(
        update(payment_customers)
        .where(payment_customers.c.organization_id == organization_id)
        .values(
            payment_method_id=None,
            card_brand="",
            card_last_four="",
            card_expires="",
            card_fingerprint="",
            changed_at=now,
        )
    )
