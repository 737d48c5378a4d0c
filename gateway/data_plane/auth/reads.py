"""Keys read from the database for many requests at once.

One statement is under way at a time; what is asked for meanwhile goes into the next. A key that a
request waits for is read at once; one that is only read again waits a little for others. While the
database doesn't answer, requests wait `wait_seconds` at most, and after a failure none waits until
`retry_seconds` are over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog

from gateway.snapshots import KeySnapshot, MacSecrets

_READ_AT_ONCE_MAX = 500
_WAITING_MAX = 10_000
_GATHER_SECONDS = 0.1
_TURNS = 20
"""Turns of the loop that an answer needs at most from the socket to the request."""

log = structlog.get_logger()


class KeyStoreUnavailable(Exception):
    """The key store does not answer."""


class KeyStore(Protocol):
    """Where keys are looked up by digest."""

    async def find(self, digests: Sequence[bytes]) -> Mapping[bytes, KeySnapshot]:
        """Return those of the keys that exist and are not revoked. Raises KeyStoreUnavailable."""
        ...

    async def mac_secrets(self) -> MacSecrets:
        """Return the secrets that keys carry a MAC under. Raises KeyStoreUnavailable."""
        ...


class ReadRules(msgspec.Struct, frozen=True, kw_only=True):
    """How long is waited for the store, in seconds."""

    wait_seconds: float = 0.25
    """For a request whose key this process does not know."""
    retry_seconds: float = 2.0
    """Until a store that failed or was too slow is asked again."""


Read = KeySnapshot | KeyStoreUnavailable | None
"""What became of a read: a key, no key, or no answer."""


class KeyReads:
    """The reads of one process. `read_` is told of each key that was read, or of its absence."""

    def __init__(
        self,
        store: KeyStore,
        read_: Callable[[bytes, KeySnapshot | None], None],
        rules: ReadRules,
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._read = read_
        self._rules = rules
        self._monotonic = monotonic
        self._queued: dict[bytes, asyncio.Future[Read]] = {}
        """Requests wait for these."""
        self._aged: dict[bytes, None] = {}
        """To be read again; nobody waits for them. A dict, for its order."""
        self._under_way: dict[bytes, asyncio.Future[Read] | None] = {}
        self._outdated: dict[bytes, asyncio.Future[Read] | None] = {}
        """Of the statement under way too, and changed since it began."""
        self._hurry = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._retry_at = float("-inf")

    @property
    def failed(self) -> bool:
        """Whether the store failed so lately that it isn't asked."""
        return self._monotonic() < self._retry_at

    def again(self, digest: bytes) -> None:
        """Read a key again soon, unless that is on its way or the store has just failed."""
        if not (digest in self._queued or digest in self._under_way or self.failed):
            self._aged[digest] = None
            self._run()

    def outdate(self, digest: bytes) -> None:
        """Let what is being read of a key be the answer to those alone who wait for it already."""
        if digest in self._under_way:
            self._outdated[digest] = self._under_way.pop(digest)

    async def wait(self, digest: bytes) -> KeySnapshot | None:
        """Return a key, or None if there is none. Raises KeyStoreUnavailable."""
        if self.failed:
            raise KeyStoreUnavailable
        future = self._future(digest)
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

    def _future(self, digest: bytes) -> asyncio.Future[Read]:
        future = self._queued.get(digest) or self._under_way.get(digest)
        if future is not None:
            return future
        future = asyncio.get_running_loop().create_future()
        if digest in self._under_way:
            self._under_way[digest] = future
            return future
        if len(self._queued) >= _WAITING_MAX:
            raise KeyStoreUnavailable
        self._queued[digest] = future
        self._aged.pop(digest, None)
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
        try:
            found = await self._store.find(list(self._under_way))
        except Exception as error:  # this is the only reader
            self._fail()
            known = isinstance(error, KeyStoreUnavailable)
            log.warning("keys not read", reason=str(error), exc_info=None if known else error)
            self._aged.clear()
            self._answer(self._queued, lambda _digest: KeyStoreUnavailable())
            self._answer(self._under_way, lambda _digest: KeyStoreUnavailable())
            self._answer(self._outdated, lambda _digest: KeyStoreUnavailable())
            return
        self._retry_at = float("-inf")
        for digest in self._under_way:
            self._read(digest, found.get(digest))
        self._answer(self._under_way, found.get)
        self._answer(self._outdated, found.get)

    def _answer(
        self,
        waiting: dict[bytes, asyncio.Future[Read]] | dict[bytes, asyncio.Future[Read] | None],
        result: Callable[[bytes], Read],
    ) -> None:
        for digest, future in waiting.items():
            if future is not None:
                future.set_result(result(digest))
        waiting.clear()

    def _fail(self) -> None:
        self._retry_at = self._monotonic() + self._rules.retry_seconds
