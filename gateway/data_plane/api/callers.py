"""Whose API key a request on one of Litestar's routes carries."""

from __future__ import annotations

from typing import Any

from litestar import Request

from gateway.data_plane.auth.authenticator import Authenticator
from gateway.networks import caller_network, client_address
from gateway.snapshots import KeySnapshot


class Callers:
    """Authenticates requests, `proxies` of our own in front of them."""

    def __init__(self, authenticator: Authenticator, *, proxies: int) -> None:
        self._authenticator = authenticator
        self._proxies = proxies

    async def __call__(self, request: Request[Any, Any, Any]) -> KeySnapshot:
        """Return the caller's key; see `Authenticator.authenticate`."""

        def network() -> str:
            peer = request.client.host if request.client else ""
            forwarded = request.headers.getall("x-forwarded-for", [""])
            return caller_network(client_address(peer, forwarded, proxies=self._proxies))

        authorization = request.headers.get("authorization")
        return await self._authenticator.authenticate(authorization, network)
