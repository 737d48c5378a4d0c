"""`gateway billing`: payments through Stripe, for operators."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import rich_click as click

from gateway.app.payments import Payments, make_payments
from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.lazy import Later, LazyGroup
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.accounts import organizations
from gateway.control_plane.back_office.payments import StripeUnread, read_payment, start_payment
from gateway.control_plane.payments import payments
from gateway.control_plane.payments.payments import CENT_NANOS, Payment
from gateway.control_plane.payments.stripe_failures import StripeFailure
from gateway.money import money
from gateway.settings import Settings, SettingsError
from gateway.storage.database import Database

_COLUMNS = ["id", "origin", "state", "credit_nanos", "posted_nanos", "created_at", "attention"]
_CENTS = 100


@click.group("billing", cls=LazyGroup)
def billing_group() -> None:
    """Payments through Stripe."""


for _command in (
    Later(
        "refund",
        "payment_care:refund",
        "Refund a payment, or DOLLARS of it, tax included; its credit is withdrawn in proportion.",
    ),
    Later(
        "release",
        "payment_care:release",
        "Allow an organization to buy again after an early fraud warning put it on hold.",
    ),
    Later(
        "attention",
        "payment_care:show_attention",
        "Show what needs an operator: held customers, odd payments, open disputes.",
    ),
    Later(
        "seen",
        "payment_care:mark_seen",
        "Take a payment off the list of what needs an operator, unless something else is odd "
        "later.",
    ),
    Later(
        "abandon",
        "payment_care:abandon",
        "Give up a payment that Stripe no longer shows, and lift the freeze of its dispute.",
    ),
    Later(
        "evidence",
        "payment_care:show_evidence",
        "Print evidence about a payment for a bank, as JSON: receipt, usage, sign-ins.",
    ),
    Later(
        "auto-top-up",
        "payment_care:show_auto_top_up",
        "Show an organization's auto top-up, why it is paused, and its last attempts.",
    ),
):
    billing_group.add_command(_command)


@asynccontextmanager
async def selling() -> AsyncIterator[tuple[Database, Payments]]:
    """Open the database and the parts that sell credit.

    Raises SettingsError, and StripeUnread for a StripeFailure inside the block.
    """
    settings = Settings.from_environment()
    async with opened() as database:
        parts = make_payments(settings, database)
        if parts is None:
            raise SettingsError("GATEWAY_STRIPE_SECRET_KEY is not set, so nobody can buy")
        try:
            yield database, parts
        except StripeFailure as error:
            raise StripeUnread(f"Stripe: {error}") from None
        finally:
            await parts.stripe.close()


@asynccontextmanager
async def maybe_selling() -> AsyncIterator[tuple[Database, Payments | None]]:
    """Open the database, and the parts that sell credit if Stripe's key is set; see `selling`."""
    if Settings.from_environment().stripe_secret_key:
        async with selling() as opened_parts:
            yield opened_parts
    else:
        async with opened() as database:
            yield database, None


@billing_group.command("checkout", epilog="Example: gateway billing checkout Acme 50")
@click.argument("organization")
@click.argument("dollars", type=click.IntRange(1))
@acting_as
@because
@as_json
@asynchronous
async def start_checkout(
    organization: str, dollars: int, *, acting: str | None, reason: str, as_json: bool
) -> None:
    """Start a payment and print the address of its page at Stripe."""
    async with selling() as (database, parts):
        async with database.read() as connection:
            operator = await operator_of(connection, acting)
            owner = await organizations.find(connection, organization)
        payment = await start_payment(
            database, operator, parts.checkout, owner.id, dollars * _CENTS, reason=reason
        )
    if as_json:
        show(payment, as_json=True)
        return
    say(payment.session_url)


@billing_group.command("payments", epilog="Example: gateway billing payments Acme")
@click.argument("organization")
@click.option("--before", help="Show payments older than this one.")
@click.option(
    "--limit", type=click.IntRange(1, payments.HISTORY_MAX), default=50, show_default=True
)
@as_json
@asynchronous
async def list_payments(
    organization: str, *, before: str | None, limit: int, as_json: bool
) -> None:
    """Show an organization's payments, newest first."""
    async with opened() as database, database.read() as connection:
        owner = await organizations.find(connection, organization)
        found = await payments.history(connection, owner.id, before, limit)
    show(found, as_json=as_json, title="payments", columns=_COLUMNS)


@billing_group.command("reconcile", epilog="Example: gateway billing reconcile PAYMENT_ID")
@click.argument("payment")
@acting_as
@because
@as_json
@asynchronous
async def reconcile(payment: str, *, acting: str | None, reason: str, as_json: bool) -> None:
    """Read a payment at Stripe now, and post what follows."""
    async with selling() as (database, parts):
        async with database.read() as connection:
            operator = await operator_of(connection, acting)
        found = await read_payment(database, operator, parts.reconciler, payment, reason=reason)
    if as_json:
        show(found, as_json=True)
        return
    say(_said(found))
    if found.attention:
        say(f"An operator must look at it: {found.attention}")


def _said(payment: Payment) -> str:
    received, back = payment.received_cents, payment.refunded_cents + payment.disputed_cents
    return (
        f"{payment.id} is {payment.state}: {money(received * CENT_NANOS)} received, "
        f"{money(back * CENT_NANOS)} of it back, {money(payment.posted_nanos)} of "
        f"{money(payment.credit_nanos)} credited."
    )
