"""A load balancer as one stands in front of gateways: it follows /health/ready.

It asks each target for its readiness, and takes one out that fails twice in a row. Connections of
clients and to targets are kept alive. A request goes to the next target if the connection is
refused; once it was sent it is not sent again, so a connection that ends before its answer is a
502 with `x-balancer: lost`. A client that leaves is a connection that ends, to its target too.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence

import aiohttp
from aiohttp import web

_HOPS = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})
"""Headers of one connection alone."""
_ASK_SECONDS = 2.0
_CONNECT_SECONDS = 2.0
_BODY_BYTES_MAX = 1 << 24


class Target:
    """A server, and whether it gets requests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_in = True
        self.missed = 0
        self.lost = 0
        """Connections that ended before their answer."""
        self.refused = 0
        """Connections that could not be made; another target got the request."""

    def asked(self, *, ready: bool, misses: int) -> None:
        """Note an answer about its readiness; `misses` of them take it out, one takes it in."""
        self.missed = 0 if ready else self.missed + 1
        self.is_in = ready or (self.is_in and self.missed < misses)


class Balancer:
    """Passes requests on to the targets that are in, one after the other."""

    def __init__(self, urls: Sequence[str], *, every_seconds: float, misses: int) -> None:
        self.url = ""
        self.targets = [Target(url) for url in urls]
        self._every_seconds = every_seconds
        self._misses = misses
        self._turn = itertools.count()
        self._http: aiohttp.ClientSession

    def point(self, number: int, url: str) -> None:
        """Put another server in a target's place; it is in once it has said that it is ready."""
        self.targets[number] = Target(url)
        self.targets[number].is_in = False

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Balancer]:
        """Serve until the block ends."""
        app = web.Application(client_max_size=_BODY_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False
        ) as self._http:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
            await site.start()
            self.url = "http://{}:{}".format(*runner.addresses[0][:2])
            watching = asyncio.create_task(self._watch())
            try:
                yield self
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
                await runner.cleanup()

    async def _watch(self) -> None:
        while True:
            await asyncio.gather(*(self._ask(target) for target in list(self.targets)))
            await asyncio.sleep(self._every_seconds)

    async def _ask(self, target: Target) -> None:
        try:
            async with (
                asyncio.timeout(_ASK_SECONDS),
                self._http.get(f"{target.url}/health/ready") as answer,
            ):
                await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            target.asked(ready=False, misses=self._misses)
        else:
            target.asked(ready=answer.status == 200, misses=self._misses)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in _HOPS
        }
        for target in self._in_order():
            try:
                async with self._http.request(
                    request.method,
                    target.url + request.path_qs,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    skip_auto_headers=("user-agent", "content-type", "accept"),
                ) as answer:
                    kept = [
                        (name, value)
                        for name, value in answer.headers.items()
                        if name.lower() not in _HOPS
                    ]
                    made = web.Response(status=answer.status, body=await answer.read())
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                target.refused += 1
                continue  # nothing was sent
            except (aiohttp.ClientError, OSError):
                target.lost += 1
                return web.Response(status=502, headers={"x-balancer": "lost"})
            for name, value in kept:
                made.headers.add(name, value)
            return made
        return web.Response(status=503, headers={"x-balancer": "no target"})

    def _in_order(self) -> list[Target]:
        """Return the targets that are in, the next one first; all of them if none is."""
        usable = [target for target in self.targets if target.is_in] or self.targets
        first = next(self._turn) % len(usable)
        return usable[first:] + usable[:first]


@contextlib.asynccontextmanager
async def balancing(
    urls: Sequence[str], *, every_seconds: float = 1.0, misses: int = 2
) -> AsyncIterator[Balancer]:
    """Run a balancer in front of some servers until the block ends."""
    async with Balancer(urls, every_seconds=every_seconds, misses=misses).serving() as balancer:
        yield balancer
