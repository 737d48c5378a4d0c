"""Prices: what a new one changes and for whom, from which day on, and calling one off."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, URLEncodedBody

from gateway import wall
from gateway.control_plane.back_office import model_control, orders, price_control
from gateway.control_plane.back_office.price_control import Effect
from gateway.control_plane.back_office.price_mails import PriceMails
from gateway.control_plane.billing.credit import nanos_of_dollars
from gateway.control_plane.catalog.price_changes import PriceChange
from gateway.control_plane.mail.messages import Mail
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.pages.admin.models import ONE, PATH, provide_model_page
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.rendering import Render
from gateway.errors import BadRequest
from gateway.settings import Settings
from gateway.snapshots import Tier
from gateway.storage.database import Database


class PriceForm(msgspec.Struct, frozen=True, kw_only=True):
    """A price in dollars per million tokens, its tier, and the day from which it applies."""

    price: str = ""
    tier: str = "default"
    day: str = ""
    reason: str = ""

    @property
    def chosen_tier(self) -> Tier:
        """The tier."""
        return "flex" if self.tier == "flex" else "default"

    @property
    def effective_at(self) -> datetime | None:
        """The first moment of the day, in UTC; None: now. Raises BadPrice."""
        if not self.day.strip():
            return None
        try:
            return datetime.strptime(self.day.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise price_control.BadPrice("Enter a date like 2027-01-31.", param="day") from None


class CancelForm(msgspec.Struct, frozen=True):
    """A price to call off, and why."""

    change: str = ""
    reason: str = ""


async def provide_price_page(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    settings: NamedDependency[Settings],
    price_mails: NamedDependency[PriceMails],
    owner: FromPath[str],
    name: FromPath[str],
    price: FromQuery[str] = "",
    tier: FromQuery[str] = "default",
    day: FromQuery[str] = "",
) -> FormPage:
    """Provide the page of a new price: the form, and what was checked of it."""

    async def page(refused: RefusedForm | None) -> Response[Any]:
        form = refused.typed if refused else PriceForm(price=price, tier=tier, day=day)
        nanos = effect = at = None
        asked = refused
        try:
            at = form.effective_at
            nanos = nanos_of_dollars(form.price, param="price") if form.price.strip() else None
        except BadRequest as error:
            asked = asked or RefusedForm("price", error, form)
        async with database.read() as connection:
            current = await model_control.current(connection, f"{owner}/{name}")
            if nanos is not None:
                effect = await price_control.effect(
                    connection, current.model.id, form.chosen_tier, nanos, at
                )
        return render(
            "admin/price.html",
            section="models",
            path=f"{PATH}/{current.model.id}/price",
            refused=asked,
            model=current.model,
            form=form,
            nanos=nanos,
            effect=effect,
            effective_at=at,
            mail=_mail(price_mails, current.model.id, form, effect, at) if effect and at else None,
            notice_days=effect.least_days(settings.price_notice_days) if effect else 0,
            usage_days=price_control.DAYS,
            reason_max=orders.REASON_CHARACTERS_MAX,
        )

    return page


def _mail(
    mails: PriceMails, model_id: str, form: PriceForm, effect: Effect, at: datetime
) -> Mail | None:
    """Return the mail that would be sent of a rise; None of anything else."""
    if effect.nanos <= effect.before_nanos or not effect.organizations:
        return None
    change = PriceChange(
        id="",
        model_id=model_id,
        tier=form.chosen_tier,
        nanos_per_million_tokens=effect.nanos,
        effective_at=at,
        created_at=wall.now(),
    )
    return mails.example(change, effect.before_nanos)


@get(ONE + "/price", dependencies={"page": Provide(provide_price_page)})
async def show_price(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show what a price would change."""
    return await page(None)


@post_form(ONE + "/price", "price", provide_price_page)
async def set_price(
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
    operator: NamedDependency[Operator],
    owner: FromPath[str],
    name: FromPath[str],
    data: URLEncodedBody[PriceForm],
) -> Response[Any]:
    """Set the price, now or from its day on."""
    async with database.write() as connection:
        await price_control.set_price(
            connection,
            operator,
            f"{owner}/{name}",
            nanos_of_dollars(data.price, param="price"),
            tier=data.chosen_tier,
            effective_at=data.effective_at,
            notice_days=settings.price_notice_days,
            reason=data.reason,
        )
    return see_other(f"{PATH}/{owner}/{name}?done=price")


@post_form(ONE + "/price/cancel", "cancel", provide_model_page)
async def cancel_price(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    owner: FromPath[str],
    name: FromPath[str],
    data: URLEncodedBody[CancelForm],
) -> Response[Any]:
    """Call a price off that has not applied yet."""
    async with database.write() as connection:
        await price_control.cancel(connection, operator, data.change, reason=data.reason)
    return see_other(f"{PATH}/{owner}/{name}?done=canceled")


HANDLERS = (show_price, set_price, cancel_price)
"""The pages of this module."""
