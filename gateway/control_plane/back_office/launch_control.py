"""Launches as operators run them: go live, hold back the emails, resume them."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office import acting
from gateway.control_plane.demand import launch_progress, launches, pauses
from gateway.control_plane.demand.launches import LaunchPrices
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail import entries


async def launch(
    connection: AsyncConnection,
    operator: Operator,
    model_id: str,
    *,
    nanos_per_million_tokens: int | None = None,
    flex_nanos_per_million_tokens: int | None = None,
    reason: str,
) -> LaunchPrices:
    """Make a model live. Raises NotPermitted, NoReasonGiven, ModelUnknown or CannotLaunch.

    A second call finds the model live and changes nothing.
    """
    operator.must("service")
    said = acting.checked(operator, reason)
    prices = await launches.launch(
        connection,
        model_id,
        ready=await launch_progress.ready_revisions(connection, model_id),
        nanos_per_million_tokens=nanos_per_million_tokens,
        flex_nanos_per_million_tokens=flex_nanos_per_million_tokens,
    )
    await entries.record(
        connection,
        operator.actor,
        "model.launched",
        f"model:{model_id}",
        before={"state": "coming_soon"},
        after={
            "state": "live",
            "price_nanos": prices.default_nanos,
            "flex_price_nanos": prices.flex_nanos,
        },
        reason=said,
    )
    return prices


async def pause(
    connection: AsyncConnection, operator: Operator, model_id: str, *, reason: str
) -> int | None:
    """Hold a launch's mails and notices back; return how many mails had not left.

    None: it was paused already. Raises NotPermitted, NoReasonGiven, LaunchUnknown.
    """
    operator.must("service")
    said = acting.checked(operator, reason)
    held = await pauses.pause(connection, model_id)
    if held is not None:
        await entries.record(
            connection,
            operator.actor,
            "launch.paused",
            f"model:{model_id}",
            after={"mails_held": held},
            reason=said,
        )
    return held


async def resume(
    connection: AsyncConnection, operator: Operator, model_id: str, *, reason: str
) -> bool:
    """Let a launch go on; return whether it was paused.

    Raises NotPermitted, NoReasonGiven, LaunchUnknown, CannotResume.
    """
    operator.must("service")
    said = acting.checked(operator, reason)
    went_on = await pauses.resume(connection, model_id)
    if went_on:
        await entries.record(
            connection, operator.actor, "launch.resumed", f"model:{model_id}", reason=said
        )
    return went_on
