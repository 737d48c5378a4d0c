"""Which process answers at a worker's address: what one computes proves nothing about the next.

A worker that ends may be back at once, at the same address, with another model. So vectors are
believed of the processes that were examined alone, and a worker of which something says that its
process may have ended gets no work until it is examined. Our own workers tell an id of their
process with each answer. Of a stock engine nothing is known but that a connection ended: its
answers are believed if nothing of the kind happened since they were asked for.
"""

from __future__ import annotations

UNTOLD = b""
"""The id of a process that tells none."""
_PROCESSES_MAX = 4
"""Several may answer at one address: one that drains and the next, or those behind a balancer."""


class Answerers:
    """The processes that were examined at one worker's address."""

    def __init__(self) -> None:
        self.doubted = False
        """Whether another process may answer there now than those that were examined."""
        self.doubts = 0
        """How often there was a reason to doubt."""
        self._examined: tuple[bytes, ...] = (UNTOLD,)

    def doubt(self) -> None:
        """Note that another process may answer there from now on."""
        self.doubted = True
        self.doubts += 1

    def believes(self, process: bytes, doubts: int) -> bool:
        """Whether a process that was asked at so many doubts is one that was examined."""
        return process in self._examined and (process != UNTOLD or doubts == self.doubts)

    def examined(self, processes: set[bytes], doubts: int) -> None:
        """Believe those that passed an examination that began at so many doubts."""
        told = processes - {UNTOLD}
        if told:
            known = [one for one in self._examined if one not in told | {UNTOLD}]
            self._examined = (*told, *known)[:_PROCESSES_MAX]
        elif processes:
            self._examined = (UNTOLD,)
        if told == processes or doubts == self.doubts:
            self.doubted = False
