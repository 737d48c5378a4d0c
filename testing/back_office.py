"""An organization as operators see it, and what a test of the back office reads of it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from sqlalchemy import select

from gateway.control_plane.accounts import organizations
from gateway.storage.tables import ledger_entries, trail_entries, trail_words
from testing.browsing import Browser, field, sign_in
from testing.operators import sign_in_operator

ADMIN = "/admin/organizations"


class Acted(NamedTuple):
    """An entry of the audit trail, its reason in words."""

    actor: str | None
    action: str
    subject: str
    before: dict[str, Any]
    after: dict[str, Any]
    reason: str


async def owned_organization(gateway: Any, browser: Browser, email: str) -> str:
    """Sign a customer in, out of the way of the operator, and return their organization's id."""
    await sign_in(browser, gateway, email)
    async with gateway.core.database.read() as connection:
        listed = await organizations.listed(connection)
    return max(listed, key=lambda one: one.created_at).id


async def trail_of(database: Any) -> list[Acted]:
    """Return the audit trail, the oldest first."""
    async with database.read() as connection:
        said = {row.digest: row.words for row in await connection.execute(select(trail_words))}
        entries = await connection.execute(select(trail_entries).order_by(trail_entries.c.number))
        return [
            Acted(
                row.actor_id,
                row.action,
                row.subject,
                json.loads(row.before),
                json.loads(row.after),
                said.get(row.reason, ""),
            )
            for row in entries
        ]


async def ledger_of_organization(database: Any, organization_id: str) -> list[tuple[str, int, str]]:
    """Return the entries of an organization: kind, amount and counterpart, the oldest first."""
    entry = ledger_entries.c
    async with database.read() as connection:
        found = await connection.execute(
            select(entry.kind, entry.amount_nanos, entry.counterpart)
            .where(entry.organization_id == organization_id)
            .order_by(entry.id)
        )
        return [tuple(row) for row in found]


async def check(browser: Browser, path: str, **fields: str) -> Any:
    """Fill a money form in, and check it."""
    page = await browser.get(path)
    form = field(page.text, "form")
    return await browser.submit(path.partition("?")[0], form=form, step="check", **fields)


async def post(browser: Browser, path: str, **fields: str) -> Any:
    """Post what was checked: the page that is open has the form."""
    page = browser.page.text
    held = {"form": field(page, "form"), "seen": field(page, "seen")}
    return await browser.submit(path.partition("?")[0], step="post", **held, **fields)


__all__ = [
    "ADMIN",
    "Acted",
    "check",
    "ledger_of_organization",
    "owned_organization",
    "post",
    "sign_in_operator",
    "trail_of",
]
