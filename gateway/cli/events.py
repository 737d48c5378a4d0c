"""`gateway events`: Stripe's events, what became of each, and a replay of one."""

from __future__ import annotations

from typing import Any, get_args

import rich_click as click

from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.back_office import events
from gateway.control_plane.payments import stored_events

_COLUMNS = ["id", "type", "object_id", "received_at", "state", "attempts", "problem"]


@click.group("events")
def events_group() -> None:
    """Stripe's events of the last 30 days."""


@events_group.command("list", epilog="Example: gateway events list --state given_up")
@click.option(
    "--state", type=click.Choice(get_args(stored_events.EventState)), help="Only in this state."
)
@click.option("--about", default="", help="Only about this Stripe ID.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@as_json
@asynchronous
async def list_events(*, state: Any, about: str, limit: int, as_json: bool) -> None:
    """List events, newest first."""
    async with opened() as database, database.read() as connection:
        found = await stored_events.listed(connection, state=state, about=about, limit=limit)
    show(found, as_json=as_json, title="events", columns=_COLUMNS)


@events_group.command("replay", epilog="Example: gateway events replay EVENT_ID")
@click.argument("event")
@acting_as
@because
@asynchronous
async def replay_event(event: str, *, acting: str | None, reason: str) -> None:
    """Route an event again: a running gateway reads at Stripe what it is about."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        await events.replay(connection, operator, event, reason=reason)
    say(f"{event} is due now.")
