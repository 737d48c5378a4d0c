"""The webhook inbox: what Stripe told, how far it has come, and another reading of one."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, get_args

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, QueryParameter, URLEncodedBody

from gateway.control_plane.back_office import events
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.pages.admin.lists import ROWS, export, keyset
from gateway.control_plane.payments import stored_events
from gateway.control_plane.payments.stored_events import KEPT, EventState, StoredEvent
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.rendering import Render
from gateway.storage.database import Database

PATH = "/admin/events"
_ONE = PATH + "/{event_id:str}"
_STATES: dict[str, EventState] = {name: name for name in get_args(EventState)}


class ReplayForm(msgspec.Struct, frozen=True):
    """Why an event is routed again."""

    reason: str = ""


@get(PATH)
async def list_events(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    in_state: Annotated[str, QueryParameter(name="state")] = "",
    about: FromQuery[str] = "",
    before: FromQuery[str] = "",
    written: Annotated[str, QueryParameter(name="format")] = "",
) -> Response[Any]:
    """List events, newest first."""
    listed = partial(stored_events.listed, state=_STATES.get(in_state), about=about.strip())
    if written == "csv":
        return await export(
            database,
            "events",
            StoredEvent.__struct_fields__,
            lambda connection, last, limit: listed(connection, before=last, limit=limit),
            msgspec.structs.astuple,
        )
    async with database.read() as connection:
        found = await listed(
            connection,
            before=await stored_events.read(connection, before) if before else None,
            limit=ROWS + 1,
        )
    filters = {"state": in_state, "about": about}
    return render(
        "admin/events.html",
        section="events",
        events=keyset(PATH, filters, found, lambda event: event.id, before=before, limit=ROWS),
        chosen=filters,
        states=list(_STATES),
        kept_days=KEPT.days,
    )


async def _one_page(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    event_id: FromPath[str],
    done: FromQuery[bool] = False,
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        async with database.read() as connection:
            event = await stored_events.read(connection, event_id)
        path = f"{PATH}/{event.id}"
        return render(
            "admin/event.html", path=path, section="events", event=event, refused=refused, done=done
        )

    return page


@get(_ONE, dependencies={"page": Provide(_one_page)})
async def show_event(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show what an event is about, and how far it has come."""
    return await page(None)


@post_form(f"{_ONE}/replay", "replay", _one_page)
async def replay_event(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    event_id: FromPath[str],
    data: URLEncodedBody[ReplayForm],
) -> Response[Any]:
    """Route an event again."""
    async with database.write() as connection:
        await events.replay(connection, operator, event_id, reason=data.reason.strip())
    return see_other(f"{PATH}/{event_id}?done=true")
