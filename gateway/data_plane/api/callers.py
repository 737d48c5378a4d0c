"""Who sends a request on one of Litestar's routes, and how often."""

from __future__ import annotations

from typing import Any

from litestar import Request

from gateway.data_plane.auth.authenticator import Authenticator, ScopeMissing
from gateway.data_plane.limits.rates import KeyRate
from gateway.networks import caller_network, client_address
from gateway.snapshots import KeySnapshot, Scope


class Callers:
    """Authenticates and counts requests, `proxies` of our own in front of them."""

    def __init__(self, authenticator: Authenticator, reads: KeyRate, *, proxies: int) -> None:
        self._authenticator = authenticator
        self._reads = reads
        self._proxies = proxies

    async def __call__(
        self, request: Request[Any, Any, Any], *, scope: Scope | None = None, reads: float = 1.0
    ) -> KeySnapshot:
        """Return the caller's key; see `Authenticator.authenticate`.

        `reads` is how many ordinary requests this one costs. Raises ScopeMissing (403) and
        TooManyReads (429) too.
        """
        authorization = request.headers.get("authorization")
        key = await self._authenticator.authenticate(authorization, lambda: self._network(request))
        if scope is not None and scope not in key.scopes:
            raise ScopeMissing(scope)
        self._reads.take(key.id, reads)
        return key

    def count(self, request: Request[Any, Any, Any]) -> None:
        """Count a request that needs no key, by its network. Raises TooManyReads."""
        self._reads.take(self._network(request))

    def _network(self, request: Request[Any, Any, Any]) -> str:
        peer = request.client.host if request.client else ""
        forwarded = request.headers.getall("x-forwarded-for", [""])
        return caller_network(client_address(peer, forwarded, proxies=self._proxies))
