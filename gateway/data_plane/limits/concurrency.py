"""Requests in progress and their bodies: bounded per process, and per organization in it.

Beyond a bound a request is refused at once (429), because queueing it would only delay all of them.
A place is taken before the body is read, so that a request that isn't served uses no memory either.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from gateway.data_plane.limits.turns import Turns
from gateway.errors import TooManyRequests

_MEASURED_EVERY = 16
"""One in this many places is measured: how long it is held."""
_EVERYBODY = ""
"""Stands for all organizations where they wait for their turn."""


class InFlight:
    """Counts the requests in progress, and their bytes."""

    def __init__(
        self,
        *,
        total_max: int,
        organization_max: int,
        bytes_max: int,
        organization_bytes_max: int,
        turns: Turns | None = None,
    ) -> None:
        self._total_max = total_max
        self._organization_max = organization_max
        self._bytes_max = bytes_max
        self._organization_bytes_max = organization_bytes_max
        self._total = 0
        self._bytes = 0
        self._shares: dict[str, _Share] = {}
        self._own_max: Mapping[str, int] = {}
        self._limit_line = _limit_line(min(total_max, organization_max))
        self._turns = turns or Turns()
        self._admitted = 0

    def lines(self, organization_id: str) -> bytes:
        """Return the headers with the limit and what remains of it, as lines of a head."""
        share = self._shares.get(organization_id)
        most = self._own_max.get(organization_id)
        line = self._limit_line if most is None else _limit_line(min(self._total_max, most))
        left = min(
            (most or self._organization_max) - (share.requests if share else 0),
            self._total_max - self._total,
        )
        return b"%bx-ratelimit-remaining-requests: %d\r\n" % (line, max(left, 0))

    def set_own(self, own_max: Mapping[str, int]) -> None:
        """Give some organizations, by id, their own limits; all others have the default."""
        self._own_max = own_max

    def admit(self, organization_id: str) -> RequestPlace:
        """Take a place for one request; it is given back with the block. Raises TooManyInFlight."""
        share = self._shares.get(organization_id)
        if share is None:
            share = _Share(organization_id)
        most = self._own_max.get(organization_id, self._organization_max)
        if share.requests >= most:
            raise TooManyInFlight(
                f"{most} requests of this organization are already in progress. "
                "Send fewer at once, or more inputs in each.",
                retry_after_seconds=self._turns.wait_seconds(organization_id, most),
            )
        if self._total >= self._total_max:
            raise TooManyInFlight(
                "The gateway is at capacity. Try again shortly.",
                retry_after_seconds=self._turns.wait_seconds(_EVERYBODY, self._total_max),
            )
        self._shares[organization_id] = share
        self._total += 1
        share.requests += 1
        self._admitted += 1
        is_measured = self._admitted % _MEASURED_EVERY == 1
        return RequestPlace(self, share, self._turns.clock() if is_measured else None)

    @property
    def bytes(self) -> int:
        """Bytes of bodies in memory."""
        return self._bytes

    def hold(self, share: _Share, size: int) -> None:
        """Count bytes of a body. Raises TooManyBytes."""
        if share.bytes + size > self._organization_bytes_max:
            raise TooManyBytes(
                f"This organization's requests in progress already hold {share.bytes} bytes, and "
                f"at most {self._organization_bytes_max} fit. Wait for some of them to finish.",
                retry_after_seconds=self._turns.wait_seconds(share.organization_id, share.requests),
            )
        if self._bytes + size > self._bytes_max:
            raise TooManyBytes(
                "The gateway's memory for request bodies is full. Try again shortly.",
                retry_after_seconds=self._turns.wait_seconds(_EVERYBODY, self._total),
            )
        share.bytes += size
        self._bytes += size

    def give_back(self, share: _Share, size: int) -> None:
        """End a request, and release its bytes."""
        self._total -= 1
        self._bytes -= size
        share.requests -= 1
        share.bytes -= size
        if not share.requests:
            del self._shares[share.organization_id]

    def measured(self, since: float) -> None:
        """Record how long a place was held."""
        self._turns.held(self._turns.clock() - since)

    def __len__(self) -> int:
        return self._total


def _limit_line(most: int) -> bytes:
    return b"x-ratelimit-limit-requests: %d\r\n" % most


class RequestPlace:
    """One request's place, held while the block runs."""

    __slots__ = ("_bytes", "_in_flight", "_share", "_since")

    def __init__(self, in_flight: InFlight, share: _Share, since: float | None) -> None:
        self._in_flight = in_flight
        self._share = share
        self._since = since
        """When it was taken, if it is measured."""
        self._bytes = 0

    def hold(self, size: int) -> None:
        """Hold so many bytes of its body too. Raises TooManyBytes (429)."""
        self._in_flight.hold(self._share, size)
        self._bytes += size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._in_flight.give_back(self._share, self._bytes)
        if self._since is not None:
            self._in_flight.measured(self._since)


class _AwaitTurn(TooManyRequests):
    """Gives each caller a different time."""

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds, spread=0.0)


class TooManyInFlight(_AwaitTurn):
    """Too many requests are being served at the same time."""

    code = "too_many_in_flight"
    remedy = "Send fewer at once, with more inputs in each."


class TooManyBytes(_AwaitTurn):
    """The bodies of the requests in progress are too large together."""

    code = "too_many_bytes_in_flight"
    remedy = "Send fewer large requests at once."


class _Share:
    """What one organization has in progress."""

    __slots__ = ("bytes", "organization_id", "requests")

    def __init__(self, organization_id: str) -> None:
        self.organization_id = organization_id
        self.requests = 0
        self.bytes = 0
