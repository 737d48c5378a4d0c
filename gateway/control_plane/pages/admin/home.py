"""The first page of the back office: what needs an operator, and what waits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromQuery, URLEncodedBody

from gateway import wall
from gateway.control_plane.attention.lookout import LOOK_SECONDS, Lookout
from gateway.control_plane.attention.needs import NEEDS_MAX, Need
from gateway.control_plane.back_office import snoozes
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.pages.admin import pulse
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other, whole
from gateway.control_plane.web.rendering import Render, is_fragment
from gateway.control_plane.web.visitors import PageNotFound
from gateway.storage.database import Database

_WAITS = ((1, "1 hour"), (4, "4 hours"), (24, "1 day"), (72, "3 days"), (168, "7 days"))
_HOURS_MAX = 24 * snoozes.LONGEST.days

_DONE = {"snoozed": "Snoozed. It comes back by itself.", "ended": "It is shown again."}
"""What a page says after an action."""


class SnoozeForm(msgspec.Struct, frozen=True, kw_only=True):
    """A need to put off, for how many hours, and why."""

    key: str = ""
    hours: str = "24"
    reason: str = ""


class WakeForm(msgspec.Struct, frozen=True, kw_only=True):
    """A need that is to be shown again."""

    key: str = ""


@get("/admin")
async def show_home(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    attention: NamedDependency[Lookout],
    render: NamedDependency[Render],
    done: FromQuery[str] = "",
) -> Response[str]:
    """Show what needs an operator, and the service at a glance; to htmx, the needs alone."""
    look = await attention.found()
    if is_fragment(request):
        return render("admin/needs.html", section="home", look=look)
    async with database.read() as connection:
        shown = await pulse.read(connection, wall.now())
    return render(
        "admin/home.html",
        section="home",
        done=_DONE.get(done, ""),
        look=look,
        look_seconds=int(LOOK_SECONDS),
        pulse=shown,
    )


@get("/admin/snoozed")
async def show_snoozed(
    attention: NamedDependency[Lookout],
    render: NamedDependency[Render],
    done: FromQuery[str] = "",
) -> Response[str]:
    """Show what was put off, until when and why."""
    look = await attention.found()
    return render("admin/snoozed.html", section="home", done=_DONE.get(done, ""), look=look)


@get("/admin/rules")
async def show_rules(
    attention: NamedDependency[Lookout], render: NamedDependency[Render]
) -> Response[str]:
    """Show when each kind of need is told, with its thresholds."""
    return render("admin/rules.html", section="home", rules=attention.rules, most=NEEDS_MAX)


async def _snooze_page(
    request: Request[Any, Any, Any],
    attention: NamedDependency[Lookout],
    render: NamedDependency[Render],
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        key = refused.typed.key if refused else request.query_params.get("key", "")
        return render(
            "admin/snooze.html",
            section="home",
            refused=refused,
            need=await _find(attention, key),
            form=refused.typed if refused else SnoozeForm(key=key),
            waits=_WAITS,
        )

    return page


@get("/admin/snooze", dependencies={"page": Provide(_snooze_page)})
async def ask_snooze(page: NamedDependency[FormPage], key: FromQuery[str] = "") -> Response[Any]:  # noqa: ARG001 - in the address
    """Ask until when a need waits, and why."""
    return await page(None)


@post_form("/admin/snooze", "snooze", _snooze_page)
async def snooze(
    database: NamedDependency[Database],
    attention: NamedDependency[Lookout],
    operator: NamedDependency[Operator],
    data: URLEncodedBody[SnoozeForm],
) -> Response[Any]:
    """Put a need off."""
    need = await _find(attention, data.key)
    lasts = timedelta(hours=whole(data.hours, _HOURS_MAX) or 0)
    async with database.write() as connection:
        await snoozes.snooze(connection, operator, need, lasts, data.reason)
    return see_other("/admin?done=snoozed")


@post_form("/admin/snooze/end", "wake", _snooze_page)
async def end_snooze(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    data: URLEncodedBody[WakeForm],
) -> Response[Any]:
    """Show a need again."""
    async with database.write() as connection:
        await snoozes.end(connection, operator, data.key)
    return see_other("/admin/snoozed?done=ended")


async def _find(attention: Lookout, key: str) -> Need:
    need = await attention.find(key)
    if need is None:
        raise PageNotFound("This no longer needs attention.")
    return need
