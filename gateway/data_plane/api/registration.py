"""POST /internal/workers: the signed announcement of a worker outside the cluster.

See `routing.discovery.registrations` for the body and its signature. A worker announces itself to
one gateway; where there is a Redis, the announcement is passed on as it is, and each gateway checks
it itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, post
from litestar.handlers import HTTPRouteHandler

from gateway.data_plane.routing.discovery.registrations import (
    BODY_BYTES_MAX,
    RegistrationRefused,
    Registrations,
)
from gateway.data_plane.routing.router import Router
from gateway.errors import NotFound, Unauthorized


class AnnouncementRefused(Unauthorized):
    """An announcement that is not believed."""

    code = "announcement_refused"


def route(
    leases: Registrations, router: Router, pass_on: Callable[[bytes, str], Awaitable[None]]
) -> HTTPRouteHandler:
    """Make the route; `pass_on` is given the body and the signature of what was believed."""

    @post("/internal/workers", status_code=204, request_max_body_size=BODY_BYTES_MAX)
    async def announce(request: Request[Any, Any, Any]) -> None:
        """Take one announcement."""
        body, signature = await request.body(), request.headers.get("x-signature", "")
        try:
            said = leases.announce(body, signature)
        except RegistrationRefused as error:
            raise AnnouncementRefused(f"The announcement is refused: {error}.") from None
        await pass_on(body, signature)
        if said.model not in router.pools:
            raise NotFound(f"There is no model {said.model!r}.", code="model_not_found")

    return announce
