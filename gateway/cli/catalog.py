"""`gateway models` and `gateway estimate`: the catalogue, its prices, demand and launches."""

from __future__ import annotations

import rich_click as click
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.cli.printing import say, show
from gateway.cli.support import as_json, asynchronous, opened
from gateway.control_plane.billing import credit
from gateway.control_plane.catalog import catalog
from gateway.control_plane.demand import events, launches, report
from gateway.control_plane.workers import commands
from gateway.data_plane.api.models import entry
from gateway.data_plane.metering import tokens
from gateway.data_plane.metering.rows import RowMaker
from gateway.errors import NotFound
from gateway.money import money
from gateway.snapshots import Tier, WorkerState

_CONVERSION = [
    "recipients",
    "organizations_told",
    "organizations_calling",
    "organizations_paying",
    "tokens_30_days",
]


@click.group("models")
def models_group() -> None:
    """The catalogue."""


@models_group.command("list")
@as_json
@asynchronous
async def list_models(*, as_json: bool) -> None:
    """List the models, their state, price and dimensions."""
    async with opened() as database, database.read() as connection:
        snapshot = await catalog.snapshot(connection)
    if as_json:
        show([entry(model) for model in snapshot.models.values()], as_json=True)
        return
    for model in snapshot.models.values():
        price = money(model.price.nanos_per_million_tokens)
        flex = money(model.price_of("flex").nanos_per_million_tokens)
        dimensions = ", ".join(map(str, model.dimensions))
        say(
            f"{model.id}  {model.state}  {price} / 1M tokens (flex {flex})  dimensions {dimensions}"
        )


@models_group.command("price")
@click.argument("model")
@click.argument("dollars")
@click.option("--flex", is_flag=True, help="The price of requests that may wait.")
@asynchronous
async def price_model(model: str, dollars: str, *, flex: bool) -> None:
    """Set a model's price for a million tokens; what was billed before stays as it is."""
    nanos = credit.nanos_of_dollars(dollars)
    async with opened() as database, database.write() as connection:
        await _check(connection, model)
        tier: Tier = "flex" if flex else "default"
        await catalog.set_price(connection, model, nanos, tier=tier)
    say(f"{model} costs {money(nanos)} / 1M tokens{' in the tier flex' if flex else ''}.")


@models_group.command("launch")
@click.argument("model")
@click.option("--price", help="Dollars for a million tokens; the estimate, unless given.")
@click.option("--flex-price", help="The same for flex; as much lower as estimated, unless given.")
@asynchronous
async def launch_model(model: str, *, price: str | None, flex_price: str | None) -> None:
    """Make a model live, and mail voters and the waitlist, once each.

    A running gateway must have a ready worker of it, whose revision is pinned (workers pin).
    """
    nanos, flex_nanos = (
        None if dollars is None else credit.nanos_of_dollars(dollars)
        for dollars in (price, flex_price)
    )
    async with opened() as database:
        async with database.read() as connection:
            told = await commands.reports(connection)
        ready = {
            one.worker.revision
            for one in told
            if one.model == model and one.worker.state is WorkerState.READY
        }
        async with database.write() as connection:
            prices = await launches.launch(
                connection,
                model,
                ready=ready,
                nanos_per_million_tokens=nanos,
                flex_nanos_per_million_tokens=flex_nanos,
            )
    costs = f"{money(prices.default_nanos)} / 1M tokens (flex {money(prices.flex_nanos)})"
    say(f"{model} is live at {costs}. Running gateways mail who asked for it.")


@models_group.command("demand")
@click.argument("model")
@as_json
@asynchronous
async def show_demand(model: str, *, as_json: bool) -> None:
    """Show who wants a model, in parts, and what became of its launch."""
    async with opened() as database, database.read() as connection:
        await _check(connection, model)
        funnel = await events.funnel(connection, model)
        parts = await report.parts(connection, model)
        converted = await report.of_launch(connection, model)
    if as_json:
        show({"funnel": funnel, "score": parts, "conversion": converted}, as_json=True)
        return
    say("  ".join(f"{kind} {count}" for kind, count in funnel.items()) or "Nothing yet.")
    show(parts, as_json=False, title="score")
    if converted is not None:
        show(converted, as_json=False, title="launch", columns=_CONVERSION)
        credit = "  ".join(f"{reason} {count}" for reason, count in converted.credit.items())
        say(f"launch credit: {credit or 'nobody to give it to'}")


async def _check(connection: AsyncConnection, model: str) -> None:
    if model not in (await catalog.snapshot(connection)).models:
        raise NotFound(f"There is no model {model!r}; see gateway models list.")


@click.command("estimate")
@click.argument("model")
@click.argument("texts", nargs=-1, required=True)
@click.option("--prompt-name", help="One of the model's prompts.")
@as_json
@asynchronous
async def estimate(
    model: str, texts: tuple[str, ...], *, prompt_name: str | None, as_json: bool
) -> None:
    """Count the tokens of texts and what embedding them would cost."""
    async with opened() as database, database.read() as connection:
        known = (await catalog.snapshot(connection)).find(model)
    if known is None or (prompt_name and prompt_name not in known[0].prompts):
        raise NotFound(f"There is no model {model!r} with such a prompt; see gateway models list.")
    found, suffix = known
    maker = RowMaker(
        tokens.load(),
        dimensions=found.dimensions_default,
        tokens_max=found.tokens_max,
        prompt=found.prompts.get(prompt_name or suffix or "", ""),
    )
    rows = maker.from_texts(texts, truncate=None)
    cost = found.price.cost_nanos(rows.tokens)
    if as_json:
        counts = [row.tokens for row in rows.rows]
        show({"tokens": rows.tokens, "cost_nanos": str(cost), "inputs": counts}, as_json=True)
    else:
        say(f"{rows.tokens} tokens, {money(cost)}")
