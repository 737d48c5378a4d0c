"""What goes wrong on purpose: the next calls of an operation fail in a way of their own.

refused: the connection ends before the request is read. busy: 429. error_before: 500, and nothing
happened. hang: nothing happens until time has passed or `release`. Then, after the operation ran:
lost: the connection ends without an answer. error_after: 500 once, the answer is kept for the key.
error_kept: 500, which is what the key answers from then on. hang_after: the answer comes late.
"""

import asyncio
from dataclasses import dataclass, field
from fnmatch import fnmatch

BEFORE = ("refused", "busy", "error_before", "hang")
AFTER = ("lost", "error_after", "error_kept", "hang_after")


@dataclass
class StripeFault:
    """One way to fail, for so many calls of the operations that match (`payment_intents.*`)."""

    kind: str
    operation: str = "*"
    times: int = 1
    seconds: float | None = None
    """How long a call hangs; until `release` if None."""


@dataclass
class StripeFaults:
    """The faults that wait for a call, the first that matches first."""

    rules: list[StripeFault] = field(default_factory=list)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def add(
        self, kind: str, operation: str = "*", *, times: int = 1, seconds: float | None = None
    ) -> None:
        """Let the next `times` calls of an operation fail."""
        assert kind in {*BEFORE, *AFTER}, kind
        self._released.clear()
        self.rules.append(StripeFault(kind, operation, times, seconds))

    def clear(self) -> None:
        """Forget the faults that have not happened."""
        self.rules.clear()

    def release(self) -> None:
        """Let what hangs go on."""
        self._released.set()

    def take(self, operation: str) -> StripeFault | None:
        """Give the fault of this call, if there is one."""
        for rule in self.rules:
            if fnmatch(operation, rule.operation):
                rule.times -= 1
                if rule.times == 0:
                    self.rules.remove(rule)
                return rule
        return None

    async def wait(self, fault: StripeFault) -> None:
        """Hang."""
        try:
            await asyncio.wait_for(self._released.wait(), fault.seconds)
        except TimeoutError:
            return
