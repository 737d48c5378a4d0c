"""Billing: the balance, what stops it, buying, the saved card, auto top-up, and the payments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import URLEncodedBody

from gateway import wall
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.billing import credit
from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.pages.console.auto_top_up import AutoForm, auto_words
from gateway.control_plane.pages.console.balance_words import days_left, stops_of
from gateway.control_plane.pages.console.payments import PATH, listed
from gateway.control_plane.payments import auto_top_up, customers, payments
from gateway.control_plane.payments.checkout import (
    CUSTOM_DOLLARS_MAX,
    CUSTOM_DOLLARS_MIN,
    PRESET_DOLLARS,
    Checkout,
)
from gateway.control_plane.payments.customers import BuyingOnHold
from gateway.control_plane.payments.hosted_pages import stripe_pages
from gateway.control_plane.payments.stripe_failures import StripeFailure, StripeRefused
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other, whole
from gateway.control_plane.web.rate_limits import Quota
from gateway.control_plane.web.recording import MemberTrail
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import having
from gateway.errors import BadRequest, Unavailable
from gateway.identifiers import is_id, new_id
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.ledger.runway import runway

_NEWEST = 10
"""Payments shown here; the others are on pages of their own."""
_OTHER = "other"


class BuyForm(msgspec.Struct, frozen=True):
    """An amount to buy. `id` is the payment's: a form that is sent twice makes one payment."""

    id: str = ""
    preset: str = "25"
    """Whole dollars, or `other`."""
    custom: str = ""
    save_card: str = ""

    @property
    def cents(self) -> int:
        """The amount. Raises BadRequest."""
        text = self.custom if self.preset == _OTHER else self.preset
        found = whole(text.strip().removeprefix("$"), CUSTOM_DOLLARS_MAX)
        if found is None or found < CUSTOM_DOLLARS_MIN:
            raise BadRequest(
                f"Enter whole dollars, from {CUSTOM_DOLLARS_MIN} to {CUSTOM_DOLLARS_MAX:,}.",
                param="custom",
            )
        return found * 100


class Preset(NamedTuple):
    """An amount to choose, and the tokens that it pays for; 0 while no model is live."""

    dollars: int
    tokens: int


class BuyingIsOff(Unavailable):
    """This gateway takes no payments."""

    code = "buying_is_off"


class StripeAway(Unavailable):
    """Stripe does not answer at the moment."""

    code = "stripe_unavailable"


class StripeRefuses(Unavailable):
    """Stripe does not do what we ask: something is set up wrongly there."""

    code = "stripe_refuses"


async def billing_page(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    visitor: NamedDependency[Visitor],
) -> FormPage:
    """Provide the page that all forms about money stand on."""

    async def page(refused: RefusedForm | None) -> Response[str]:
        who = visitor.organization_id
        async with database.read() as connection:
            balance = await credit.balance(connection, who)
            lasts = await runway(connection, who)
            customer = await customers.read(connection, who)
            rules = await auto_top_up.read(connection, who)
            last = await auto_top_up.attempts(connection, who, 1) if rules else []
            newest = await payments.history(connection, who, limit=_NEWEST + 1)
        priced = shelf.first if shelf.live else None
        return render(
            "console/billing.html",
            path=PATH,
            section="billing",
            refused=refused,
            saved="saved" in request.query_params,
            balance=balance,
            days_left=days_left(lasts),
            stops=stops_of(balance),
            customer=customer,
            form=_typed(refused),
            presets=[Preset(dollars, _tokens(dollars, priced)) for dollars in PRESET_DOLLARS],
            custom_min=CUSTOM_DOLLARS_MIN,
            custom_max=CUSTOM_DOLLARS_MAX,
            priced=priced,
            auto=auto_words(rules, customer, last[0] if last else None),
            auto_form=AutoForm.shown(rules, refused),
            **listed(newest, _NEWEST),
        )

    return page


@get(PATH, dependencies={"page": Provide(billing_page)}, guards=[having("see_money")])
async def show_billing(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show the balance, what can be bought, and the newest payments."""
    return await page(None)


@post_form(f"{PATH}/buy", "buy", billing_page, guards=[having("buy")])
async def buy(
    settings: NamedDependency[Settings],
    render: NamedDependency[Render],
    checkout: NamedDependency[Checkout | None],
    purchase_quota: NamedDependency[Quota],
    visitor: NamedDependency[Visitor],
    data: URLEncodedBody[BuyForm],
) -> Response[Any]:
    """Start a payment, and lead its buyer to Stripe."""
    if checkout is None:
        raise BuyingIsOff("This gateway takes no payments.")
    amount_cents = data.cents
    await purchase_quota.take(visitor.organization_id)
    try:
        with _asking_stripe():
            payment = await checkout.start(
                visitor.organization_id,
                visitor.user_id,
                amount_cents,
                save_card=bool(data.save_card),
                payment_id=data.id if is_id(data.id) else new_id(),
            )
    except BuyingOnHold:
        return see_other(f"{PATH}#buy")  # which says why
    if payment.state == "open":
        return _leading_to(payment.session_url, settings, render)
    return see_other(f"{PATH}/payments/{payment.id}")


@post_form(f"{PATH}/portal", "portal", billing_page, guards=[having("buy")])
async def open_portal(
    settings: NamedDependency[Settings],
    render: NamedDependency[Render],
    checkout: NamedDependency[Checkout | None],
    purchase_quota: NamedDependency[Quota],
    visitor: NamedDependency[Visitor],
) -> Response[Any]:
    """Lead to Stripe's page for customers: cards, invoices, tax details."""
    if checkout is None:
        raise BuyingIsOff("This gateway takes no payments.")
    await purchase_quota.take(visitor.organization_id)
    with _asking_stripe():
        url = await checkout.portal(visitor.organization_id)
    return _leading_to(url, settings, render)


@post_form(f"{PATH}/auto-top-up", "auto", billing_page, guards=[having("buy")])
async def set_auto_top_up(
    database: NamedDependency[Database],
    checkout: NamedDependency[Checkout | None],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    data: URLEncodedBody[AutoForm],
) -> Response[Any]:
    """Say when the saved card is charged, and for how much."""
    if checkout is None:
        raise BuyingIsOff("This gateway takes no payments.")
    rules = data.rules()
    async with database.write() as connection:
        before = await auto_top_up.read(connection, visitor.organization_id)
        await auto_top_up.save(
            connection,
            visitor.organization_id,
            rules,
            user_id=visitor.user_id,
            now=wall.now(),
        )
        after = msgspec.structs.asdict(rules)
        await trail.record(
            connection,
            "auto_top_up.changed",
            trail.organization,
            before={name: getattr(before, name) for name in after} if before else {},
            after=after,
        )
    return see_other(f"{PATH}?saved=1#auto-top-up")


def _typed(refused: RefusedForm | None) -> BuyForm:
    """Return what was typed; where it can't be the same payment, as another one."""
    if refused is None or refused.form != "buy":
        return BuyForm(id=new_id())
    typed: BuyForm = refused.typed
    same = isinstance(refused.error, StripeAway)
    return typed if same else msgspec.structs.replace(typed, id=new_id())


def _tokens(dollars: int, priced: Listing | None) -> int:
    price = priced.model.price.nanos_per_million_tokens if priced else 0
    return dollars * 10**15 // price if price else 0


def _leading_to(url: str, settings: Settings, render: Render) -> Response[Any]:
    """Redirect to a page of Stripe's.

    Browsers follow a form only to where the page's policy allows; to a domain that Stripe hosts
    under the seller's own name, a link leads.
    """
    parts = urlsplit(url)
    if f"{parts.scheme}://{parts.netloc}" in stripe_pages(settings):
        return see_other(url)
    return render(
        "again.html",
        heading="Continue on Stripe's page",
        message="You are about to leave this site.",
        way="Continue",
        href=url,
    )


@contextmanager
def _asking_stripe() -> Iterator[None]:
    """Say so where Stripe does not answer; sending the form again asks for the same payment."""
    try:
        yield
    except StripeRefused:
        raise StripeRefuses(
            "Stripe could not open the payment page. Nothing was charged. If this happens again, "
            "write to us."
        ) from None
    except StripeFailure:
        raise StripeAway(
            "Stripe can't be reached at the moment. Nothing was charged; try again shortly."
        ) from None
