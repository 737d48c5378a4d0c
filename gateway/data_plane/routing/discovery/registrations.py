"""Workers that register themselves: a signed announcement, repeated before its lease ends.

For GPUs outside the cluster, which no list and no DNS knows. An announcement is a JSON body

    {"model": "...", "url": "http://...", "issued_at": unix seconds, "leaving": false}

with HMAC-SHA256(secret, body) as hex beside it. It must be fresh, and newer than the last one of
that worker, so that a recorded one can't be played again, not even to keep a dead worker alive. The
last one itself may come twice, by two ways, and changes nothing. A worker has one URL, however it
writes it.

What other gateways passed on does not end while they can't be heard: then examinations decide.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import math
import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import msgspec

from gateway.data_plane.routing.discovery.provider import News

LEASE_SECONDS = 15.0
"""How long an announcement holds; workers repeat it every 5 s."""
SKEW_SECONDS_MAX = 30.0
"""How far a worker's clock may be from ours."""
WORKERS_MAX = 1024
"""Leases that are kept, all models."""
BODY_BYTES_MAX = 4096
"""Size of an announcement."""
_URL_BYTES_MAX = 512
_PORTS = {"http": 80, "https": 443}


class LeaseRefused(ValueError):
    """An announcement that is not believed; the text says why."""


class Announcement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker says of itself."""

    model: str
    url: str
    issued_at: float
    """Unix time, seconds."""
    leaving: bool = False


class Lease(msgspec.Struct):
    """A worker that announced itself. One that left or expired is kept until replay is over."""

    model: str
    issued_at: float
    ends_at: float
    """On the monotonic clock, seconds."""
    digest: bytes = b""
    """Of the announcement, to know it again."""
    passed_on: bool = False
    """Whether another gateway told of it, and not the worker."""


class Leases:
    """The announcements of all workers. One for a process; each pool watches its model."""

    def __init__(
        self,
        secret: bytes,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        assert secret, "an empty secret would let anybody in"
        self._secret = secret
        self._clock = clock
        self._wall_clock = wall_clock
        self._leases: dict[str, Lease] = {}
        self._deaf_since: float | None = None
        self._news: dict[str, asyncio.Event] = {}

    def announce(self, body: bytes, signature: str, *, passed_on: bool = False) -> Announcement:
        """Take an announcement, from the worker or as another gateway passed it on.

        Raises LeaseRefused.
        """
        if len(body) > BODY_BYTES_MAX:
            raise LeaseRefused(f"at most {BODY_BYTES_MAX} bytes fit")
        if not hmac.compare_digest(sign(self._secret, body).encode(), signature.encode()):
            raise LeaseRefused("the signature is wrong")
        try:
            said = msgspec.json.decode(body, type=Announcement)
        except msgspec.MsgspecError as error:
            raise LeaseRefused(str(error)) from None
        said = msgspec.structs.replace(said, url=_canonical(said.url))
        digest = hashlib.sha256(body).digest()
        last = self._leases.get(said.url)
        if last is not None and last.digest == digest:
            last.passed_on = last.passed_on and passed_on
            return said  # the second delivery of one announcement extends nothing
        self._check(said, last)
        now = self._clock()
        ends_at = now if said.leaving else now + LEASE_SECONDS
        self._leases[said.url] = Lease(said.model, said.issued_at, ends_at, digest, passed_on)
        self._tell({said.model, last.model if last else said.model})
        return said

    def hearing(self, *, others: bool) -> None:
        """Take note whether what `others` pass on can be heard."""
        now = self._clock()
        if not others and self._deaf_since is None:
            self._deaf_since = now
        elif others and self._deaf_since is not None:
            for lease in self._leases.values():
                if self._kept(lease):
                    lease.ends_at = max(lease.ends_at, now + LEASE_SECONDS)
            self._deaf_since = None
        self._tell({lease.model for lease in self._leases.values() if lease.passed_on})

    def provider(self, model: str) -> LeasedWorkers:
        """Return the workers of one model as a provider."""
        return LeasedWorkers(self, model)

    def live(self, model: str) -> dict[str, float]:
        """Return the URLs of a model's workers, and when their leases end."""
        now = self._clock()
        return {
            url: math.inf if self._kept(lease) else lease.ends_at
            for url, lease in self._leases.items()
            if lease.model == model and (lease.ends_at > now or self._kept(lease))
        }

    async def changed(self, model: str, until: float | None) -> None:
        """Wait for an announcement of a model's worker, or until a time on the monotonic clock.

        Only that model's pool wakes: of ten thousand, the others have nothing to look at.
        """
        news = self._news.setdefault(model, asyncio.Event())
        try:
            left = math.inf if until is None else until - self._clock()
            async with asyncio.timeout(None if math.isinf(left) else max(left, 0)):
                await news.wait()
        except TimeoutError:
            pass

    def _kept(self, lease: Lease) -> bool:
        """Tell whether a lease goes on only because nobody can be heard who would renew it."""
        since = self._deaf_since
        return since is not None and lease.passed_on and lease.ends_at > since

    def _tell(self, models: set[str]) -> None:
        for model in models:
            if news := self._news.pop(model, None):
                news.set()

    def _check(self, said: Announcement, last: Lease | None) -> None:
        if abs(self._wall_clock() - said.issued_at) > SKEW_SECONDS_MAX:
            raise LeaseRefused("issued too long ago, or the clocks differ")
        if last is not None and said.issued_at <= last.issued_at:
            raise LeaseRefused("not newer than the last one")
        self._forget()
        if said.url not in self._leases and len(self._leases) >= WORKERS_MAX:
            raise LeaseRefused(f"{WORKERS_MAX} workers are registered already")

    def _forget(self) -> None:
        """Drop what ended so long ago that its announcement could not be played again."""
        oldest = self._wall_clock() - SKEW_SECONDS_MAX
        now = self._clock()
        for url, lease in tuple(self._leases.items()):
            if lease.ends_at <= now and lease.issued_at < oldest and not self._kept(lease):
                del self._leases[url]


class LeasedWorkers:
    """The workers of one model that hold a lease."""

    def __init__(self, leases: Leases, model: str) -> None:
        self._leases = leases
        self._model = model

    async def watch(self) -> AsyncIterator[News]:
        """Yield who comes, and who leaves or falls silent."""
        known: set[str] = set()
        while True:
            live = self._leases.live(self._model)
            for url in sorted(live.keys() - known):
                yield News(url, here=True)
            for url in sorted(known - live.keys()):
                yield News(url, here=False)
            known = set(live)
            if live == self._leases.live(self._model):
                await self._leases.changed(self._model, min(live.values(), default=None))


def _canonical(url: str) -> str:
    """Return the one way in which we write a worker's URL. Raises LeaseRefused."""
    if len(url) > _URL_BYTES_MAX:
        raise LeaseRefused("the url is too long")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if "[" in parts.netloc:
            host = f"[{ipaddress.ip_address(host)}]"
    except ValueError as error:
        raise LeaseRefused(f"the url can't be read: {error}") from None
    if parts.scheme not in _PORTS or not host:
        raise LeaseRefused("the url must be http:// or https://")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise LeaseRefused("the url must be a host and a port, and nothing else")
    if port is None or port == _PORTS[parts.scheme]:
        return f"{parts.scheme}://{host}"
    return f"{parts.scheme}://{host}:{port}"


def sign(secret: bytes, body: bytes) -> str:
    """Sign an announcement: HMAC-SHA256, as hex."""
    return hmac.digest(secret, body, "sha256").hex()
