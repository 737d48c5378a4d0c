"""Runs a coroutine like a task, but starts at once: one that never waits takes no turn of the loop.

It is a task implementation of our own in the sense of asyncio's "Extending": inside the coroutine
`asyncio.current_task()` returns it, so that timeouts can cancel it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from asyncio import _enter_task, _leave_task  # isort: skip - documented under "Extending"

T = TypeVar("T")


class Driver(Generic[T]):
    """One coroutine, from its start to its end. Make it inside the running loop, then `start` it.

    `finished` is called once, with what the coroutine returned, or None if it was canceled. A
    coroutine that raises anything else is our mistake: the loop's handler is told.
    """

    __slots__ = (
        "_cancels",
        "_coroutine",
        "_finished",
        "_loop",
        "_must_cancel",
        "_waits_for",
    )

    def __init__(
        self,
        coroutine: Coroutine[Any, None, T],
        finished: Callable[[T | None], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._coroutine: Coroutine[Any, None, T] | None = coroutine
        self._finished = finished
        self._loop = loop
        self._waits_for: asyncio.Future[Any] | None = None
        self._must_cancel = False
        self._cancels = 0

    def start(self) -> None:
        """Run the coroutine until it first waits. No other task may be running."""
        self._step()

    def done(self) -> bool:
        """Tell whether the coroutine has ended."""
        return self._coroutine is None

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 - the signature of a task's
        """Raise CancelledError in the coroutine at its next step; see `asyncio.Task.cancel`."""
        if self._coroutine is None:
            return False
        self._cancels += 1
        if self._waits_for is None or not self._waits_for.cancel():
            self._must_cancel = True
        return True

    def cancelling(self) -> int:
        """Return how many cancellations are pending; see `asyncio.Task.cancelling`."""
        return self._cancels

    def uncancel(self) -> int:
        """Take one cancellation back; see `asyncio.Task.uncancel`."""
        self._cancels = max(self._cancels - 1, 0)
        return self._cancels

    def _step(self, _woken_by: object = None) -> None:
        coroutine = self._coroutine
        assert coroutine is not None, "a step after the end"
        self._waits_for = None
        result: T | None = None
        _enter_task(self._loop, self)  # type: ignore[arg-type]
        try:
            if self._must_cancel:
                self._must_cancel = False
                awaited = coroutine.throw(asyncio.CancelledError())
            else:
                awaited = coroutine.send(None)
        except StopIteration as end:
            self._coroutine, result = None, end.value
        except asyncio.CancelledError:
            self._coroutine = None
        except Exception as error:  # noqa: BLE001 - there is nobody else to tell
            self._coroutine = None
            self._loop.call_exception_handler({"message": "a request failed", "exception": error})
        else:
            self._wait_for(awaited)
        finally:
            _leave_task(self._loop, self)  # type: ignore[arg-type]
        if self._coroutine is None:
            self._finished(result)

    def _wait_for(self, awaited: Any) -> None:
        if awaited is None:  # `asyncio.sleep(0)`
            self._loop.call_soon(self._step)
            return
        awaited._asyncio_future_blocking = False  # noqa: SLF001 - asyncio's protocol of awaiting
        self._waits_for = awaited
        awaited.add_done_callback(self._step)
        if self._must_cancel and awaited.cancel():
            self._must_cancel = False
