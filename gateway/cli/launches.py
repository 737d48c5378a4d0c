"""`gateway launches`: what a launch would do, how far one has come, and pausing one."""

from __future__ import annotations

from datetime import UTC, datetime

import rich_click as click

from gateway.app.terms import launch_terms
from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.catalog import check_model
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.back_office import launch_control
from gateway.control_plane.demand import launch_progress
from gateway.control_plane.demand.pauses import LaunchUnknown
from gateway.money import money
from gateway.settings import Settings

_LISTED_MAX = 100


@click.group("launches")
def launches_group() -> None:
    """Launches; `gateway models launch` starts one."""


@launches_group.command("list", epilog="Example: gateway launches list")
@as_json
@asynchronous
async def list_launches(*, as_json: bool) -> None:
    """List the newest launches."""
    async with opened() as database, database.read() as connection:
        found = await launch_progress.listed(connection, _LISTED_MAX)
    show(found, as_json=as_json, title="launches")


@launches_group.command("preview", epilog="Example: gateway launches preview MODEL")
@click.argument("model")
@as_json
@asynchronous
async def preview(model: str, *, as_json: bool) -> None:
    """Show what a launch needs, and whom it would mail."""
    terms = launch_terms(Settings.from_environment())
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    async with opened() as database, database.read() as connection:
        await check_model(connection, model)
        readiness = await launch_progress.readiness(connection, model)
        audience = await launch_progress.audience(connection, model, terms, today)
    if as_json:
        show({"readiness": readiness, "audience": audience}, as_json=True)
        return
    say(f"state {readiness.state}, ready revisions {len(readiness.ready)}")
    say("a ready revision is pinned" if readiness.vouched else "no ready revision is pinned")
    say(
        f"{audience.recipients} emails in {audience.waves} waves; {audience.unsubscribed} "
        f"unsubscribed, {audience.set_aside} votes set aside"
    )
    say(
        f"credit for up to {audience.organizations} organizations: {money(audience.credit_nanos)}, "
        f"and {money(audience.budget_left_nanos)} of today's budget left"
    )


@launches_group.command("show", epilog="Example: gateway launches show MODEL")
@click.argument("model")
@as_json
@asynchronous
async def show_launch(model: str, *, as_json: bool) -> None:
    """Show a launch and its mails."""
    async with opened() as database, database.read() as connection:
        launch = await launch_progress.of_model(connection, model)
        if launch is None:
            raise LaunchUnknown(f"{model} was not launched.")
        mails = await launch_progress.mail_counts(connection, model)
    if as_json:
        show({"launch": launch, "mails": mails}, as_json=True)
        return
    say(f"{model}: {launch.state}")
    show(mails, as_json=False, title="mails")


@launches_group.command(
    "pause", epilog='Example: gateway launches pause MODEL --reason "a wrong price"'
)
@click.argument("model")
@because
@acting_as
@asynchronous
async def pause(model: str, *, reason: str, acting: str | None) -> None:
    """Hold a launch's mails back."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        held = await launch_control.pause(connection, operator, model, reason=reason)
    say("It was already paused." if held is None else f"Paused; {held} emails were not sent yet.")


@launches_group.command(
    "resume", epilog='Example: gateway launches resume MODEL --reason "the price is right"'
)
@click.argument("model")
@because
@acting_as
@asynchronous
async def resume(model: str, *, reason: str, acting: str | None) -> None:
    """Let a paused launch go on."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        went_on = await launch_control.resume(connection, operator, model, reason=reason)
    say("Resumed." if went_on else "It was not paused.")
