"""Launches: a model goes live, at prices that apply from that moment.

One short transaction writes the price of each tier, the state and the launch; gateways see the new
state within seconds. `launch_mails` then tells everyone who asked for the model.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.catalog import catalog, golden
from gateway.control_plane.catalog.cards import ModelCard
from gateway.errors import BadRequest, NotFound
from gateway.money import money
from gateway.storage.tables import launches, models


class ModelUnknown(NotFound):
    """No such model in the catalog."""

    code = "model_not_found"


class CannotLaunch(BadRequest):
    """The model is not ready to go live, or is live already."""

    code = "cannot_launch"


class LaunchPrices(msgspec.Struct, frozen=True, kw_only=True):
    """Prices per million tokens from the launch on."""

    default_nanos: int
    flex_nanos: int


async def launch(
    connection: AsyncConnection,
    model_id: str,
    *,
    ready: Collection[str],
    nanos_per_million_tokens: int | None = None,
    flex_nanos_per_million_tokens: int | None = None,
) -> LaunchPrices:
    """Make a model live, and return its prices. Raises ModelUnknown or CannotLaunch.

    The default price is the estimate; flex defaults to the estimate's proportion. `ready` are the
    revisions that ready workers serve: one must have golden vectors, without which its workers
    could not be told from those of another model.
    """
    await golden.lock_catalog(connection)
    query = select(models.c.state, models.c.card).where(models.c.id == model_id)
    row = (await connection.execute(query.with_for_update())).one_or_none()
    if row is None:
        raise ModelUnknown(f"The catalog has no model {model_id!r}.")
    state = row.state
    if state != "coming_soon":
        raise CannotLaunch(f"{model_id} is already {state}.")
    if not msgspec.json.decode(row.card, type=ModelCard).vocabulary_sha256:
        raise CannotLaunch(
            f"The tokens of {model_id} can't be counted: its facts name no vocabulary_sha256. Add "
            f"it with `gateway models edit {model_id} --facts FILE`."
        )
    if not ready:
        raise CannotLaunch(f"{model_id} has no ready worker: see `gateway workers list`.")
    pinned = await golden.revisions(connection, model_id)
    if pinned.isdisjoint(ready):
        raise CannotLaunch(
            f"Revision {min(ready)} of {model_id} has no golden vectors. If you trust its worker, "
            f"run `gateway workers pin {model_id} URL`."
        )
    prices = await prices_of(
        connection, model_id, nanos_per_million_tokens, flex_nanos_per_million_tokens
    )
    price_id = await catalog.set_price(connection, model_id, prices.default_nanos)
    await catalog.set_price(connection, model_id, prices.flex_nanos, tier="flex")
    await connection.execute(update(models).where(models.c.id == model_id).values(state="live"))
    await connection.execute(
        insert(launches).values(model_id=model_id, price_id=price_id, launched_at=wall.now())
    )
    return prices


async def prices_of(
    connection: AsyncConnection, model_id: str, default: int | None, flex: int | None
) -> LaunchPrices:
    """Return the prices of a launch, the missing ones from the estimate. Raises CannotLaunch."""
    estimate = await catalog.newest_price(connection, model_id, "default")
    flex_estimate = await catalog.newest_price(connection, model_id, "flex")
    assert estimate is not None, "every model of the catalog has a price"
    per_million = estimate.nanos_per_million_tokens
    if default is None:
        default = per_million
    if flex is None and flex_estimate is not None and per_million:
        flex = default * flex_estimate.nanos_per_million_tokens // per_million
    elif flex is None:
        flex = default // 2
    if flex > default:
        raise CannotLaunch(
            f"The flex tier can't cost more than the default tier: {money(flex)} is over "
            f"{money(default)}."
        )
    return LaunchPrices(default_nanos=default, flex_nanos=flex)
