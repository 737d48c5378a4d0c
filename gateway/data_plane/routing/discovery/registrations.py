"""Workers that register themselves by a signed announcement, repeated before it expires.

For GPUs outside the cluster, which no list and no DNS knows. An announcement is a JSON body

    {"model": "...", "url": "http://...", "issued_at": unix seconds, "leaving": false}

signed with the key of the worker at that address (`backends.authentication`), so that each speaks
for itself alone. It must be fresh and newer than the worker's last one, so that a recorded one
can't be replayed, not even to keep a dead worker alive. The last one may arrive twice, directly and
through another gateway; the second changes nothing. URLs are compared in canonical form.

A worker is refused whose clock is wrong; the answer tells the time that it should have said.

Registrations that other gateways passed on don't expire while those gateways can't be heard; the
examinations decide then.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
from yarl import URL

from backends.authentication import authority_of, derive_key, sign_announcement, sign_time
from backends.guests import GuestNetworks
from gateway import wall
from gateway.data_plane.routing.discovery.provider import News

LEASE_SECONDS = 15.0
"""How long an announcement is valid; workers repeat it every 5 s."""
AGE_SECONDS_MAX = 30.0
"""The oldest announcement that is believed."""
AHEAD_SECONDS_MAX = 2.0
"""How far in the future one may be dated: it could be played when its worker is gone."""
WORKERS_MAX = 1024
"""Registrations that are kept, of all models."""
BODY_BYTES_MAX = 4096
"""Size of an announcement."""
_URL_BYTES_MAX = 512
_SIGNATURES_MAX = 4


class Registrations:
    """The registered workers of all models. One for a process; each pool watches its model."""

    def __init__(
        self,
        secrets: Sequence[bytes],
        guests: GuestNetworks,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = wall.unix_time,
    ) -> None:
        assert secrets and all(secrets), "an empty secret would let anyone in"  # noqa: PT018
        self._secrets = secrets
        self._guests = guests
        self._clock = clock
        self._wall_clock = wall_clock
        self._registered: dict[str, Registration] = {}
        self._deaf_since: float | None = None
        self._news: dict[str, asyncio.Event] = {}

    def announce(self, body: bytes, signature: str, *, passed_on: bool = False) -> Announcement:
        """Register a worker by its announcement, which another gateway may have passed on.

        Raises RegistrationRefused.
        """
        if len(body) > BODY_BYTES_MAX:
            raise RegistrationRefused(f"at most {BODY_BYTES_MAX} bytes fit")
        try:
            said = msgspec.json.decode(body, type=Announcement)
        except msgspec.MsgspecError as error:
            raise RegistrationRefused(str(error)) from None
        said = msgspec.structs.replace(said, url=_canonical(said.url))
        self._authenticate(said.url, body, signature)
        digest = hashlib.sha256(body).digest()
        last = self._registered.get(said.url)
        if last is not None and last.digest == digest:
            last.passed_on = last.passed_on and passed_on
            return said  # the second delivery of one announcement extends nothing
        self._check(said, last)
        now = self._clock()
        ends_at = now if said.leaving else now + LEASE_SECONDS
        self._registered[said.url] = Registration(
            said.model, said.issued_at, ends_at, digest, passed_on
        )
        self._tell({said.model, last.model if last else said.model})
        return said

    def time_for(self, body: bytes, signature: str, url: str) -> dict[str, str]:
        """Return headers that tell a worker the time, signed as its announcement is."""
        now = f"{self._wall_clock():.3f}"
        key = self._signer(url, body, signature)
        assert key, "whose time is wrong has signed"
        return {"x-time": now, "x-time-signature": sign_time(key, body, now)}

    def hearing(self, *, others: bool) -> None:
        """Record whether announcements of other gateways can be heard now."""
        now = self._clock()
        if not others and self._deaf_since is None:
            self._deaf_since = now
        elif others and self._deaf_since is not None:
            for registration in self._registered.values():
                if self._kept(registration):
                    registration.ends_at = max(registration.ends_at, now + LEASE_SECONDS)
            self._deaf_since = None
        self._tell(
            {
                registration.model
                for registration in self._registered.values()
                if registration.passed_on
            }
        )

    def provider(self, model: str) -> RegisteredWorkers:
        """Return the provider of one model's registered workers."""
        return RegisteredWorkers(self, model)

    def live(self, model: str) -> dict[str, float]:
        """Return the URLs of a model's workers, and when they expire on the monotonic clock."""
        now = self._clock()
        return {
            url: math.inf if self._kept(registration) else registration.ends_at
            for url, registration in self._registered.items()
            if registration.model == model
            and (registration.ends_at > now or self._kept(registration))
        }

    async def changed(self, model: str, until: float | None) -> None:
        """Wait for news of a model's workers, or until a time on the monotonic clock.

        Only that model's pool wakes up: there may be ten thousand.
        """
        news = self._news.setdefault(model, asyncio.Event())
        try:
            left = math.inf if until is None else until - self._clock()
            async with asyncio.timeout(None if math.isinf(left) else max(left, 0)):
                await news.wait()
        except TimeoutError:
            pass

    def _kept(self, registration: Registration) -> bool:
        """Whether a registration is valid only because the other gateways can't be heard."""
        since = self._deaf_since
        return since is not None and registration.passed_on and registration.ends_at > since

    def _tell(self, models: set[str]) -> None:
        for model in models:
            if news := self._news.pop(model, None):
                news.set()

    def _signer(self, url: str, body: bytes, signature: str) -> bytes | None:
        """Return the key of the worker at an address, if one of the signatures is made with it."""
        given = [one.encode() for one in signature.split(",")[:_SIGNATURES_MAX]]
        for secret in self._secrets:
            key = derive_key(secret, authority_of(url))
            wanted = sign_announcement(key, body).encode()
            if any(hmac.compare_digest(wanted, one) for one in given):
                return key
        return None

    def _authenticate(self, url: str, body: bytes, signature: str) -> None:
        """See that it is signed by the worker at this address, which a guest may have."""
        if self._signer(url, body, signature) is None:
            given = signature.encode()
            of_all = [hmac.digest(one, body, "sha256").hex().encode() for one in self._secrets]
            if any(hmac.compare_digest(one, given) for one in of_all):
                raise RegistrationRefused("this worker's version signs as all do; upgrade it")
            raise RegistrationRefused(f"the signature is not made with the key of {url}")
        host, _, port = authority_of(url).rpartition(":")
        if refusal := self._guests.refusal_of_host(host, int(port)):
            raise RegistrationRefused(refusal)

    def _check(self, said: Announcement, last: Registration | None) -> None:
        age = self._wall_clock() - said.issued_at
        if not -AHEAD_SECONDS_MAX <= age <= AGE_SECONDS_MAX:
            raise WrongTime(said.url, "issued too long ago, or in the future: the clocks differ")
        if last is not None and said.issued_at <= last.issued_at:
            raise RegistrationRefused("not newer than the last one")
        self._forget()
        if said.url not in self._registered and len(self._registered) >= WORKERS_MAX:
            raise RegistrationRefused(f"{WORKERS_MAX} workers are registered already")

    def _forget(self) -> None:
        """Drop registrations that expired and whose announcement is too old to be replayed."""
        oldest = self._wall_clock() - AGE_SECONDS_MAX
        now = self._clock()
        for url, registration in tuple(self._registered.items()):
            if (
                registration.ends_at <= now
                and registration.issued_at < oldest
                and not self._kept(registration)
            ):
                del self._registered[url]


class RegistrationRefused(ValueError):
    """An announcement that is not accepted; the text says why."""


class WrongTime(RegistrationRefused):
    """It is the worker's, but not of this time."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(reason)
        self.url = url


class Announcement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker says about itself."""

    model: str
    url: str
    issued_at: float
    """Unix time, seconds."""
    leaving: bool = False


class Registration(msgspec.Struct):
    """A worker's last announcement, kept until it is too old to be replayed."""

    model: str
    issued_at: float
    ends_at: float
    """On the monotonic clock, seconds."""
    digest: bytes = b""
    """SHA-256 of the announcement, to recognize it."""
    passed_on: bool = False
    """Whether it came through another gateway, and not from the worker."""


class RegisteredWorkers:
    """Provides the registered workers of one model."""

    def __init__(self, registrations: Registrations, model: str) -> None:
        self._registered = registrations
        self._model = model

    async def watch(self) -> AsyncIterator[News]:
        """Yield the workers that register, and those that leave or expire."""
        known: set[str] = set()
        while True:
            live = self._registered.live(self._model)
            for url in sorted(live.keys() - known):
                yield News(url, here=True, guest=True)
            for url in sorted(known - live.keys()):
                yield News(url, here=False)
            known = set(live)
            if live == self._registered.live(self._model):
                await self._registered.changed(self._model, min(live.values(), default=None))


def _canonical(text: str) -> str:
    """Return the one form in which we write a worker's URL. Raises RegistrationRefused."""
    if len(text) > _URL_BYTES_MAX:
        raise RegistrationRefused("the url is too long")
    try:
        url = URL(text)
        if "[" in text:
            ipaddress.IPv6Address(url.host or "")
    except ValueError as error:
        raise RegistrationRefused(f"the url can't be read: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise RegistrationRefused("the url must be http:// or https://")
    origin = str(url.origin())
    if str(url).rstrip("/") != origin:
        raise RegistrationRefused("the url must be a host and a port, and nothing else")
    return origin
