"""News of workers between gateways, through Redis.

There are two kinds, and neither is simply believed: the signed announcement of a worker that
registered with one gateway, which the others check again, and a worker that one gateway
quarantined, which the others examine before a request of theirs fails on it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec

from gateway.data_plane.routing.discovery.registrations import RegistrationRefused, Registrations
from gateway.data_plane.routing.router import Router
from gateway.storage.redis import Channels

_LEASES = "gateway:workers-announced"
_SUSPECTS = "gateway:workers-suspect"


class Suspect(msgspec.Struct, frozen=True):
    """A worker that a gateway quarantined."""

    gateway_id: str
    model: str
    url: str


class Peers:
    """The other gateways. `start` and `stop` it with the application."""

    def __init__(
        self, redis_url: str, gateway_id: str, router: Router, leases: Registrations | None
    ) -> None:
        self._gateway_id = gateway_id
        self._router = router
        self._leases = leases
        self.announcements = Channels(
            redis_url,
            {_LEASES: self._hear_lease, _SUSPECTS: self._hear_suspect},
            hearing=self._hearing,
        )
        self._telling: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start listening."""
        await self.announcements.start()

    async def stop(self) -> None:
        """Finish sending, then stop listening."""
        await asyncio.gather(*self._telling)
        await self.announcements.stop()

    async def pass_on(self, body: bytes, signature: str) -> None:
        """Pass a worker's announcement on to the other gateways."""
        await self.announcements.tell(_LEASES, signature.encode() + b" " + body)

    def warn(self, model: str, url: str) -> None:
        """Tell the others that a worker was quarantined here; returns at once."""
        suspect = msgspec.json.encode(Suspect(self._gateway_id, model, url))
        task = asyncio.create_task(self.announcements.tell(_SUSPECTS, suspect))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _hear_lease(self, message: bytes) -> None:
        signature, _, body = message.partition(b" ")
        if self._leases:
            with suppress(RegistrationRefused):  # late, not signed, or from another version
                self._leases.announce(body, signature.decode("latin-1"), passed_on=True)

    def _hearing(self, *, others: bool) -> None:
        if self._leases:
            self._leases.hearing(others=others)

    def _hear_suspect(self, message: bytes) -> None:
        try:
            suspect = msgspec.json.decode(message, type=Suspect)
        except msgspec.MsgspecError:
            return  # from another version
        worker = self._router.worker(suspect.model, suspect.url)
        if suspect.gateway_id != self._gateway_id and worker is not None and worker.ready:
            self._router.pools[suspect.model].check(suspect.url)
