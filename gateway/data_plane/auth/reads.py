"""Keys read from the database for many requests at once.

One statement runs at a time; keys asked for in the meantime go into the next one. A key that a
request waits for is read at once; a key that is only reread waits a little for others. While the
database doesn't respond, requests wait at most `wait_seconds`, and after a failure none waits until
`retry_seconds` have passed.

While the deployment's secret is being rotated, a key has a digest under each secret. All are in the
same statement, and the first names the key here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog

from gateway.data_plane.auth.keys import Digests
from gateway.snapshots import KeySnapshot, MacSecrets

_READ_AT_ONCE_MAX = 500
_WAITING_MAX = 10_000
_GATHER_SECONDS = 0.1
_TURNS = 20
"""Most turns of the loop that an answer takes from the socket to the request."""

log = structlog.get_logger()


class KeyStoreUnavailable(Exception):
    """The key store does not answer."""


class KeyStore(Protocol):
    """Where keys are looked up by digest."""

    async def find(self, digests: Sequence[bytes]) -> Mapping[bytes, KeySnapshot]:
        """Return the keys that exist and are not revoked. Raises KeyStoreUnavailable."""
        ...

    async def mac_secrets(self) -> MacSecrets:
        """Return the secrets that keys carry a MAC under. Raises KeyStoreUnavailable."""
        ...


class ReadRules(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait for the store, in seconds."""

    wait_seconds: float = 0.25
    """For a request whose key this process does not know."""
    retry_seconds: float = 2.0
    """Before asking a store again that failed or was too slow."""


Read = KeySnapshot | KeyStoreUnavailable | None
"""The outcome of a read: a key, no key, or no answer."""
ReadKey = Callable[[Digests, KeySnapshot | None, bytes | None], None]
"""Called for each key that was read: its digests, and the one that found it, or its absence."""


class _Wanted:
    """A key to be read, and who is waiting for it, if anyone."""

    __slots__ = ("digests", "future")

    def __init__(self, digests: Digests, future: asyncio.Future[Read] | None = None) -> None:
        self.digests = digests
        self.future = future


class KeyReads:
    """The reads of one process. `read_` is told of each key that was read, or of its absence."""

    def __init__(
        self,
        store: KeyStore,
        read_: ReadKey,
        rules: ReadRules,
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._read = read_
        self._rules = rules
        self._monotonic = monotonic
        self._queued: dict[bytes, _Wanted] = {}
        """Requests wait for these. By the first digest, as those below."""
        self._aged: dict[bytes, _Wanted] = {}
        """To be read again; nobody waits for them."""
        self._under_way: dict[bytes, _Wanted] = {}
        self._firsts: dict[bytes, bytes] = {}
        """The first digests of those under way, by their others."""
        self._outdated: dict[bytes, _Wanted] = {}
        """In the running statement too, and changed since it began."""
        self._hurry = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._retry_at = float("-inf")

    @property
    def failed(self) -> bool:
        """Whether the store failed too recently to be asked."""
        return self._monotonic() < self._retry_at

    def again(self, digests: Digests) -> None:
        """Reread a key soon, unless that is already under way or the store has just failed."""
        first = digests.first
        if not (first in self._queued or first in self._under_way or self.failed):
            self._aged[first] = _Wanted(digests)
            self._run()

    def outdate(self, digest: bytes) -> None:
        """Give the read in progress only to those who are already waiting for it."""
        first = self._firsts.get(digest, digest)
        if first in self._under_way:
            self._outdated[first] = self._under_way.pop(first)

    async def wait(self, digests: Digests) -> KeySnapshot | None:
        """Return a key, or None if there is none. Raises KeyStoreUnavailable."""
        if self.failed:
            raise KeyStoreUnavailable
        future = self._future(digests)
        await asyncio.wait([future], timeout=self._rules.wait_seconds)
        for _ in range(_TURNS):  # the answer may be here, and the loop late
            if future.done():
                break
            await asyncio.sleep(0)
        else:
            self._fail()
            raise KeyStoreUnavailable
        found = future.result()
        if isinstance(found, KeyStoreUnavailable):
            raise found
        return found

    async def close(self) -> None:
        """End the reads."""
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    def _future(self, digests: Digests) -> asyncio.Future[Read]:
        first = digests.first
        wanted = self._queued.get(first) or self._under_way.get(first)
        if wanted is not None:
            if wanted.future is None:
                wanted.future = asyncio.get_running_loop().create_future()
            return wanted.future
        if len(self._queued) >= _WAITING_MAX:
            raise KeyStoreUnavailable
        future = asyncio.get_running_loop().create_future()
        self._queued[first] = _Wanted(digests, future)
        self._aged.pop(first, None)
        self._hurry.set()
        self._run()
        return future

    def _run(self) -> None:
        if self._running is None:
            self._running = asyncio.create_task(self._read_all())

    async def _read_all(self) -> None:
        try:
            while self._queued or self._aged:
                if not self._queued:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._hurry.wait(), _GATHER_SECONDS)
                self._hurry.clear()
                await self._read_some()
        finally:
            self._running = None

    async def _read_some(self) -> None:
        for digest in list(self._queued)[:_READ_AT_ONCE_MAX]:
            self._under_way[digest] = self._queued.pop(digest)
        for digest in list(self._aged)[: _READ_AT_ONCE_MAX - len(self._under_way)]:
            self._under_way[digest] = self._aged.pop(digest)
        for first, wanted in self._under_way.items():
            self._firsts.update(dict.fromkeys(wanted.digests.others, first))
        try:
            found = await self._store.find([*self._under_way, *self._firsts])
        except Exception as error:  # this is the only reader
            self._fail()
            known = isinstance(error, KeyStoreUnavailable)
            log.warning("keys not read", reason=str(error), exc_info=None if known else error)
            self._aged.clear()
            for waiting in (self._queued, self._under_way, self._outdated):
                self._answer(waiting, lambda _wanted: KeyStoreUnavailable())
            return
        finally:
            self._firsts.clear()
        self._retry_at = float("-inf")

        def found_by(wanted: _Wanted) -> bytes | None:
            named = (wanted.digests.first, *wanted.digests.others)
            return next((digest for digest in named if digest in found), None)

        def result(wanted: _Wanted) -> KeySnapshot | None:
            digest = found_by(wanted)
            return None if digest is None else found[digest]

        for wanted in self._under_way.values():
            self._read(wanted.digests, result(wanted), found_by(wanted))
        self._answer(self._under_way, result)
        self._answer(self._outdated, result)

    @staticmethod
    def _answer(waiting: dict[bytes, _Wanted], result: Callable[[_Wanted], Read]) -> None:
        for wanted in waiting.values():
            if wanted.future is not None:
                wanted.future.set_result(result(wanted))
        waiting.clear()

    def _fail(self) -> None:
        self._retry_at = self._monotonic() + self._rules.retry_seconds
