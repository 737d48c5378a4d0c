"""Auto top-up: an organization's settings, and whether its card gets another attempt.

When credit falls below the threshold, the saved card is charged; see `attempts`. After a decline
the card rests for an hour. After three in a row, or one that says that the card will never work,
the breaker opens for that card: only another card, or a payment with this one, closes it. If a bank
wants to ask the cardholder, auto top-up pauses until someone pays in the console or resumes it.

Money that went back stops it too; see `top_up_stops`.

What opens the breaker is derived from the rows of payments each time (`reassess`), so that no crash
between two writes can lose a decline, and no change of cards and back can forget one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.payments.declines import AUTHENTICATION
from gateway.control_plane.payments.payments import CENT_NANOS, Payment, of_row
from gateway.control_plane.payments.top_up_stops import Stopped, stopped
from gateway.errors import BadRequest
from gateway.storage.database import insert_into
from gateway.storage.tables import auto_top_ups, payment_customers, payments

Paused = Literal["", "authentication", "declined"]
"""What attempts say about the saved card."""

AMOUNT_CENTS_MIN = 500
"""Least that is bought at once: below it, the card's fees eat the payment."""
AMOUNT_CENTS_MAX = 500_000
"""Most that is bought at once without a person."""
MONTH_CENTS_MAX = 5_000_000
"""Most that may be allowed for a calendar month."""
THRESHOLD_NANOS_MAX = AMOUNT_CENTS_MAX * CENT_NANOS
"""Highest balance below which credit is bought."""
DECLINES_MAX = 3
"""Declined attempts in a row with one card, after which it is not charged again."""
BACK_OFF = timedelta(hours=1)
"""Least time between a failed attempt and the next one with the same card; see `judge`."""
LONGEST_BACK_OFF = timedelta(days=1)
"""Longest wait when it is not the card that fails: it doubles each time."""

NO_DECLINE = ("not_charged", "refused")
"""Failures of ours or of Stripe's, which say nothing about the card."""
HOPELESS = (
    "fraudulent",
    "lost_card",
    "merchant_blacklist",
    "pickup_card",
    "restricted_card",
    "revocation_of_all_authorizations",
    "revocation_of_authorization",
    "security_violation",
    "stolen_card",
    "stop_payment_order",
)
"""Declines that no later attempt can change: one of them opens the breaker."""

_CENTS_PER_DOLLAR = 100
_REMEMBERED_MAX = 20


class AutoTopUp(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an organization, and why nothing happens although they are enabled."""

    organization_id: str
    enabled: bool
    threshold_nanos: int
    amount_cents: int
    month_cents_max: int
    paused: Stopped
    declines: int
    """Declined attempts in a row with the card of the last one."""
    not_before: datetime | None
    """When the next attempt may start; None for at once."""
    changed_at: datetime


class TopUpRules(msgspec.Struct, frozen=True, kw_only=True):
    """What an owner chooses: below this balance, buy this much, at most that much a month.

    Amounts are without tax.
    """

    enabled: bool
    threshold_nanos: int
    amount_cents: int
    month_cents_max: int


class Standing(NamedTuple):
    """What the newest attempts say about one card."""

    paused: Paused
    declines: int
    not_before: datetime | None


async def read(connection: AsyncConnection, organization_id: str) -> AutoTopUp | None:
    """Return an organization's settings; None if it never set any."""
    columns = [auto_top_ups.c[name] for name in AutoTopUp.__struct_fields__ if name != "paused"]
    query = select(*columns, stopped().label("paused")).where(
        auto_top_ups.c.organization_id == organization_id
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else AutoTopUp(**{**row, "enabled": bool(row["enabled"])})


async def save(
    connection: AsyncConnection,
    organization_id: str,
    wanted: TopUpRules,
    *,
    user_id: str | None,
    now: datetime,
) -> None:
    """Store an organization's settings. Raises BadRequest for one out of bounds.

    Whoever saves has decided to go on, so a pause for authentication or for money that went back
    ends. The breaker, the rest of a declined card, and the stop for a disputed card stay.
    """
    check(wanted)
    before = await _locked(connection, organization_id)
    values: dict[str, Any] = {
        **msgspec.structs.asdict(wanted),
        "changed_by": user_id,
        "changed_at": now,
    }
    if before is None:
        statement = insert_into(connection, auto_top_ups).values(
            organization_id=organization_id, paused="", declines=0, declined_card="", **values
        )
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["organization_id"], set_=values)
        )
        return
    if before.paused == "authentication":
        values["paused"] = ""
    # a wait for a limit ends, since the limit may have changed; the rest of a declined card stays
    card = await standing(connection, organization_id, await _saved(connection, organization_id))
    values["not_before"] = card.not_before
    await connection.execute(
        update(auto_top_ups)
        .where(auto_top_ups.c.organization_id == organization_id)
        .values(**values)
    )


def check(wanted: TopUpRules) -> None:
    """Check settings against the bounds. Raises BadRequest, which names the field."""
    amount = wanted.amount_cents
    if not AMOUNT_CENTS_MIN <= amount <= AMOUNT_CENTS_MAX or amount % _CENTS_PER_DOLLAR:
        raise BadRequest(
            f"The amount must be whole dollars, {_dollars(AMOUNT_CENTS_MIN)} to "
            f"{_dollars(AMOUNT_CENTS_MAX)}.",
            param="amount",
        )
    if not 0 < wanted.threshold_nanos <= THRESHOLD_NANOS_MAX:
        raise BadRequest(
            f"The balance to top up at must be above $0, and at most {_dollars(AMOUNT_CENTS_MAX)}.",
            param="threshold",
        )
    if not amount <= wanted.month_cents_max <= MONTH_CENTS_MAX:
        raise BadRequest(
            f"The limit for a month must be at least the amount, {_dollars(amount)}, and at most "
            f"{_dollars(MONTH_CENTS_MAX)}.",
            param="month",
        )


async def reassess(connection: AsyncConnection, organization_id: str) -> None:
    """Decide anew whether an organization's saved card gets another attempt, and store that.

    Called in every transaction in which an attempt ends, another card is saved, or a payment with
    one succeeds.
    """
    await _locked(connection, organization_id)
    fingerprint = await _saved(connection, organization_id)
    card = await standing(connection, organization_id, fingerprint)
    await connection.execute(
        update(auto_top_ups)
        .where(auto_top_ups.c.organization_id == organization_id)
        .values(
            paused=card.paused,
            declines=card.declines,
            declined_card=fingerprint if card.declines else "",
            not_before=card.not_before,
        )
    )


async def standing(connection: AsyncConnection, organization_id: str, fingerprint: str) -> Standing:
    """Return what an organization's payments with a card say about it."""
    is_attempt = (payments.c.origin == "auto") & payments.c.state.in_(("paid", "failed"))
    found = await connection.execute(
        select(payments.c.state, payments.c.failure_code, payments.c.changed_at)
        .where(
            payments.c.organization_id == organization_id,
            payments.c.card_fingerprint == fingerprint,
            is_attempt | (payments.c.state == "paid"),
        )
        # not by the id, which a buyer's form may have chosen
        .order_by(payments.c.created_at.desc(), payments.c.id.desc())
        .limit(_REMEMBERED_MAX)
    )
    return judge(found.all())


async def switch_off(connection: AsyncConnection, organization_id: str, now: datetime) -> bool:
    """Stop an organization's auto top-up, for operators; return whether it was on."""
    done = await connection.execute(
        update(auto_top_ups)
        .where(auto_top_ups.c.organization_id == organization_id, auto_top_ups.c.enabled.is_(True))
        .values(enabled=False, changed_by=None, changed_at=now)
    )
    return done.rowcount == 1


async def attempts(connection: AsyncConnection, organization_id: str, limit: int) -> list[Payment]:
    """Return an organization's attempts, the newest first."""
    query = (
        select(payments)
        .where(payments.c.organization_id == organization_id, payments.c.origin == "auto")
        .order_by(payments.c.id.desc())
        .limit(limit)
    )
    return [of_row(row) for row in await connection.execute(query)]


def judge(newest: Sequence[Row[Any, Any, Any]]) -> Standing:
    """Return what payments with one card say, newest first: (state, failure_code, changed_at)."""
    declines, misses, hopeless = 0, 0, False
    for payment in newest:
        if payment.state == "paid":
            break
        if payment.failure_code in NO_DECLINE:
            misses += 1
        elif payment.failure_code != AUTHENTICATION:
            declines += 1
            hopeless = hopeless or payment.failure_code in HOPELESS
    last = newest[0] if newest else None
    if last is None or last.state == "paid":
        return Standing("", 0, None)
    if declines >= DECLINES_MAX or hopeless:
        return Standing("declined", declines, None)
    if last.failure_code == AUTHENTICATION:
        return Standing("authentication", declines, None)
    wait = min(BACK_OFF * 2 ** max(misses - 1, 0), LONGEST_BACK_OFF)
    return Standing("", declines, last.changed_at + wait)


async def _saved(connection: AsyncConnection, organization_id: str) -> str:
    """Return the fingerprint of the saved card; empty if there is none."""
    saved = payment_customers.c
    query = select(saved.card_fingerprint).where(saved.organization_id == organization_id)
    return await connection.scalar(query) or ""


async def _locked(connection: AsyncConnection, organization_id: str) -> Row[Any] | None:
    query = select(auto_top_ups).where(auto_top_ups.c.organization_id == organization_id)
    return (await connection.execute(query.with_for_update())).one_or_none()


def _dollars(cents: int) -> str:
    return f"${cents // _CENTS_PER_DOLLAR:,}"
