"""Prices as operators set them: now or from a day on, and who pays how much then."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.back_office import acting
from gateway.control_plane.catalog import catalog, edits, golden, price_changes
from gateway.control_plane.catalog.price_changes import PriceChange
from gateway.control_plane.demand.launches import ModelUnknown
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail import entries
from gateway.dates import day_text
from gateway.errors import BadRequest, NotFound
from gateway.money import money
from gateway.snapshots import Tier
from gateway.storage.tables import models, organizations, total, usage_days

DAYS = 30
"""The days of usage that tell who is affected."""
AHEAD = timedelta(days=366)
"""How far ahead a price may be set."""
SHOWN_MAX = 20
"""Most affected organizations that are named."""


class BadPrice(BadRequest):
    """The price can't apply then, or not beside the other tier's."""

    code = "bad_price"


class ChangeUnknown(NotFound):
    """There is no such change, or it applied or was called off."""

    code = "price_change_not_found"


class Affected(msgspec.Struct, frozen=True, kw_only=True):
    """An organization that used a model lately, and what that would have cost."""

    organization_id: str
    name: str
    tokens: int
    charged_nanos: int
    new_nanos: int


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What a price changes for those who used the model in the last DAYS.

    Sums of usage don't tell tiers apart, so this is the most that it changes: as if all of it had
    been in the tier.
    """

    before_nanos: int
    """The price per million tokens just before it."""
    nanos: int
    """The new one."""
    organizations: int
    tokens: int
    charged_nanos: int
    new_nanos: int
    some: list[Affected]

    def least_days(self, notice_days: int) -> int:
        """Return how many days ahead it must be set: a rise that someone pays needs notice."""
        return notice_days if self.nanos > self.before_nanos and self.organizations else 0


async def effect(
    connection: AsyncConnection,
    model_id: str,
    tier: Tier,
    nanos: int,
    at: datetime | None = None,
) -> Effect:
    """Return what a price per million tokens changes now or at a moment, and for whom.

    Raises ModelUnknown.
    """
    before = await price_changes.in_force(connection, model_id, tier, at)
    if before is None:
        raise ModelUnknown(f"The catalog has no model {model_id!r}.")
    since = wall.now().date() - timedelta(days=DAYS)
    used = (
        select(
            usage_days.c.organization_id,
            total(usage_days.c.tokens).label("tokens"),
            total(usage_days.c.charged_nanos).label("charged_nanos"),
        )
        .where(usage_days.c.model_id == model_id, usage_days.c.day > since)
        .group_by(usage_days.c.organization_id)
        .subquery()
    )
    sums = (
        await connection.execute(
            select(
                func.count().label("organizations"),
                total(used.c.tokens).label("tokens"),
                total(used.c.charged_nanos).label("charged_nanos"),
            ).select_from(used)
        )
    ).one()
    some = await connection.execute(
        select(used, organizations.c.name)
        .join(organizations, organizations.c.id == used.c.organization_id)
        .order_by(used.c.charged_nanos.desc(), used.c.organization_id)
        .limit(SHOWN_MAX)
    )

    def anew(charged_nanos: int) -> int:
        return charged_nanos * nanos // before if before else 0

    return Effect(
        before_nanos=before,
        nanos=nanos,
        organizations=sums.organizations,
        tokens=sums.tokens,
        charged_nanos=sums.charged_nanos,
        new_nanos=anew(sums.charged_nanos),
        some=[Affected(**row, new_nanos=anew(row["charged_nanos"])) for row in some.mappings()],
    )


async def set_price(
    connection: AsyncConnection,
    operator: Operator,
    model_id: str,
    nanos: int,
    *,
    tier: Tier = "default",
    effective_at: datetime | None = None,
    notice_days: int,
    reason: str,
) -> str | None:
    """Set a price per million tokens, now or from a moment on; return the change's id, if later.

    A rise needs notice while someone uses the model: over the price that is in force by then, so
    that no drop before it hides it. Raises NotPermitted, NoReasonGiven, ModelUnknown, BadPrice.
    """
    operator.must("service")
    said = acting.checked(operator, reason)
    await golden.lock_catalog(connection)
    now = wall.now()
    at = max(effective_at or now, now)
    changes = await effect(connection, model_id, tier, nanos, at)
    if at > now + AHEAD:
        raise BadPrice("A price can be set for up to a year ahead.", param="day")
    days = changes.least_days(notice_days)
    if days and at < now + timedelta(days=days):
        count = changes.organizations
        who = "1 organization" if count == 1 else f"{count:,} organizations"
        raise BadPrice(
            f"{who} used it in the last {DAYS} days: an increase needs {days} days' notice.",
            param="day",
        )
    await _check_tiers(connection, model_id, tier, nanos, at)
    await _check_following(connection, model_id, tier, at, changes.before_nanos, nanos)
    before = {"tier": tier, "price_nanos": changes.before_nanos}
    after: dict[str, Any] = {"tier": tier, "price_nanos": nanos}
    subject, change_id = f"model:{model_id}", None
    if at > now:
        change_id = await price_changes.schedule(
            connection,
            model_id,
            nanos,
            tier=tier,
            effective_at=at,
            is_rise=nanos > changes.before_nanos,
        )
        after |= {"effective_at": at.isoformat(timespec="seconds"), "change_id": change_id}
    else:
        after["price_id"] = await catalog.set_price(connection, model_id, nanos, tier=tier)
        await edits.own_price(connection, model_id)
    action = "price.scheduled" if change_id else "price.set"
    await entries.record(
        connection, operator.actor, action, subject, before=before, after=after, reason=said
    )
    return change_id


async def cancel(
    connection: AsyncConnection, operator: Operator, change_id: str, *, reason: str
) -> PriceChange:
    """Cancel a price that does not apply yet.

    Raises NotPermitted, NoReasonGiven, ChangeUnknown, BadPrice.
    """
    operator.must("service")
    said = acting.checked(operator, reason)
    change = await price_changes.cancel(connection, change_id)
    if change is None:
        raise ChangeUnknown(f"There is no scheduled price {change_id[:40]!r}.")
    model_id, tier, at = change.model_id, change.tier, change.effective_at
    before = await price_changes.in_force(connection, model_id, tier, at)
    assert before is not None, "a model with a change has a price"
    await _check_following(connection, model_id, tier, at, change.nanos_per_million_tokens, before)
    await entries.record(
        connection,
        operator.actor,
        "price.canceled",
        f"model:{change.model_id}",
        before={
            "tier": change.tier,
            "price_nanos": change.nanos_per_million_tokens,
            "effective_at": change.effective_at.isoformat(timespec="seconds"),
            "change_id": change.id,
        },
        reason=said,
    )
    return change


async def _check_following(
    connection: AsyncConnection, model_id: str, tier: Tier, at: datetime, was: int, becomes: int
) -> None:
    """Refuse what would turn the next price into an increase without notice. Raises BadPrice.

    `was` and `becomes` are the price that it follows.
    """
    coming = await price_changes.waiting(connection, model_id)
    later = [change for change in coming if change.tier == tier and change.effective_at > at]
    if not later:
        return
    following = later[0].nanos_per_million_tokens
    if was >= following > becomes:
        raise BadPrice(
            f"{money(following)} from {day_text(later[0].effective_at)} on would then be an "
            "increase. Cancel that price first.",
            param="day",
        )


async def _check_tiers(
    connection: AsyncConnection, model_id: str, tier: Tier, nanos: int, at: datetime
) -> None:
    """Refuse a flex price over the default price, at that moment or later. Raises BadPrice."""
    state = await connection.scalar(select(models.c.state).where(models.c.id == model_id))
    other: Tier = "flex" if tier == "default" else "default"
    newest = await catalog.newest_price(connection, model_id, other)
    if newest is None or state is None:
        return
    coming = [c for c in await price_changes.waiting(connection, model_id) if c.tier == other]
    in_force = [c for c in coming if c.effective_at <= at]
    first = in_force[-1].nanos_per_million_tokens if in_force else newest.nanos_per_million_tokens
    later = [c.nanos_per_million_tokens for c in coming if c.effective_at > at]
    for beside in (first, *later):
        default, flex = (nanos, beside) if tier == "default" else (beside, nanos)
        if flex > default:
            raise BadPrice(
                f"Flex can't cost more than the default tier: {money(flex)} is over "
                f"{money(default)}.",
                param="price",
            )
