"""Which process answers at a worker's address: what one computes proves nothing about the next.

A worker that ends may come back at once, at the same address, with another model. So only vectors
from examined processes are trusted, and if anything suggests that a worker's process may have
ended, the worker gets no work until it is examined. Our own workers send an id of their process
with each answer. For a stock engine, we only know when a connection ended: its answers are trusted
if that did not happen since they were requested.
"""

from __future__ import annotations

UNTOLD = b""
"""The id of a process that sends none."""
_PROCESSES_MAX = 4
"""Several may answer at one address: a draining one and its successor, or those behind a load
balancer."""


class Answerers:
    """The processes that were examined at one worker's address."""

    def __init__(self) -> None:
        self.doubted = False
        """Whether a process that was not examined may now answer there."""
        self.doubts = 0
        """How often there was a reason to doubt."""
        self._examined: tuple[bytes, ...] = (UNTOLD,)

    def doubt(self) -> None:
        """Note that another process may answer there from now on."""
        self.doubted = True
        self.doubts += 1

    def believes(self, process: bytes, doubts: int) -> bool:
        """Whether a process that was asked at this number of doubts is one that was examined."""
        return process in self._examined and (process != UNTOLD or doubts == self.doubts)

    def examined(self, processes: set[bytes], doubts: int) -> None:
        """Trust those that passed an examination that began at this number of doubts."""
        told = processes - {UNTOLD}
        if told:
            known = [one for one in self._examined if one not in told | {UNTOLD}]
            self._examined = (*told, *known)[:_PROCESSES_MAX]
        elif processes:
            self._examined = (UNTOLD,)
        if told == processes or doubts == self.doubts:
            self.doubted = False
