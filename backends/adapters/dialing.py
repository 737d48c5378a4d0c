"""How a connection to a worker of ours is opened: over TLS where its address says so."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple

from yarl import URL

from backends.adapters.statuses import OUR_ERRNOS, reason_of
from backends.adapters.trust import Trust, tls_reason
from backends.authentication import authority_of
from backends.guests import NotForGuests
from backends.protocol import BackendError, OutOfResources, WorkerLost, WorkerUnreachable


class HopAddress(NamedTuple):
    """Where a worker listens."""

    host: str
    """As the Host header names it."""
    path: str
    """Prefix of every path there."""
    unix: str | None
    name: str
    port: int
    encrypted: bool


def address_of(url: str) -> HopAddress:
    """Parse `http://host:port/prefix`, `https://...` or `unix:/path`."""
    if url.startswith("unix:"):
        return HopAddress("worker", "", url.removeprefix("unix:"), "", 0, encrypted=False)
    parts = URL(url)
    encrypted = parts.scheme == "https"
    assert parts.host and parts.port, f"{url} names no host"  # noqa: PT018 - one mistake
    host = parts.host_port_subcomponent or ""
    return HopAddress(host, parts.raw_path.rstrip("/"), None, parts.host, parts.port, encrypted)


class Dialer:
    """Opens connections to one worker."""

    def __init__(self, url: str, trust: Trust, *, name: str = "", guest: bool = False) -> None:
        """`name` is the authority that the worker must prove to be; by default, its address.

        A `guest` is connected to only where guests may be. Raises WrongKey; see
        `Trust.credentials`.
        """
        self.address = address = address_of(url)
        self._trust = trust
        self._guest = guest
        known_as = name or ("" if address.unix else authority_of(url))
        self.credentials = trust.credentials(known_as) if known_as else None
        """What proves us to the worker, and the worker to us; None if neither is needed."""
        self._known_as = known_as.rpartition(":")[0].strip("[]")
        """The host name that its certificate must have."""

    async def connect(self, make: Callable[[], asyncio.Protocol]) -> None:
        """Connect a protocol to where the worker listens. Raises OSError or UnicodeError."""
        loop, address = asyncio.get_running_loop(), self.address
        if address.unix is not None:
            await loop.create_unix_connection(make, address.unix)
            return
        host, port = address.name, address.port
        if self._guest and self._trust.guests:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            host = self._trust.guests.allowed([str(where[0]) for *_, where in found], port)
        await loop.create_connection(
            make,
            host,
            port,
            ssl=self._trust.tls() if address.encrypted else None,
            server_hostname=self._known_as if address.encrypted else None,
        )


def unconnected(url: str, error: Exception, *, was_sent: bool) -> BackendError:
    """Return why a worker can't be reached; `was_sent`: it had the call, and was lost with it."""
    if isinstance(error, OSError) and error.errno in OUR_ERRNOS:
        return OutOfResources(url, reason_of(error))
    match error:
        case ssl.SSLError():
            return WorkerUnreachable(url, tls_reason(error))
        case NotForGuests():
            return WorkerUnreachable(url, str(error))
        case _:
            lost = WorkerLost if was_sent else WorkerUnreachable
            return lost(url, reason_of(error))
