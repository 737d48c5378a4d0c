"""`gateway models` and `gateway estimate`: the catalog and its prices."""

from __future__ import annotations

from datetime import UTC, datetime

import rich_click as click
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.lazy import Later, LazyGroup
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.back_office import price_control
from gateway.control_plane.billing import credit
from gateway.control_plane.catalog import catalog
from gateway.data_plane.api.model_entries import entry
from gateway.errors import NotFound
from gateway.money import money
from gateway.settings import Settings
from gateway.snapshots import Tier


@click.group("models", cls=LazyGroup)
def models_group() -> None:
    """The model catalog."""


for _command in (
    Later(
        "show",
        "model_edits:show_model",
        "Print a model's facts as TOML, or the words of its page, to edit them.",
    ),
    Later(
        "edit",
        "model_edits:edit_model",
        "Replace a model's facts or page; later data files no longer override what differs.",
    ),
    Later("add", "model_edits:add_model", "Add a model that is coming soon."),
    Later(
        "diff",
        "model_edits:show_differences",
        "Show what operators changed, next to what the data files say.",
    ),
    Later("check", "model_review:check_models", "Check the words and facts of all models."),
    Later("state", "model_edits:set_state", "Retire a model, or bring a retired one back."),
    Later(
        "price-effect",
        "model_edits:show_effect",
        "Show whom a price would affect, and the most they would pay.",
    ),
    Later("cancel-price", "model_edits:cancel_price", "Cancel a price that does not apply yet."),
    Later(
        "launch",
        "demand:launch_model",
        "Make a model live, and email everyone who voted for it or is on its waitlist, once each.",
    ),
    Later(
        "demand",
        "demand:show_demand",
        "Show how much a model is wanted and, after its launch, the results.",
    ),
):
    models_group.add_command(_command)


@models_group.command("list", epilog="Example: gateway models list")
@as_json
@asynchronous
async def list_models(*, as_json: bool) -> None:
    """List models with their state, price and dimensions."""
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


@models_group.command("price", epilog="Example: gateway models price MODEL 0.008 --from 2027-01-31")
@click.argument("model")
@click.argument("dollars")
@click.option("--flex", is_flag=True, help="Set the price of the flex tier.")
@click.option("--from", "day", type=click.DateTime(["%Y-%m-%d"]), help="The day it applies from.")
@because
@acting_as
@asynchronous
async def price_model(
    model: str, dollars: str, *, flex: bool, day: datetime | None, reason: str, acting: str | None
) -> None:
    """Set a model's price per million tokens. Past usage keeps the price it was billed at.

    An increase needs notice (GATEWAY_PRICE_NOTICE_DAYS) while someone uses the model.
    """
    nanos = credit.nanos_of_dollars(dollars)
    tier: Tier = "flex" if flex else "default"
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        await check_model(connection, model)
        change = await price_control.set_price(
            connection,
            operator,
            model,
            nanos,
            tier=tier,
            effective_at=day and day.replace(tzinfo=UTC),
            notice_days=Settings.from_environment().price_notice_days,
            reason=reason,
        )
    where = " in the flex tier" if flex else ""
    when = f" from {day:%Y-%m-%d} on: scheduled price {change}" if change else ""
    say(f"{model} costs {money(nanos)} / 1M tokens{where}{when}.")


async def check_model(connection: AsyncConnection, model: str) -> None:
    """Raise NotFound for a model that is not in the catalog."""
    if model not in (await catalog.snapshot(connection)).models:
        raise NotFound(f"There is no model {model!r}; see gateway models list.")


@click.command("estimate", epilog='Example: gateway estimate MODEL "Hello, world"')
@click.argument("model")
@click.argument("texts", nargs=-1, required=True)
@click.option("--prompt-name", help="One of the model's prompts.")
@as_json
@asynchronous
async def estimate(
    model: str, texts: tuple[str, ...], *, prompt_name: str | None, as_json: bool
) -> None:
    """Count the tokens of texts and compute what embedding them would cost."""
    from gateway.data_plane.metering import tokens  # noqa: PLC0415 - 10 MB for this one command
    from gateway.data_plane.metering.quote import counter_of, quote  # noqa: PLC0415

    async with opened() as database, database.read() as connection:
        known = (await catalog.snapshot(connection)).find(model)
    if known is None or (prompt_name and prompt_name not in known[0].prompts):
        raise NotFound(f"There is no model {model!r} with this prompt; see gateway models list.")
    found, suffix = known
    quoted = quote(counter_of(tokens.counters(), found), found, texts, prompt=prompt_name or suffix)
    rows, cost = quoted.rows, quoted.cost_nanos
    if as_json:
        counts = [row.tokens for row in rows.rows]
        show({"tokens": rows.tokens, "cost_nanos": str(cost), "inputs": counts}, as_json=True)
    else:
        say(f"{rows.tokens} tokens, {money(cost)}")
