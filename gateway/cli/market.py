"""`gateway demand` and `gateway waitlist`: what is wanted, by whom, and votes set aside."""

from __future__ import annotations

import msgspec
import rich_click as click

from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.catalog import check_model
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.back_office import vote_reviews
from gateway.control_plane.catalog import catalog
from gateway.control_plane.demand import asks, economics, standings, vote_lists
from gateway.control_plane.demand.economics import GpuTerms
from gateway.control_plane.demand.vote_lists import EntryFilter, VoteFilter
from gateway.control_plane.workers import commands
from gateway.settings import Settings

_LISTED_MAX = 1_000
_VOTE_COLUMNS = [
    "id",
    "created_at",
    "email",
    "volume_million_tokens",
    "price_max_nanos",
    "use_case",
    "set_aside_reason",
]


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the list of demand."""

    model_id: str
    score: float
    votes: int
    waiting: int
    votes_30_days: int
    expected_tokens: int
    revenue_nanos: int
    cost_nanos: int
    pays: bool
    days: int | None


@click.group("demand")
def demand_group() -> None:
    """Models by demand, and their votes."""


@demand_group.command("list", epilog="Example: gateway demand list")
@as_json
@asynchronous
async def list_demand(*, as_json: bool) -> None:
    """List models that are coming soon, the most wanted first, and whether each pays its GPU."""
    settings = Settings.from_environment()
    terms = GpuTerms(
        nanos_per_hour=settings.gpu_nanos_per_hour,
        launch_credit_nanos=settings.launch_credit_nanos,
    )
    found = []
    async with opened() as database, database.read() as connection:
        reports = await commands.reports(connection)
        for model in (await catalog.snapshot(connection)).models.values():
            if model.state != "coming_soon":
                continue
            standing = await standings.computed(connection, model.id)
            price = model.price.nanos_per_million_tokens
            capacity = economics.capacity_of(model.id, reports)
            seen = economics.outlook(standing, price, capacity, terms)
            found.append(
                _Wanted(
                    model_id=model.id,
                    score=round(standing.score, 3),
                    votes=standing.votes,
                    waiting=standing.waiting,
                    votes_30_days=standing.votes_30_days,
                    expected_tokens=seen.expected_tokens,
                    revenue_nanos=seen.revenue_nanos,
                    cost_nanos=seen.cost_nanos,
                    pays=seen.pays,
                    days=seen.days,
                )
            )
    show(sorted(found, key=lambda row: (-row.score, row.model_id)), as_json=as_json, title="models")


@demand_group.command("asked", epilog="Example: gateway demand asked --limit 20")
@click.option("--limit", type=click.IntRange(1, _LISTED_MAX), default=50, help="How many.")
@as_json
@asynchronous
async def list_asked(*, limit: int, as_json: bool) -> None:
    """List models that are asked for and not in the catalog, the most wanted first.

    Names come from the form, empty searches, missing pages and API calls; anybody can make them up.
    """
    async with opened() as database, database.read() as connection:
        found = await asks.listed(connection, limit)
    show(found, as_json=as_json, title="names")


@demand_group.command("votes", epilog="Example: gateway demand votes MODEL --match example.com")
@click.argument("model")
@click.option("--match", "q", default="", help="An address, or a domain.")
@click.option("--aside", is_flag=True, help="Only those that were set aside.")
@as_json
@asynchronous
async def list_votes(model: str, *, q: str, aside: bool, as_json: bool) -> None:
    """List the newest votes for a model, with their ids."""
    chosen = VoteFilter(model=model, q=q, counting="set_aside" if aside else "")
    async with opened() as database, database.read() as connection:
        await check_model(connection, model)
        found = await vote_lists.votes(connection, chosen, limit=_LISTED_MAX)
    show(found, as_json=as_json, title="votes", columns=_VOTE_COLUMNS)


@demand_group.command(
    "set-aside", epilog='Example: gateway demand set-aside VOTE_ID --reason "made up"'
)
@click.argument("vote")
@because
@acting_as
@asynchronous
async def set_aside(vote: str, *, reason: str, acting: str | None) -> None:
    """Set a vote aside, so that it no longer counts."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        done = await vote_reviews.set_aside(connection, operator, vote, reason=reason)
    say(f"Vote {vote} is set aside." if done else f"Vote {vote} was set aside already.")


@demand_group.command(
    "restore", epilog='Example: gateway demand restore VOTE_ID --reason "it was genuine"'
)
@click.argument("vote")
@because
@acting_as
@asynchronous
async def restore(vote: str, *, reason: str, acting: str | None) -> None:
    """Make a vote that was set aside count again."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        done = await vote_reviews.restore(connection, operator, vote, reason=reason)
    say(f"Vote {vote} counts again." if done else f"Vote {vote} was not set aside.")


@click.group("waitlist")
def waitlist_group() -> None:
    """Who is waiting for a model."""


@waitlist_group.command("list", epilog="Example: gateway waitlist list --model MODEL")
@click.option("--model", default="", help="One model.")
@click.option("--match", "q", default="", help="An address, or a domain.")
@as_json
@asynchronous
async def list_waitlist(*, model: str, q: str, as_json: bool) -> None:
    """List the newest entries."""
    chosen = EntryFilter(model=model, q=q)
    async with opened() as database, database.read() as connection:
        found = await vote_lists.waiting(connection, chosen, limit=_LISTED_MAX)
    show(found, as_json=as_json, title="entries")
