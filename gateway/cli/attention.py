"""`gateway attention` and `gateway search`: what needs an operator, and where something is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import msgspec
import rich_click as click

from gateway.app.needs import sources
from gateway.app.terms import make_gpu_terms
from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.attention.lookout import Lookout
from gateway.control_plane.attention.needs import Need, Severity
from gateway.control_plane.back_office import search, snoozes
from gateway.errors import NotFound
from gateway.settings import Settings
from gateway.storage.database import Database

_HOURS = click.IntRange(1, 24 * snoozes.LONGEST.days)


class NoSuchNeed(NotFound):
    """Nothing needs attention for this any more."""

    code = "need_not_found"


class ToldNeed(msgspec.Struct, frozen=True, kw_only=True):
    """A need as a command prints it; `until` is when a snoozed one is shown again."""

    key: str
    severity: Severity
    subject: str
    words: str
    since: datetime | None
    until: datetime | None


class ToldRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as a command prints it."""

    what: str
    rule: str


@click.group("attention")
def attention_group() -> None:
    """What needs an operator now, the worst first."""


@attention_group.command("list", epilog="Example: gateway attention list")
@as_json
@asynchronous
async def list_needs(*, as_json: bool) -> None:
    """List what needs an operator, and what is snoozed."""
    async with _looking() as (_, attention):
        look = await attention.found()
    told: list[tuple[Need, datetime | None]] = [(need, None) for need in look.needs]
    told += [(need, snooze.until) for need, snooze in look.snoozed]
    rows = [
        ToldNeed(
            key=need.key,
            severity=need.severity,
            subject=need.subject,
            words=need.words,
            since=need.since,
            until=until,
        )
        for need, until in told
    ]
    if not rows and not as_json:
        say("Nothing needs attention.")
        return
    show(rows, as_json=as_json, title="needs")


@attention_group.command("rules", epilog="Example: gateway attention rules")
@as_json
@asynchronous
async def list_rules(*, as_json: bool) -> None:
    """List when each kind of need is shown, with its thresholds."""
    settings = Settings.from_environment()
    told = sources(settings, make_gpu_terms(settings)).items()
    rows = [ToldRule(what=name, rule=source.rule) for name, source in told]
    show(rows, as_json=as_json, title="rules")


@attention_group.command(
    "snooze", epilog='Example: gateway attention snooze KEY --hours 48 --reason "ordered"'
)
@click.argument("key")
@click.option("--hours", type=_HOURS, default=24, show_default=True, help="How long to snooze it.")
@acting_as
@because
@asynchronous
async def snooze_need(key: str, *, hours: int, acting: str | None, reason: str) -> None:
    """Snooze a need, named by its key."""
    async with _looking() as (database, attention):
        need = await attention.find(key)
        if need is None:
            raise NoSuchNeed(
                f"Nothing needs attention as {key[:80]!r}; see gateway attention list."
            )
        async with database.write() as connection:
            operator = await operator_of(connection, acting)
            until = await snoozes.snooze(connection, operator, need, timedelta(hours=hours), reason)
    say(f"{key} is snoozed until {until:%Y-%m-%d %H:%M} UTC.")


@attention_group.command("unsnooze", epilog="Example: gateway attention unsnooze KEY")
@click.argument("key")
@acting_as
@asynchronous
async def unsnooze_need(key: str, *, acting: str | None) -> None:
    """Show a snoozed need again."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        ended = await snoozes.end(connection, operator, key)
    say(f"{key} is shown again." if ended else f"{key} was not snoozed.")


@click.command("search", epilog="Example: gateway search acme")
@click.argument("words")
@as_json
@asynchronous
async def search_all(words: str, *, as_json: bool) -> None:
    """Find anything by id or name: emails, organizations, ends of keys, payments, requests."""
    async with opened() as database, database.read() as connection:
        found = await search.search(connection, words)
    columns = ["kind", "id", "words", "note", "organization"]
    show(found, as_json=as_json, title="hits", columns=columns)


@asynccontextmanager
async def _looking() -> AsyncIterator[tuple[Database, Lookout]]:
    settings = Settings.from_environment()
    async with opened() as database:
        yield database, Lookout(database, sources(settings, make_gpu_terms(settings)))
