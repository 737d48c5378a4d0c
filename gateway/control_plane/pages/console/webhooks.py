"""Webhooks: the addresses that hear of events, and their secrets."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, URLEncodedBody

from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.alerts.deliveries import Deliveries
from gateway.control_plane.alerts.endpoints import Endpoint, Endpoints
from gateway.control_plane.alerts.notices import SUBSCRIBABLE
from gateway.control_plane.pages.console.notice_words import chosen_of, subscribable
from gateway.control_plane.pages.console.webhook_code import VERIFYING
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.rate_limits import Quota
from gateway.control_plane.web.recording import MemberTrail
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.verification import fresh
from gateway.control_plane.web.visitors import having
from gateway.storage.database import Database

_MAY = having("webhooks")

PATH = "/console/webhooks"
_ONE = PATH + "/{endpoint_id:str}"
_PAGE = 25
_DONE = {
    "saved": "Saved.",
    "test": "A test event is on its way. Reload the page to see the response.",
    "replay": "The event is being sent again. Reload the page to see the response.",
}


class WebhookForm(msgspec.Struct, frozen=True):
    """An address, and what is sent to it."""

    url: str = ""
    types: str | list[str] = msgspec.field(default_factory=list)

    @property
    def chosen(self) -> list[str]:
        """The types of events."""
        return chosen_of(self.types)


async def _list_page(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    endpoints: NamedDependency[Endpoints],
    visitor: NamedDependency[Visitor],
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        async with database.read() as connection:
            listed = await endpoints.listed(connection, visitor.organization_id)
        return render(
            "console/webhooks.html",
            path=PATH,
            section="webhooks",
            refused=refused,
            endpoints=[(endpoint, _address(endpoint, visitor)) for endpoint in listed],
            kinds=subscribable(),
            form=refused.typed if refused else WebhookForm(types=list(SUBSCRIBABLE)),
            verifying=VERIFYING,
        )

    return page


@get(PATH, dependencies={"page": Provide(_list_page)})
async def list_webhooks(page: NamedDependency[FormPage]) -> Response[Any]:
    """List the organization's webhooks."""
    return await page(None)


@post_form(PATH, "webhook", _list_page, guards=[_MAY], status_code=200)
async def add_webhook(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    endpoints: NamedDependency[Endpoints],
    address_quota: NamedDependency[Quota],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    data: URLEncodedBody[WebhookForm],
) -> Response[Any]:
    """Add a webhook and show its secret."""
    await address_quota.take(visitor.organization_id)
    await endpoints.check(visitor.organization_id, data.url)
    async with database.write() as connection:
        endpoint, secret = await endpoints.add(
            connection, visitor.organization_id, data.url, data.chosen, visitor.user_id
        )
        await trail.record(
            connection, "webhook.created", f"webhook:{endpoint.id}", after=_told(endpoint, trail)
        )
    return _secret_page(render, endpoint, secret, heading="Your webhook is added")


async def _one_page(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    endpoints: NamedDependency[Endpoints],
    deliveries: NamedDependency[Deliveries],
    visitor: NamedDependency[Visitor],
    endpoint_id: FromPath[str],
    before: FromQuery[str] = "",
    done: FromQuery[str] = "",
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        async with database.read() as connection:
            endpoint = await endpoints.find(connection, visitor.organization_id, endpoint_id)
            log = await deliveries.log(
                connection, visitor.organization_id, endpoint_id, before or None, _PAGE + 1
            )
        typed = refused.typed if refused and refused.form == "webhook" else None
        return render(
            "console/webhook.html",
            path=f"{PATH}/{endpoint.id}",
            section="webhooks",
            refused=refused,
            endpoint=endpoint,
            address=_address(endpoint, visitor),
            host=urlsplit(endpoint.url).hostname,
            deliveries=log[:_PAGE],
            next_before=log[_PAGE - 1].id if len(log) > _PAGE else "",
            kinds=subscribable(),
            form=typed or WebhookForm(url=endpoint.url, types=list(endpoint.types)),
            done=_DONE.get(done, ""),
        )

    return page


@get(_ONE, dependencies={"page": Provide(_one_page)})
async def show_webhook(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show a webhook, and the log of what was sent to it."""
    return await page(None)


@post_form(_ONE, "webhook", _one_page, guards=[_MAY])
async def change_webhook(
    database: NamedDependency[Database],
    endpoints: NamedDependency[Endpoints],
    address_quota: NamedDependency[Quota],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    endpoint_id: FromPath[str],
    data: URLEncodedBody[WebhookForm],
) -> Response[Any]:
    """Change a webhook's address and what is sent to it."""
    await address_quota.take(visitor.organization_id)
    await endpoints.check(visitor.organization_id, data.url)
    async with database.write() as connection:
        before = await endpoints.find(connection, visitor.organization_id, endpoint_id)
        await endpoints.change(
            connection, visitor.organization_id, endpoint_id, data.url, data.chosen
        )
        after = await endpoints.find(connection, visitor.organization_id, endpoint_id)
        await trail.record(
            connection,
            "webhook.changed",
            f"webhook:{endpoint_id}",
            before=_told(before, trail),
            after=_told(after, trail),
        )
    return see_other(f"{PATH}/{endpoint_id}?done=saved")


@post_form(f"{_ONE}/reveal", "secret", _one_page, guards=[_MAY, fresh], status_code=200)
async def reveal_secret(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    endpoints: NamedDependency[Endpoints],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    endpoint_id: FromPath[str],
) -> Response[Any]:
    """Show a webhook's secret again."""
    async with database.write() as connection:
        endpoint = await endpoints.find(connection, visitor.organization_id, endpoint_id)
        secret = await endpoints.reveal(connection, visitor.organization_id, endpoint_id)
        await trail.record(connection, "webhook.secret_shown", f"webhook:{endpoint_id}")
    return _secret_page(render, endpoint, secret)


@post_form(f"{_ONE}/rotate", "secret", _one_page, guards=[_MAY, fresh], status_code=200)
async def rotate_secret(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    endpoints: NamedDependency[Endpoints],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    endpoint_id: FromPath[str],
) -> Response[Any]:
    """Give a webhook a new secret, and show it."""
    async with database.write() as connection:
        secret = await endpoints.rotate(connection, visitor.organization_id, endpoint_id)
        endpoint = await endpoints.find(connection, visitor.organization_id, endpoint_id)
        await trail.record(connection, "webhook.secret_rotated", f"webhook:{endpoint_id}")
    return _secret_page(render, endpoint, secret)


@post_form(f"{_ONE}/test", "delivery", _one_page, guards=[_MAY])
async def send_test(
    database: NamedDependency[Database],
    deliveries: NamedDependency[Deliveries],
    message_quota: NamedDependency[Quota],
    visitor: NamedDependency[Visitor],
    endpoint_id: FromPath[str],
) -> Response[Any]:
    """Send an event that says nothing."""
    await message_quota.take(visitor.organization_id)
    async with database.write() as connection:
        await deliveries.ping(connection, visitor.organization_id, endpoint_id)
    return see_other(f"{PATH}/{endpoint_id}?done=test")


@post_form(
    _ONE + "/deliveries/{delivery_id:str}/replay",
    "delivery",
    _one_page,
    guards=[_MAY],
)
async def replay_delivery(
    database: NamedDependency[Database],
    deliveries: NamedDependency[Deliveries],
    message_quota: NamedDependency[Quota],
    visitor: NamedDependency[Visitor],
    endpoint_id: FromPath[str],
    delivery_id: FromPath[str],
) -> Response[Any]:
    """Send what was sent before again."""
    await message_quota.take(visitor.organization_id)
    async with database.write() as connection:
        await deliveries.replay(connection, visitor.organization_id, endpoint_id, delivery_id)
    return see_other(f"{PATH}/{endpoint_id}?done=replay")


@post(f"{_ONE}/enable", guards=[_MAY])
async def enable_webhook(
    database: NamedDependency[Database],
    endpoints: NamedDependency[Endpoints],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    endpoint_id: FromPath[str],
) -> Response[Any]:
    """Send events again, from now on."""
    async with database.write() as connection:
        await endpoints.enable(connection, visitor.organization_id, endpoint_id)
        await trail.record(connection, "webhook.enabled", f"webhook:{endpoint_id}")
    return see_other(f"{PATH}/{endpoint_id}")


@post(f"{_ONE}/disable", guards=[_MAY])
async def disable_webhook(
    database: NamedDependency[Database],
    endpoints: NamedDependency[Endpoints],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    endpoint_id: FromPath[str],
) -> Response[Any]:
    """Send nothing, until it is enabled again."""
    async with database.write() as connection:
        await endpoints.disable(connection, visitor.organization_id, endpoint_id)
        await trail.record(connection, "webhook.disabled", f"webhook:{endpoint_id}")
    return see_other(f"{PATH}/{endpoint_id}")


@post(f"{_ONE}/remove", guards=[_MAY])
async def remove_webhook(
    database: NamedDependency[Database],
    endpoints: NamedDependency[Endpoints],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    endpoint_id: FromPath[str],
) -> Response[Any]:
    """Remove a webhook for good."""
    async with database.write() as connection:
        await endpoints.remove(connection, visitor.organization_id, endpoint_id)
        await trail.record(connection, "webhook.removed", f"webhook:{endpoint_id}")
    return see_other(PATH)


def _address(endpoint: Endpoint, visitor: Visitor) -> str:
    """Return what a visitor may see of an address: the rest of it may be as good as a password."""
    if visitor.may("webhooks"):
        return endpoint.url
    return urlsplit(endpoint.url).hostname or ""


def _told(endpoint: Endpoint, trail: MemberTrail) -> dict[str, Any]:
    """Return what the audit trail says of a webhook: the rest of its address is a secret, too."""
    host = urlsplit(endpoint.url).hostname or ""
    return {"host": trail.personal(host), "types": list(endpoint.types)}


def _secret_page(
    render: Render, endpoint: Endpoint, secret: str, *, heading: str = "Signing secret"
) -> Response[str]:
    return render(
        "console/webhook_secret.html",
        section="webhooks",
        heading=heading,
        endpoint=endpoint,
        secret=secret,
        verifying=VERIFYING,
    )
