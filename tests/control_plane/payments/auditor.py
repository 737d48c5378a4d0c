"""What people do beside payments, and what the auditor asks after every step."""

import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.billing import credit
from gateway.control_plane.payments import auto_top_up, customers
from gateway.control_plane.payments.auto_top_up import TopUpRules
from gateway.control_plane.payments.payments import CENT_NANOS
from gateway.data_plane.metering.port import (
    AccountDisputed,
    AccountOwing,
    AccountSuspended,
    AccountUnderReview,
    CreditUnavailable,
    InsufficientCredit,
)
from gateway.fake_stripe import intents
from gateway.fake_stripe.cards import GOOD
from gateway.fake_stripe.customers import add_method
from gateway.storage.ledger import freezes, grants
from gateway.storage.ledger.grants import LotHasLess
from gateway.storage.ledger.upkeep import reap
from gateway.storage.tables import credit_lots, payments, usage_events
from testing.auditing import purchases, what_is_missing, what_is_wrong
from testing.gateways import PRICE_NANOS
from tests.control_plane.payments.machine import World

_TOKENS_MAX = 2_000_000_000
_THRESHOLD_CENTS = 40_000
"""Above most balances, so that auto top-up has something to do."""

FROZEN = {
    "owing": AccountOwing,
    "dispute": AccountDisputed,
    "operator": AccountSuspended,
    "books": AccountUnderReview,
}


class Auditor:
    """The operators and users of one organization, and a plain count of its credit."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.organization_id = world.money.organization_id
        self.granted_nanos = self.taken_nanos = 0
        self.audited = -1
        self.owing = 0

    # --- what people do

    def pay_unknown(self, payment_id: str, organization_id: str, cents: int) -> None:
        """Let Stripe receive a payment that is ours by its metadata and has no row."""
        stripe = self.world.stripe
        named = {
            "payment_id": payment_id,
            "organization_id": organization_id,
            "credit_cents": str(cents),
        }
        intent = intents.new(stripe, cents, None, {"metadata": named})
        intents.charge(stripe, intent, add_method(stripe, GOOD), is_present=True)

    def set_auto_top_up(self, cents: int, *, enabled: bool) -> None:
        wanted = TopUpRules(
            enabled=enabled, threshold_nanos=_THRESHOLD_CENTS * CENT_NANOS, amount_cents=cents,
            month_cents_max=10 * cents,
        )  # fmt: skip
        self._write(
            lambda connection: auto_top_up.save(
                connection, self.organization_id, wanted, user_id=None, now=self.world.now
            )
        )

    def grant(self, cents: int) -> None:
        self.world.run(self.world.money.grant(cents * CENT_NANOS, kind="promo"))
        self.granted_nanos += cents * CENT_NANOS

    def take(self, share: int) -> None:
        """Take a part of what is left of the first lot that was granted."""
        left = [
            lot
            for lot in self._read(_lots, self.organization_id)
            if lot.remaining_nanos and not lot.source_ref.startswith("payment:")
        ]
        if left:
            nanos = max(1, left[0].remaining_nanos // share)
            with contextlib.suppress(LotHasLess):  # some of it is spent, and not posted yet
                self._write(
                    lambda connection: grants.take(
                        connection, self.organization_id, left[0].id, nanos, reason="a test"
                    )
                )
                self.taken_nanos += nanos

    def freeze(self, *, on: bool) -> None:
        async def act(connection: AsyncConnection) -> None:
            if on:
                await freezes.freeze(connection, self.organization_id, "operator", reason="a test")
            else:
                await freezes.lift(connection, self.organization_id, "operator")

        self._write(act)

    def release(self) -> None:
        """Let an organization buy again that a card network's warning holds."""
        self._write(
            lambda connection: customers.release(connection, self.organization_id, self.world.now)
        )

    def reap(self) -> None:
        """Close the leases of dead processes."""
        later = datetime.now(UTC) + timedelta(hours=1)
        self.world.run(reap(self.world.database, at=later))

    def spend(self, share: int) -> None:
        """Send a request that costs a share of what there is, or more than that with share 0.

        It is served exactly if the account is not frozen and can pay.
        """
        spender = self.world.spender
        self.world.writes += 1
        spender.beat()
        before = self.balance()
        can_pay = before.available_nanos - before.reserved_nanos + spender.free_nanos
        tokens = can_pay // PRICE_NANOS // share if share else can_pay // PRICE_NANOS + 1
        charge = self.world.money.charge(max(1, min(tokens, _TOKENS_MAX)) * PRICE_NANOS)
        error = spender.spend(charge)
        if before.frozen:
            assert isinstance(error, FROZEN[before.frozen_by[0]]), (before, error)
        elif can_pay >= charge.cost_nanos:
            assert error is None, (before, error)
        else:
            assert isinstance(error, InsufficientCredit | CreditUnavailable), (before, error)

    # --- what is asked

    def check(self) -> None:
        """Ask for what must be true however little we have heard.

        Stripe alone can't break it: what was received stays so, whatever goes back.
        """
        if self.audited == self.world.writes:
            return
        self.audited = self.world.writes
        wrong = self._read(what_is_wrong, self.world.stripe)
        assert not wrong, wrong
        posted = sum(row.posted_nanos for row in self.payments())
        used = sum(self._read(_charged))
        balance = self.balance()
        left = balance.available_nanos - balance.owed_nanos
        owned = posted + self.granted_nanos - self.taken_nanos - used
        assert left == owned, f"{left} left, not {owned}"
        self.owing += balance.owed_nanos > 0
        assert not (balance.owed_nanos and balance.available_nanos), "it owes what it could pay"

    def beat(self) -> None:
        """Let heartbeats pass, and ask that nothing of a frozen account is held for use."""
        self.world.writes += 1
        self.world.spender.beat()
        if self.balance().frozen:
            free = self.world.spender.free_nanos
            assert free == 0, f"{free} held of a frozen account"

    def check_heard(self) -> None:
        """Ask that all money that came in is known, whatever became of it since."""
        known = {row.id: row.received_cents for row in self.payments()}
        missing = {
            purchase.payment_id: purchase.received_cents
            for purchase in purchases(self.world.stripe)
            if purchase.organization_id == self.organization_id
            and known.get(purchase.payment_id) != purchase.received_cents
        }
        assert not missing, f"received, and not heard of after a sweep: {missing}"

    def check_exact(self) -> None:
        """Ask that all is as Stripe says."""
        missing = self._read(what_is_missing, self.world.stripe, self.organization_id)
        assert not missing, missing

    def payments(self) -> list[Row[Any]]:
        return self._read(_payments)

    def balance(self) -> credit.Balance:
        found: credit.Balance = self.world.runner.run(self.world.money.balance())
        return found

    def _read(self, read: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        async def work() -> Any:
            async with self.world.database.read() as connection:
                return await read(connection, *args)

        return self.world.runner.run(work())

    def _write(self, write: Callable[[AsyncConnection], Awaitable[Any]]) -> None:
        async def work() -> None:
            async with self.world.database.write() as connection:
                await write(connection)

        self.world.run(work())


async def _payments(connection: AsyncConnection) -> list[Row[Any]]:
    return list((await connection.execute(select(payments).order_by(payments.c.id))).all())


async def _lots(connection: AsyncConnection, organization_id: str) -> list[Row[Any]]:
    query = select(credit_lots).where(credit_lots.c.organization_id == organization_id)
    return list((await connection.execute(query.order_by(credit_lots.c.id))).all())


async def _charged(connection: AsyncConnection) -> list[int]:
    return list((await connection.scalars(select(usage_events.c.charged_nanos))).all())
