"""`gateway models show`, `edit`, `add`, `diff`, `state` and prices: what operators change."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import rich_click as click

from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.back_office import model_control, price_control
from gateway.control_plane.billing import credit
from gateway.control_plane.catalog import toml
from gateway.money import money
from gateway.snapshots import State, Tier

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_TIERS: dict[str, Tier] = {tier: tier for tier in get_args(Tier)}
_STATES: dict[str, State] = {state: state for state in get_args(State)}


@click.command("show", epilog="Example: gateway models show MODEL > facts.toml")
@click.argument("model")
@click.option("--page", is_flag=True, help="The words of its page, instead of its facts.")
@asynchronous
async def show_model(model: str, *, page: bool) -> None:
    """Print a model's facts as TOML, or the words of its page, to edit them."""
    async with opened() as database, database.read() as connection:
        current = await model_control.current(connection, model)
    click.echo(toml.written(current.page if page else current.card), nl=False)


@click.command(
    "edit", epilog='Example: gateway models edit MODEL --facts facts.toml --reason "a typo"'
)
@click.argument("model")
@click.option("--facts", type=_FILE, help="A file with its facts, as `models show` prints them.")
@click.option("--page", type=_FILE, help="A file with the words of its page.")
@because
@acting_as
@asynchronous
async def edit_model(
    model: str, *, facts: Path | None, page: Path | None, reason: str, acting: str | None
) -> None:
    """Replace a model's facts or page; later data files no longer override what differs."""
    async with opened() as database, database.write() as connection:
        found = await model_control.edit(
            connection,
            await operator_of(connection, acting),
            model,
            card=_text(facts),
            page=_text(page),
            reason=reason,
        )
    say(f"{model} is saved; {len(found)} fields differ from the files: see gateway models diff.")


@click.command(
    "add",
    epilog="Example: gateway models add MODEL --facts facts.toml --page page.toml --price 0.01",
)
@click.argument("model")
@click.option("--facts", type=_FILE, required=True, help="A file with its facts.")
@click.option("--page", type=_FILE, required=True, help="A file with the words of its page.")
@click.option("--price", required=True, help="Estimated dollars per million tokens.")
@click.option("--flex-price", help="The price in the flex tier; default: half.")
@because
@acting_as
@asynchronous
async def add_model(
    model: str,
    *,
    facts: Path,
    page: Path,
    price: str,
    flex_price: str | None,
    reason: str,
    acting: str | None,
) -> None:
    """Add a model that is coming soon."""
    nanos = credit.nanos_of_dollars(price)
    flex = nanos // 2 if flex_price is None else credit.nanos_of_dollars(flex_price)
    async with opened() as database, database.write() as connection:
        await model_control.add(
            connection,
            await operator_of(connection, acting),
            model,
            card=_text(facts),
            page=_text(page),
            nanos=nanos,
            flex_nanos=flex,
            reason=reason,
        )
    say(f"{model} is coming soon, at an estimated {money(nanos)} / 1M tokens.")


@click.command("diff", epilog="Example: gateway models diff MODEL")
@click.argument("model", default="")
@as_json
@asynchronous
async def show_differences(model: str, *, as_json: bool) -> None:
    """Show what operators changed, next to what the data files say."""
    async with opened() as database, database.read() as connection:
        found = await model_control.differences(connection, model)
    show(found, as_json=as_json, title="differences")


@click.command(
    "state", epilog='Example: gateway models state MODEL retired --reason "nobody calls it"'
)
@click.argument("model")
@click.argument("state", type=click.Choice(list(_STATES)))
@because
@acting_as
@asynchronous
async def set_state(model: str, state: str, *, reason: str, acting: str | None) -> None:
    """Retire a model, or bring a retired one back. `models launch` makes one live."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        await model_control.set_state(connection, operator, model, _STATES[state], reason=reason)
    say(f"{model} is {state}.")


@click.command("price-effect", epilog="Example: gateway models price-effect MODEL 0.01")
@click.argument("model")
@click.argument("dollars")
@click.option("--flex", is_flag=True, help="Of the flex tier.")
@as_json
@asynchronous
async def show_effect(model: str, dollars: str, *, flex: bool, as_json: bool) -> None:
    """Show whom a price would affect, and the most they would pay."""
    nanos = credit.nanos_of_dollars(dollars)
    tier = _TIERS["flex" if flex else "default"]
    async with opened() as database, database.read() as connection:
        found = await price_control.effect(connection, model, tier, nanos)
    if as_json:
        show(found, as_json=True)
        return
    say(
        f"{found.organizations} organizations paid {money(found.charged_nanos)} in "
        f"{price_control.DAYS} days, and would pay {money(found.new_nanos)} at most."
    )
    show(found.some, as_json=False, title="organizations")


@click.command(
    "cancel-price", epilog='Example: gateway models cancel-price CHANGE_ID --reason "too early"'
)
@click.argument("change")
@because
@acting_as
@asynchronous
async def cancel_price(change: str, *, reason: str, acting: str | None) -> None:
    """Cancel a price that does not apply yet."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        gone = await price_control.cancel(connection, operator, change, reason=reason)
    say(f"Canceled: {gone.model_id} will not cost {money(gone.nanos_per_million_tokens)}.")


def _text(file: Path | None) -> str:
    return file.read_text() if file else ""
