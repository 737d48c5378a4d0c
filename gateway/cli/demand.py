"""`gateway models launch` and `gateway models demand`: who wants a model, and its launch."""

from __future__ import annotations

import rich_click as click

from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.catalog import check_model
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.back_office import launch_control
from gateway.control_plane.billing import credit
from gateway.control_plane.demand import events, report
from gateway.money import money

_CONVERSION = [
    "recipients",
    "organizations_told",
    "organizations_calling",
    "organizations_paying",
    "tokens_30_days",
]


@click.command("launch", epilog="Example: gateway models launch MODEL --price 0.008")
@click.argument("model")
@click.option("--price", help="Dollars per million tokens; default: the estimated price.")
@click.option(
    "--flex-price",
    help="Dollars per million tokens in the flex tier; default: in proportion to the estimate.",
)
@because
@acting_as
@asynchronous
async def launch_model(
    model: str, *, price: str | None, flex_price: str | None, reason: str, acting: str | None
) -> None:
    """Make a model live, and email everyone who voted for it or is on its waitlist, once each.

    A running gateway must have a ready worker for it, whose revision is pinned (workers pin).
    """
    nanos, flex_nanos = (
        None if dollars is None else credit.nanos_of_dollars(dollars)
        for dollars in (price, flex_price)
    )
    async with opened() as database, database.write() as connection:
        prices = await launch_control.launch(
            connection,
            await operator_of(connection, acting),
            model,
            nanos_per_million_tokens=nanos,
            flex_nanos_per_million_tokens=flex_nanos,
            reason=reason,
        )
    costs = f"{money(prices.default_nanos)} / 1M tokens (flex {money(prices.flex_nanos)})"
    say(f"{model} is live at {costs}. Running gateways email everyone who asked for it.")


@click.command("demand", epilog="Example: gateway models demand MODEL")
@click.argument("model")
@as_json
@asynchronous
async def show_demand(model: str, *, as_json: bool) -> None:
    """Show how much a model is wanted and, after its launch, the results."""
    async with opened() as database, database.read() as connection:
        await check_model(connection, model)
        funnel = await events.funnel(connection, model)
        score = await report.score(connection, model)
        conversion = await report.conversion(connection, model)
    if as_json:
        show({"funnel": funnel, "score": score, "conversion": conversion}, as_json=True)
        return
    say("  ".join(f"{kind} {count}" for kind, count in funnel.items()) or "Nothing yet.")
    show(score, as_json=False, title="score")
    if conversion is not None:
        show(conversion, as_json=False, title="launch", columns=_CONVERSION)
        gifts = "  ".join(f"{reason} {count}" for reason, count in conversion.credit.items())
        say(f"launch credit: {gifts or 'nobody to give it to'}")
