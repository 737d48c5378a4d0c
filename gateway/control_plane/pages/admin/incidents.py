"""Incidents: what was measured of each, and what the public is told of it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, QueryParameter, URLEncodedBody

from gateway import wall
from gateway.control_plane.back_office.incidents import authors, correct, post
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.pages.admin.lists import ROWS, export, keyset
from gateway.control_plane.status import incident_updates, incidents
from gateway.control_plane.status.incidents import Incident
from gateway.control_plane.web.forms import FormPage, RefusedForm, lines, post_form, see_other
from gateway.control_plane.web.rendering import Render
from gateway.storage.database import Database

PATH = "/admin/incidents"
_ONE = PATH + "/{incident_id:str}"
_COLUMNS = ("id", "model", "started_at", "ended_at", "title", "updates", "last_words")
_DONE = {
    "posted": "It is published: the status page shows it within seconds.",
    "corrected": "It is corrected: the status page shows it within seconds.",
}
"""What an incident's page says after an action."""


class UpdateForm(msgspec.Struct, frozen=True, kw_only=True):
    """What the public is told, and why; `update` is the one to correct, if any."""

    update: str = ""
    title: str = ""
    words: str = ""
    reason: str = ""


@get(PATH)
async def list_incidents(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    before: FromQuery[str] = "",
    written: Annotated[str, QueryParameter(name="format")] = "",
) -> Response[Any]:
    """List the incidents, those that go on first; all of them as CSV too."""
    if written == "csv":
        return await export(
            database,
            "incidents",
            _COLUMNS,
            lambda connection, last, limit: incidents.listed(
                connection, before=last.id if last else before, limit=limit
            ),
            _row,
        )
    async with database.read() as connection:
        going = await incidents.listed(connection, is_open=True)
        ended = await incidents.listed(connection, is_open=False, before=before, limit=ROWS + 1)
        wrote = await authors(connection, [one.id for one in [*going, *ended]])
    return render(
        "admin/incidents.html",
        section="incidents",
        going=going,
        ended=keyset(PATH, {}, ended, lambda one: one.id, before=before, limit=ROWS),
        authors=wrote,
    )


async def _one_page(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    incident_id: FromPath[str],
    wanted: Annotated[str, QueryParameter(name="correct")] = "",
    done: FromQuery[str] = "",
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        chosen = refused.typed.update if refused else wanted
        async with database.read() as connection:
            one = await incidents.find(connection, incident_id)
            wrote = await authors(connection, [one.id])
            measured = await incidents.responses(connection, one, wall.now())
        return render(
            "admin/incident.html",
            path=f"{PATH}/{one.id}",
            section="incidents",
            refused=refused,
            done=_DONE.get(done, ""),
            incident=one,
            authors=wrote,
            measured=measured,
            correcting=next((said for said in one.updates if said.id == chosen), None),
            title_max=incident_updates.TITLE_CHARACTERS_MAX,
            words_max=incident_updates.WORDS_CHARACTERS_MAX,
        )

    return page


@get(_ONE, dependencies={"page": Provide(_one_page)})
async def show_incident(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show an incident, and the form that says something of it or corrects what was said."""
    return await page(None)


@post_form(f"{_ONE}/post", "update", _one_page)
async def post_update(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    incident_id: FromPath[str],
    data: URLEncodedBody[UpdateForm],
) -> Response[Any]:
    """Say something of an incident in public."""
    async with database.write() as connection:
        await post(
            connection,
            operator,
            incident_id,
            title=data.title,
            words=lines(data.words),
            reason=data.reason,
        )
    return see_other(f"{PATH}/{incident_id}?done=posted")


@post_form(f"{_ONE}/correct", "update", _one_page)
async def correct_update(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    data: URLEncodedBody[UpdateForm],
) -> Response[Any]:
    """Replace what an update says."""
    async with database.write() as connection:
        incident_id = await correct(
            connection,
            operator,
            data.update,
            title=data.title,
            words=lines(data.words),
            reason=data.reason,
        )
    return see_other(f"{PATH}/{incident_id}?done=corrected")


def _row(incident: Incident) -> tuple[Any, ...]:
    return (
        incident.id,
        incident.model_id,
        incident.started_at,
        incident.ended_at,
        incident.title,
        len(incident.updates),
        incident.updates[0].words if incident.updates else "",
    )


HANDLERS = (list_incidents, show_incident, post_update, correct_update)
"""The pages of this module."""
