"""What an account has crossed: pure rules, and the row that remembers what was told.

- An organization's level is 0, LOW or EMPTY; a budget's is the percentage that is spent, in STEPS.
- Only the highest of several levels crossed at once is told.
- A level is left only when the balance is clearly above it again (REARM_PERCENT, REARM_NANOS), so
  that one that swings around it is told once. A budget's spending never falls by itself: there,
  raising the limit leaves what is no longer crossed.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import insert_into
from gateway.storage.tables import alert_levels

LOW, EMPTY = 1, 2
STEPS = (50, 80, 95, 100)
LOW_DAYS = 7
"""Below so many days of use at the present rate a balance is low, unless a limit is set."""
REARM_PERCENT = 10
"""How far above the threshold a balance must rise, in percent of it, to leave a level."""
EMPTY_NANOS = 100_000
"""What counts as nothing: a balance is never spent to the last nano-dollar, since each request must
be covered as a whole. It would pay for some thousand tokens."""
REARM_NANOS = 10 * EMPTY_NANOS
"""From here on a balance is no longer empty; any payment reaches it."""


def balance_level(before: int, available_nanos: int, threshold_nanos: int) -> int:
    """Return an organization's level, given the one before."""
    margin = threshold_nanos * REARM_PERCENT // 100
    now = _crossed(available_nanos, threshold_nanos)
    if now >= before:
        return now
    # on the way up: each level holds until the balance is a margin above it
    if before == EMPTY and available_nanos < REARM_NANOS:
        return EMPTY
    return max(now, LOW if available_nanos < threshold_nanos + margin else 0)


def budget_level(spent_nanos: int, limit_nanos: int) -> int:
    """Return the highest step that a budget has reached, 0 for none."""
    if limit_nanos - spent_nanos <= min(EMPTY_NANOS, limit_nanos // 1_000):
        return STEPS[-1]
    reached = [step for step in STEPS[:-1] if spent_nanos * 100 >= step * limit_nanos]
    return max(reached, default=0)


async def add(connection: AsyncConnection, account_id: str) -> None:
    """Remember that an account has crossed nothing, unless it has a row."""
    await connection.execute(
        insert_into(connection, alert_levels)
        .values(account_id=account_id, level=0, told=0, watched=False)
        .on_conflict_do_nothing()
    )


async def watch(connection: AsyncConnection, account_ids: Collection[str]) -> None:
    """Have accounts looked at in the next walk, even if nothing happens to them."""
    if not account_ids:
        return
    rows = [
        {"account_id": account_id, "level": 0, "told": 0, "watched": True}
        for account_id in sorted(account_ids)
    ]
    await connection.execute(
        insert_into(connection, alert_levels).on_conflict_do_update(
            index_elements=["account_id"], set_={"watched": True}
        ),
        rows,
    )


async def unwatch(connection: AsyncConnection, account_ids: Collection[str]) -> None:
    """Have accounts looked at only when something happens to them again."""
    if account_ids:
        chosen = alert_levels.c.account_id.in_(account_ids)
        await connection.execute(update(alert_levels).where(chosen).values(watched=False))


def _crossed(available_nanos: int, threshold_nanos: int) -> int:
    if available_nanos < EMPTY_NANOS:
        return EMPTY
    return LOW if available_nanos < threshold_nanos else 0
