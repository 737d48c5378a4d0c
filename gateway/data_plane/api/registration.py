"""POST /internal/workers: a worker outside the cluster registers itself with a signed announcement.

The body and its signature are described in `routing.discovery.registrations`. One gateway is
enough: with a Redis, it passes the announcement on to the others, and each verifies it itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, post
from litestar.handlers import HTTPRouteHandler

from gateway.data_plane.api.hot_path import ModelNotFound
from gateway.data_plane.routing.discovery.registrations import (
    BODY_BYTES_MAX,
    RegistrationRefused,
    Registrations,
    WrongTime,
)
from gateway.data_plane.routing.router import Router
from gateway.errors import Unauthorized


class AnnouncementRefused(Unauthorized):
    """The announcement is malformed, out of date, or not signed with that worker's key.

    Or no worker may announce itself at this address (`GATEWAY_WORKER_NETWORKS`).
    """

    code = "announcement_refused"


def route(
    leases: Registrations, router: Router, pass_on: Callable[[bytes, str], Awaitable[None]]
) -> HTTPRouteHandler:
    """Make the route; `pass_on` gets the body and the signature of each accepted announcement."""

    @post("/internal/workers", status_code=204, request_max_body_size=BODY_BYTES_MAX)
    async def announce(request: Request[Any, Any, Any]) -> None:
        """Accept one announcement, or raise AnnouncementRefused (401) or ModelNotFound (404)."""
        body, signature = await request.body(), request.headers.get("x-signature", "")
        try:
            said = leases.announce(body, signature)
        except RegistrationRefused as error:
            told = (
                leases.time_for(body, signature, error.url) if isinstance(error, WrongTime) else {}
            )
            message = f"The announcement is refused: {error}."
            raise AnnouncementRefused(message, headers=told) from None
        await pass_on(body, signature)
        if said.model not in router.pools:
            raise ModelNotFound(f"There is no model {said.model!r}.")

    return announce
