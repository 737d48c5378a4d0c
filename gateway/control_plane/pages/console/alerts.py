"""Alerts: when a balance is low, and what the owners are mailed about."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import URLEncodedBody

from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.alerts.preferences import AlertPreferences, Preferences
from gateway.control_plane.billing import credit
from gateway.control_plane.billing.credit import nanos_of_dollars
from gateway.control_plane.pages.console.balance_words import days_left
from gateway.control_plane.pages.console.notice_words import chosen_of, mailed
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.recording import MemberTrail
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import having
from gateway.errors import BadRequest
from gateway.money import money
from gateway.storage.database import Database
from gateway.storage.ledger.runway import runway

PATH = "/console/alerts"


class AlertsForm(msgspec.Struct, frozen=True):
    """When the balance is low, and what is mailed."""

    low: Literal["days", "other"] = "days"
    dollars: str = ""
    mails: str | list[str] = msgspec.field(default_factory=list)

    @property
    def chosen(self) -> list[str]:
        """The types of which owners get mail."""
        return chosen_of(self.mails)

    def low_nanos(self) -> int | None:
        """Return the fixed balance, or None for the rule of days. Raises BadRequest."""
        if self.low == "days":
            return None
        nanos = nanos_of_dollars(self.dollars, param="dollars") if self.dollars.strip() else 0
        if not nanos:
            raise BadRequest("Enter an amount above zero, like 5.", param="dollars")
        return nanos


async def _alerts_page(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    preferences: NamedDependency[Preferences],
    visitor: NamedDependency[Visitor],
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        async with database.read() as connection:
            balance = await credit.balance(connection, visitor.organization_id)
            lasts = await runway(connection, visitor.organization_id)
            saved = await preferences.read(connection, visitor.organization_id)
        return render(
            "console/alerts.html",
            path=PATH,
            section="alerts",
            refused=refused,
            saved="saved" in request.query_params,
            balance=balance,
            days_left=days_left(lasts),
            kinds=mailed(),
            form=refused.typed if refused else _current(saved),
        )

    return page


@get(PATH, dependencies={"page": Provide(_alerts_page)})
async def show_alerts(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show what is told, and when."""
    return await page(None)


@post_form(PATH, "alerts", _alerts_page, guards=[having("alerts")])
async def save_alerts(
    database: NamedDependency[Database],
    preferences: NamedDependency[Preferences],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    data: URLEncodedBody[AlertsForm],
) -> Response[Any]:
    """Change it."""
    wanted = AlertPreferences(low_nanos=data.low_nanos(), mails=tuple(data.chosen))
    async with database.write() as connection:
        before = await preferences.read(connection, visitor.organization_id)
        await preferences.save(connection, visitor.organization_id, wanted)
        await trail.record(
            connection,
            "alerts.changed",
            trail.organization,
            before=msgspec.structs.asdict(before),
            after=msgspec.structs.asdict(wanted),
        )
    return see_other(f"{PATH}?saved=1")


def _current(saved: AlertPreferences) -> AlertsForm:
    if saved.low_nanos is None:
        return AlertsForm(mails=list(saved.mails))
    dollars = money(saved.low_nanos).removeprefix("$").replace(",", "")
    return AlertsForm(low="other", dollars=dollars, mails=list(saved.mails))
