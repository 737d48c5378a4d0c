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
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import owner
from gateway.identifiers import is_id
from gateway.storage.database import Database

PATH = "/console/webhooks"
_ONE = PATH + "/{endpoint_id:str}"
_PAGE = 25


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
            endpoints=listed,
            kinds=subscribable(),
            form=refused.typed if refused else WebhookForm(types=list(SUBSCRIBABLE)),
            verifying=VERIFYING,
        )

    return page


@get(PATH, dependencies={"page": Provide(_list_page)})
async def list_webhooks(page: NamedDependency[FormPage]) -> Response[Any]:
    """List the organization's webhooks."""
    return await page(None)


@post_form(PATH, "webhook", _list_page, guards=[owner], status_code=200)
async def add_webhook(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    endpoints: NamedDependency[Endpoints],
    visitor: NamedDependency[Visitor],
    data: URLEncodedBody[WebhookForm],
) -> Response[Any]:
    """Add a webhook and show its secret."""
    async with database.write() as connection:
        endpoint, secret = await endpoints.add(
            connection, visitor.organization_id, data.url, data.chosen, visitor.user_id
        )
    return _shown(render, endpoint, secret, heading="Your webhook's secret")


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
                connection, endpoint.id, before if is_id(before) else None, _PAGE + 1
            )
        typed = refused.typed if refused and refused.form == "webhook" else None
        return render(
            "console/webhook.html",
            path=f"{PATH}/{endpoint.id}",
            section="webhooks",
            refused=refused,
            endpoint=endpoint,
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
