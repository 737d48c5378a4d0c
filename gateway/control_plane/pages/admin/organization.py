"""One organization: its standing at a glance, what it used, and a tab for each of its lists."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts import organizations
from gateway.control_plane.accounts.organizations import OrganizationNotFound
from gateway.control_plane.back_office import account_mails, approvals, notes
from gateway.control_plane.billing import credit, usage
from gateway.control_plane.billing.credit import Balance
from gateway.control_plane.billing.usage import Filter, Sum
from gateway.control_plane.pages.admin.lists import ROWS, export, keyset
from gateway.control_plane.pages.admin.sheets import SHEETS, SheetRow
from gateway.control_plane.pages.admin.tiles import Tile
from gateway.control_plane.status import answers
from gateway.control_plane.status.answers import Summary
from gateway.control_plane.web import charts
from gateway.control_plane.web.formats import compact, lasting, latency, number
from gateway.control_plane.web.forms import FormPage, RefusedForm
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import PageNotFound
from gateway.dates import moment_text, short_day_text
from gateway.identifiers import is_id
from gateway.money import money
from gateway.storage.database import Database
from gateway.storage.ledger import runway
from gateway.storage.tables import credit_lots, total

PATH = "/admin/organizations"

_DAYS = 30


class AccountStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What the head of each page of an organization tells."""

    id: str
    name: str
    created_at: datetime
    owners: list[str]
    balance: Balance


async def standing(connection: AsyncConnection, organization_id: str) -> AccountStanding:
    """Read an organization's standing. Raises PageNotFound."""
    if not is_id(organization_id):
        raise PageNotFound("There is no such organization.")
    try:
        found = await organizations.find(connection, organization_id)
    except OrganizationNotFound as error:
        raise PageNotFound("There is no such organization.") from error
    return AccountStanding(
        id=found.id,
        name=found.name,
        created_at=found.created_at,
        owners=await account_mails.owners(connection, found.id),
        balance=await credit.balance(connection, found.id),
    )


async def provide_organization_page(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    organization_id: FromPath[str],
    done: FromQuery[str] = "",
) -> FormPage:
    """Provide an organization at a glance. `done` names the action that led there."""

    async def page(refused: RefusedForm | None) -> Response[str]:
        today = wall.now().date()
        since = today - timedelta(days=_DAYS - 1)
        async with database.read() as connection:
            one = await standing(connection, organization_id)
            days = await usage.sums(connection, one.id, Filter(since=since), by="day")
            given = await _given(connection, one.id)
            answered = await answers.summary(connection, one.id, today)
            waiting = await approvals.waiting(connection, organization_id=one.id)
            written = await notes.newest(connection, one.id)
            happened = await SHEETS["trail"][1](connection, one.id, "", 10)
        span = usage.every_day(days, since, today)
        own = f"{PATH}/{one.id}"
        return render(
            "admin/organization.html",
            path=own,
            section="organizations",
            refused=refused,
            one=one,
            tabs=tabs(one.id),
            tab=own,
            done=DONE.get(done, ""),
            tiles=_tiles(one, span, given, answered),
            chart=charts.bars(
                [
                    (short_day_text(date.fromisoformat(day.group)), day.cost_nanos, _title(day))
                    for day in span
                ]
            ),
            waiting=waiting,
            notes=written,
            happened=happened.rows,
        )

    return page


@get(
    PATH + "/{organization_id:str}",
    dependencies={"page": Provide(provide_organization_page)},
)
async def show_organization(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show an organization at a glance."""
    return await page(None)


@get(PATH + "/{organization_id:str}/{tab:str}")
async def show_tab(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    organization_id: FromPath[str],
    tab: FromPath[str],
    before: FromQuery[str] = "",
    format: FromQuery[str] = "",  # noqa: A002 - the address says so
) -> Response[Any]:
    """Show one list of an organization, or answer with it as CSV."""
    if tab not in SHEETS:
        raise PageNotFound("There is nothing here.")
    title, read = SHEETS[tab]
    async with database.read() as connection:
        one = await standing(connection, organization_id)
        sheet = await read(connection, one.id, before, ROWS + 1)
    if format == "csv":

        async def rows(
            connection: AsyncConnection, last: SheetRow | None, limit: int
        ) -> list[SheetRow]:
            return (await read(connection, one.id, last.key if last else "", limit)).rows

        names = [column.name for column in sheet.columns]
        return await export(database, tab, names, rows, lambda row: row.values)
    path = f"{PATH}/{one.id}/{tab}"
    return render(
        "admin/organization_tab.html",
        section="organizations",
        one=one,
        tabs=tabs(one.id),
        tab=path,
        title=title,
        columns=sheet.columns,
        page=keyset(path, {}, sheet.rows, lambda row: row.key, before=before or None),
        done="",
    )


def tabs(organization_id: str) -> list[tuple[str, str, None]]:
    """Return the tabs of an organization's pages."""
    own = f"{PATH}/{organization_id}"
    return [(own, "Overview", None), (f"{own}/request-log", "Requests", None)] + [
        (f"{own}/{slug}", words, None) for slug, (words, _) in SHEETS.items()
    ]


DONE = {
    "grant": "The credit is granted.",
    "take": "The credit is taken back.",
    "refund": "The refund is on its way.",
    "undo": "The entry is reversed by another one.",
    "refused": "Stripe refused the refund, so nothing was paid back.",
    "rejected": "This order was already rejected, so nothing changed.",
    "failed": "This order already failed, so nothing changed.",
    "repeated": "This was already done, so nothing changed.",
    "waiting": "It is waiting for a second operator, or for 24 hours if there is none.",
    "suspend": "The account is suspended.",
    "unsuspend": "The account is no longer suspended.",
    "release": "The organization may buy again.",
    "top-up-off": "Auto top-up is off.",
    "reconcile": "The payment was read from Stripe.",
    "seen": "The payment is off the list.",
    "abandon": "The payment is given up.",
    "revoke": "The key is revoked.",
    "budget": "The key's limit is set.",
    "requests": "The limit is set.",
    "resend": "The email will be sent again.",
    "note": "The note is saved.",
}
"""What a page says after an action."""


async def _given(connection: AsyncConnection, organization_id: str) -> dict[str, int]:
    """Return what ever came in, by kind."""
    lot = credit_lots.c
    found = await connection.execute(
        select(lot.kind, total(lot.amount_nanos))
        .where(lot.organization_id == organization_id)
        .group_by(lot.kind)
    )
    return {row[0]: row[1] for row in found}


def _tiles(
    one: AccountStanding, span: list[Sum], given: dict[str, int], answered: Summary
) -> list[Tile]:
    balance = one.balance
    lately = sum(day.cost_nanos for day in span[-runway.RATE_DAYS :])
    days = runway.of(balance.available_nanos, lately).days
    lasts = "no recent usage" if days is None else f"lasts {lasting(days)}"
    own = f"{PATH}/{one.id}"
    return [
        Tile(name="Available", value=money(balance.available_nanos), note=lasts,
             tone="bad" if days == 0 else "", href=f"{own}/lots"),
        Tile(name="Owed", value=money(balance.owed_nanos),
             tone="bad" if balance.owed_nanos else ""),
        Tile(name="Held by gateways", value=money(balance.reserved_nanos), href=f"{own}/holds"),
        Tile(name=f"Spent, {_DAYS} d", value=money(sum(day.cost_nanos for day in span))),
        Tile(name="Paid in, ever", value=money(given.get("paid", 0)),
             note=f"free {money(given.get('promo', 0))}", href=f"{own}/payments"),
        Tile(name=f"Requests, {_DAYS} d", value=compact(sum(day.requests for day in span)),
             note=f"{compact(sum(day.tokens for day in span))} tokens"),
        Tile(name="p95 today", value=latency(answered.p95_ms),
             note=f"{number(answered.errors_today)} of {number(answered.answers_today)} failed"),
        Tile(name="Last call", value=f"{moment_text(answered.last_hour)}" if answered.last_hour
             else "none", note="" if answered.last_hour else "this month"),
    ]  # fmt: skip


def _title(day: Sum) -> str:
    requests = f"{number(day.requests)} {'request' if day.requests == 1 else 'requests'}"
    return f"{day.group}: {money(day.cost_nanos)}, {requests}, {number(day.tokens)} tokens"
