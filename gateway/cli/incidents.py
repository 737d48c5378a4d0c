"""`gateway incidents`: what the status page says about incidents."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import rich_click as click

from gateway import wall
from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.back_office import incidents
from gateway.control_plane.status.incidents import find, recent


@click.group("incidents")
def incidents_group() -> None:
    """Incidents, and what the public is told about them."""


@incidents_group.command("list", epilog="Example: gateway incidents list")
@click.option("--days", type=click.IntRange(1, 365), default=30, show_default=True)
@as_json
@asynchronous
async def list_incidents(days: int, *, as_json: bool) -> None:
    """List the incidents of the last days, the newest first."""
    async with opened() as database, database.read() as connection:
        found = await recent(connection, wall.now() - timedelta(days=days))
    if as_json:
        show(found, as_json=True)
    elif not found:
        say("No incidents.")
    else:
        lines = [
            _Line(
                id=one.id,
                model=one.model_id,
                started_at=one.started_at,
                ended_at=one.ended_at,
                title=one.title,
                updates=len(one.updates),
            )
            for one in found
        ]
        show(lines, as_json=False)


@incidents_group.command(
    "post",
    epilog="Example: gateway incidents post ID --title 'A full disk' --words 'It is replaced.'",
)
@click.argument("incident")
@click.option("--title", required=True, help="What the incident is called from now on.")
@click.option("--words", required=True, help="What happened, and what is being done about it.")
@because
@acting_as
@asynchronous
async def post(incident: str, *, title: str, words: str, reason: str, acting: str | None) -> None:
    """Post an update about an incident to the status page, its feed and its JSON."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        await incidents.post(
            connection, operator, incident, title=title, words=words, reason=reason
        )
    say("Posted: /status shows it within seconds.")


@incidents_group.command("show", epilog="Example: gateway incidents show ID")
@click.argument("incident")
@as_json
@asynchronous
async def show_incident(incident: str, *, as_json: bool) -> None:
    """Show what was said about an incident, newest first, with the ids of the updates."""
    async with opened() as database, database.read() as connection:
        found = await find(connection, incident)
    if as_json:
        show(found, as_json=True)
        return
    say(f"{found.title}: {found.model_id}, {found.lasted(wall.now())}")
    show(list(found.updates), as_json=False, title="updates")


@incidents_group.command(
    "correct",
    epilog="Example: gateway incidents correct UPDATE --title 'A full disk' --words 'Replaced.'",
)
@click.argument("update")
@click.option("--title", required=True, help="What the update calls the incident.")
@click.option("--words", required=True, help="What it says instead.")
@because
@acting_as
@asynchronous
async def correct(update: str, *, title: str, words: str, reason: str, acting: str | None) -> None:
    """Replace what an update says; the audit trail keeps what it said before."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        await incidents.correct(
            connection, operator, update, title=title, words=words, reason=reason
        )
    say("Corrected: /status shows it within seconds.")


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    model: str
    started_at: datetime
    ended_at: datetime | None
    title: str
    updates: int
