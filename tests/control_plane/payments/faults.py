"""What goes wrong in one process: its end at any statement or call, and a Stripe that fails.

A process reaches a point before each SQL statement, before each commit, and before and after each
call to Stripe. A `Fault` says at which of the next points it strikes. After a crash every later
point of the same process raises too: it tidies up nothing that a killed process would leave.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

import httpx
from sqlalchemy import event

from gateway.fake_stripe.app import FakeStripeApp
from gateway.storage.database import Database

Kind = Literal[
    "crash",
    "cancel",
    "unreachable",
    "lost",
    "busy",
    "error_before",
    "error_after",
    "error_kept",
    "meanwhile",
]
ANYWHERE: tuple[Kind, ...] = ("crash", "cancel")
"""These strike at any point: the process ends, or the task is canceled as by a job's time limit."""
AT_STRIPE: tuple[Kind, ...] = (
    "unreachable",
    "lost",
    "busy",
    "error_before",
    "error_after",
    "error_kept",
    "meanwhile",
)
"""These strike at a call to Stripe. `lost`: it was done, and nobody heard; `meanwhile`: it is
answered well, but something else happens before it is."""

Meanwhile = Callable[[], Awaitable[None]]


class Crashed(BaseException):
    """The process was killed here."""


class Fault(NamedTuple):
    """What goes wrong, and how many points are passed before."""

    kind: Kind
    after: int


class Faults(httpx.AsyncBaseTransport):
    """The points of one process, and its way to Stripe."""

    def __init__(self, app: FakeStripeApp) -> None:
        self._app = app
        self._stripe = httpx.ASGITransport(app)  # type: ignore[arg-type]
        self.is_dead = False
        self._fault: Fault | None = None
        self._has_struck = False
        self._meanwhile: Meanwhile | None = None

    def expect(self, fault: Fault | None, meanwhile: Meanwhile | None = None) -> bool:
        """Let a fault strike from now on, or nothing; return whether the last one did."""
        has_struck, self._has_struck = self._has_struck, False
        self._fault, self._meanwhile = fault, meanwhile
        return has_struck

    def watch(self, database: Database) -> None:
        """Make points of the statements and commits of a database."""
        engine = database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", lambda *_: self._pass(ANYWHERE))
        event.listen(engine, "commit", lambda *_: self._pass(ANYWHERE))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass a call on to Stripe, with what goes wrong before, on the way and after it."""
        self._pass(ANYWHERE)
        kind = self._pass(AT_STRIPE)
        if kind == "unreachable":
            raise httpx.ConnectError("nobody listens", request=request)
        if kind == "meanwhile" and self._meanwhile:
            await self._meanwhile()
        if kind in ("busy", "error_before", "error_after", "error_kept"):
            self._app.fake.faults.add(kind)
        answer = await self._stripe.handle_async_request(request)
        if kind == "lost":
            raise httpx.ReadTimeout("no answer", request=request)
        self._pass(ANYWHERE)
        return answer

    def _pass(self, kinds: tuple[Kind, ...]) -> Kind | None:
        """Pass a point of some kinds of faults; raise or return what strikes there."""
        if self.is_dead:
            raise Crashed
        fault = self._fault
        if fault is None or fault.kind not in kinds:
            return None
        if fault.after:
            self._fault = fault._replace(after=fault.after - 1)
            return None
        self._fault, self._has_struck = None, True
        if fault.kind == "crash":
            self.is_dead = True
            raise Crashed
        if fault.kind == "cancel":
            task = asyncio.current_task()
            assert task
            task.cancel()
        return fault.kind


def crashed(error: BaseException) -> bool:
    """Tell whether an error is the end of the process, alone or among those of a group."""
    if isinstance(error, BaseExceptionGroup):
        return any(crashed(part) for part in error.exceptions)
    return isinstance(error, Crashed)
