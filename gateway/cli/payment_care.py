"""`gateway billing`, the commands for problems: refunds, holds, disputes, auto top-up."""

from __future__ import annotations

import msgspec
import rich_click as click

from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.moving import moves_of, waits
from gateway.cli.payments import selling
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.accounts import organizations
from gateway.control_plane.back_office import limits
from gateway.control_plane.back_office.orders import RefundOrder
from gateway.control_plane.back_office.payments import give_payment_up, see_payment
from gateway.control_plane.billing.credit import nanos_of_dollars
from gateway.control_plane.payments import attention, auto_top_up, customers, evidence, payments
from gateway.control_plane.payments.auto_top_up import AutoTopUp
from gateway.control_plane.payments.payments import CENT_NANOS, NoSuchPayment, Payment
from gateway.control_plane.payments.refunds import Refund
from gateway.errors import BadRequest
from gateway.identifiers import is_id, new_id
from gateway.money import money
from gateway.settings import Settings

_ATTEMPTS_SHOWN = 10
_ATTEMPT_COLUMNS = ["id", "state", "credit_nanos", "failure_code", "failure_reason", "created_at"]


@click.command("refund", epilog='Example: gateway billing refund PAYMENT_ID 20 --reason "unused"')
@click.argument("payment")
@click.argument("dollars", required=False)
@acting_as
@click.option("--reason", required=True, help="Why; this is kept, and Stripe is not told.")
@as_json
@asynchronous
async def refund(
    payment: str, dollars: str | None, *, acting: str | None, reason: str, as_json: bool
) -> None:
    """Refund a payment, or DOLLARS of it, tax included; its credit is withdrawn in proportion.

    The same amount with the same reason is refunded once, however often this is repeated.
    """
    amount = None if dollars is None else _cents(dollars)
    if not is_id(payment):
        raise NoSuchPayment(f"There is no payment {payment[:80]!r}.")
    async with selling() as (database, parts):
        async with database.read() as connection:
            operator = await operator_of(connection, acting)
            owner = (await payments.find(connection, payment)).organization_id
        order = RefundOrder(organization_id=owner, payment_id=payment, amount_cents=amount)
        done = await moves_of(database, parts).order(
            operator, order, order_id=new_id(), reason=reason
        )
    if as_json:
        show(done.refund or done._asdict(), as_json=True)
        return
    say(_said(done.refund) if done.refund else waits(done))


@click.command(
    "release", epilog='Example: gateway billing release Acme --reason "the card was theirs"'
)
@click.argument("organization")
@acting_as
@because
@asynchronous
async def release(organization: str, *, acting: str | None, reason: str) -> None:
    """Allow an organization to buy again after an early fraud warning put it on hold."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        owner = await organizations.find(connection, organization)
        released = await limits.release(connection, operator, owner.id, reason=reason)
    if released is None:
        say(f"{owner.name} was not held, so nothing changed.")
        return
    say(f"{owner.name} may buy again. It was held for: {released}.")


@click.command("attention", epilog="Example: gateway billing attention")
@as_json
@asynchronous
async def show_attention(*, as_json: bool) -> None:
    """Show what needs an operator: held customers, odd payments, open disputes."""
    async with opened() as database, database.read() as connection:
        needed = await attention.needed(connection)
    if as_json:
        show(needed, as_json=True)
        return
    show(needed.held, as_json=False, title="held customers")
    show(needed.payments, as_json=False, title="payments that don't add up")
    show(needed.disputes, as_json=False, title="open disputes")


@click.command(
    "seen", epilog='Example: gateway billing seen PAYMENT_ID --reason "refunded by hand"'
)
@click.argument("payment")
@acting_as
@because
@asynchronous
async def mark_seen(payment: str, *, acting: str | None, reason: str) -> None:
    """Take a payment off the list of what needs an operator, unless something else is odd later."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        was = await see_payment(connection, operator, payment, reason=reason)
    say(f"Seen: {was}" if was else "It did not need attention, so nothing changed.")


@click.command(
    "abandon", epilog='Example: gateway billing abandon PAYMENT_ID --reason "deleted at Stripe"'
)
@click.argument("payment")
@acting_as
@click.option("--reason", required=True, help="Why, for the payment and the audit trail.")
@asynchronous
async def abandon(payment: str, *, acting: str | None, reason: str) -> None:
    """Give up a payment that Stripe no longer shows, and lift the freeze of its dispute."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        given_up = await give_payment_up(connection, operator, payment, reason=reason)
    say(f"{given_up.id} is {given_up.state}, and is no longer read at Stripe.")


@click.command("evidence", epilog="Example: gateway billing evidence PAYMENT_ID > evidence.json")
@click.argument("payment")
@asynchronous
async def show_evidence(payment: str) -> None:
    """Print evidence about a payment for a bank, as JSON: receipt, usage, sign-ins."""
    settings = Settings.from_environment()
    async with opened() as database, database.read() as connection:
        found = await evidence.collect(connection, payment, terms_url=settings.terms_address)
    show(found, as_json=True)


@click.command(
    "auto-top-up", epilog='Example: gateway billing auto-top-up Acme --off --reason "asked by mail"'
)
@click.argument("organization")
@click.option("--off", is_flag=True, help="Switch it off.")
@acting_as
@because
@as_json
@asynchronous
async def show_auto_top_up(
    organization: str, *, off: bool, acting: str | None, reason: str, as_json: bool
) -> None:
    """Show an organization's auto top-up, why it is paused, and its last attempts."""
    async with opened() as database, database.write() as connection:
        owner = await organizations.find(connection, organization)
        if off:
            operator = await operator_of(connection, acting)
            await limits.switch_off_top_up(connection, operator, owner.id, reason=reason)
        settings = await auto_top_up.read(connection, owner.id)
        customer = await customers.read(connection, owner.id)
        attempts = await auto_top_up.attempts(connection, owner.id, _ATTEMPTS_SHOWN)
    if as_json:
        show(TopUpReport(settings=settings, card=customer, attempts=attempts), as_json=True)
        return
    if settings is None:
        say(f"{owner.name} has not set up auto top-up.")
        return
    say(_state(settings, customer))
    show(attempts, as_json=False, title="attempts", columns=_ATTEMPT_COLUMNS)


class TopUpReport(msgspec.Struct, frozen=True, kw_only=True):
    """An organization's auto top-up, its saved card, and its newest attempts."""

    settings: AutoTopUp | None
    card: customers.Customer | None
    attempts: list[Payment]


def _said(made: Refund) -> str:
    amount = money(made.amount_cents * CENT_NANOS)
    match made.state:
        case "started":
            return f"Stripe has not answered. {amount} will be refunded once it does ({made.id})."
        case "failed" | "canceled":
            return f"Stripe refused to refund {amount} ({made.id}): {made.problem}"
    said = f"{amount} ({made.id}); Stripe says: {made.state}."
    if made.is_repeated:
        return f"Nothing more is refunded: the same reason refunded {said}"
    return f"Refunded {said}"


def _state(settings: AutoTopUp, customer: customers.Customer | None) -> str:
    bought = money(settings.amount_cents * CENT_NANOS)
    most = money(settings.month_cents_max * CENT_NANOS)
    state, threshold = "On" if settings.enabled else "Off", money(settings.threshold_nanos)
    words = [f"{state}: buys {bought} below {threshold}, at most {most} a month."]
    if customer is None or customer.payment_method_id is None:
        words.append("No card is saved.")
    if customer is not None and customer.held_at is not None:
        words.append(f"Held: {customer.held_reason}.")
    if settings.paused:
        words.append(f"Paused: {settings.paused}.")
    if settings.declines:
        words.append(f"Declined {settings.declines} times in a row.")
    if settings.not_before is not None:
        words.append(f"Next attempt from {settings.not_before:%Y-%m-%d %H:%M:%S}Z.")
    return " ".join(words)


def _cents(dollars: str) -> int:
    """Parse dollars with at most two decimals. Raises BadRequest."""
    nanos = nanos_of_dollars(dollars)
    cents, rest = divmod(nanos, CENT_NANOS)
    if rest or not cents:
        raise BadRequest(f"{dollars[:40]!r} is not an amount in dollars and cents.", param="amount")
    return cents
