"""A call to a worker of ours: a future, without a task, that outlives a stale connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from backends.adapters.answer_reader import AnswerReader
from backends.adapters.credentials import UNKNOWN, Credentials, Signature
from backends.adapters.statuses import REFUSAL_BYTES_MAX, Refuse
from backends.protocol import InvalidAnswer, WorkerBusy, WorkerFailed, WorkerTimeout

_OK = 200

T = TypeVar("T")


class WorkerCall(asyncio.Future[T], Generic[T]):
    """One request and its coming answer. Canceling it closes its connection."""

    def __init__(
        self,
        caller: Caller,
        head: bytes,
        claims: bytes,
        body: bytes,
        bytes_max: int,
        timeout_seconds: float,
        read: Callable[[bytes | bytearray], T],
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop=loop)
        self.head, self.claims, self.body = head, claims, body
        self.signature: Signature | None = None
        self.is_open = True
        """Whether nothing had to be signed when it was sent."""
        self.bytes_max = bytes_max
        self.connection: Carrier | None = None
        self.dialing: asyncio.Task[None] | None = None
        self.process = b""
        """The id of the process that answered, if it sent one."""
        self.was_sent = False
        """Whether it was sent before, on a connection that turned out to be closed."""
        self._repeated = False
        """Whether it was repeated because the worker asked who we are."""
        self._caller = caller
        self._timeout_seconds = timeout_seconds
        self._read = read
        self._timer = loop.call_later(timeout_seconds, self._late)

    def cancel(self, msg: object = None) -> bool:
        """Stop waiting for the answer, and tell the worker so."""
        canceled = super().cancel(msg)
        if canceled:
            self._let_go()
        return canceled

    def fail(self, error: Exception) -> None:
        """End it with an error, unless it has already ended."""
        if not self.done():
            self.set_exception(error)
            self._let_go()

    def answered(self, status: int, content: bytes | bytearray, answer: AnswerReader) -> None:
        """End it with an answer; its connection is the caller's to keep or to close."""
        self.connection, self.process = None, answer.process
        url, retry_after = self._caller.url, answer.retry_after
        credentials = self._caller.credentials
        if credentials is not None and not credentials.believes(
            self.signature, answer, content, is_open=self.is_open
        ):
            self._disbelieved(status, credentials)
            return
        if status != _OK:
            shown = bytes(content[:REFUSAL_BYTES_MAX])
            self.fail(self._caller.refuse(url, status, shown, retry_after))
            return
        try:
            result = self._read(content)
        except ValueError as error:
            self.fail(InvalidAnswer(url, str(error)))
        else:
            self.set_result(result)
            self._let_go()

    def _disbelieved(self, status: int, credentials: Credentials) -> None:
        """Send it once more if the worker asks who we are; end it if somebody else answered."""
        url = self._caller.url
        if status == _OK:
            self.fail(InvalidAnswer(url, "the answer is not signed by the worker"))
        elif status != UNKNOWN:
            self.fail(WorkerFailed(url, f"{status}, not signed by the worker"))
        elif self._repeated:
            self.fail(WorkerFailed(url, "401, though we proved who we are"))
        else:
            self._repeated = True
            credentials.refused(self.signature)
            if self.claims:
                self._caller.start(self)
            else:
                self.fail(WorkerBusy(url, "it asks who we are", 0.0))

    def stale(self) -> None:
        """Try again, once: the server had closed the kept connection it was sent on."""
        self.connection, self.was_sent = None, True
        self._caller.dial(self)

    def _late(self) -> None:
        reason = f"no answer in {self._timeout_seconds:.3f} s"
        self.fail(WorkerTimeout(self._caller.url, reason))

    def _let_go(self) -> None:
        """Drop references that lead back here, and stop work that no one needs."""
        self._timer.cancel()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.call = None
            connection.close()
        dialing, self.dialing = self.dialing, None
        if dialing is not None:
            dialing.cancel()


class Caller(Protocol):
    """The part of `Connections` that a call uses."""

    url: str
    refuse: Refuse
    credentials: Credentials | None

    def start(self, call: WorkerCall[Any]) -> None:
        """Begin a call."""
        ...

    def dial(self, call: WorkerCall[Any]) -> None:
        """Begin it on a fresh connection."""
        ...


class Carrier(Protocol):
    """The connection that a call is on."""

    call: WorkerCall[Any] | None

    def close(self) -> None:
        """Close it at once."""
        ...
