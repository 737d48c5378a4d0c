"""The journal acknowledges what the ledger takes too long to commit.

Entries wait in the order in which they were settled. Those that wait longer than `commit_seconds`,
and all of them while the ledger does not answer, are appended to the journal; the ledger gets them
later. A segment is removed once the ledger has everything that is in it.

When the journal fails too, a client that has waited for `settle_seconds` is told that its charge is
unknown. That the charge must be credited back is journaled as soon as the journal works again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog
from msgspec.structs import replace

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.journal import Journal, JournalError
from gateway.data_plane.metering.leases import Settlement
from gateway.data_plane.metering.port import CreditUnavailable

_T = TypeVar("_T")
log = structlog.get_logger()


class Journaling:
    """The entries that wait to be durable, and the segments of this process's journal."""

    def __init__(
        self,
        journal: Journal,
        book: LeaseBook,
        is_reachable: Callable[[], bool],
        is_late: Callable[[], bool],
        *,
        commit_seconds: float,
        settle_seconds: float,
    ) -> None:
        self._journal = journal
        self._book = book
        self._is_reachable = is_reachable
        """Whether the ledger answered the last tick."""
        self._is_late = is_late
        """Whether the ledger has been silent for so long that requests rely on the journal."""
        self._commit_seconds = commit_seconds
        self._settle_seconds = settle_seconds
        self._thread = ThreadPoolExecutor(1, "journal")
        self._awaiting: deque[Settlement] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._journaling: asyncio.Task[None] | None = None
        self._segments: Counter[Path] = Counter()
        self.requests = 0
        """Requests acknowledged by the journal, since the ledger took too long."""
        self._appending = 0
        """Appends in progress; which segment each goes to is known only when it ends."""
        self._finished: set[Path] = set()
        """Segments that the ledger has completely, to be removed."""
        self._failed: set[Settlement] = set()
        """The journal did not accept them; the ledger still may, until they are given up."""
        self.free_bytes = math.nan
        """Bytes free on its disk when last measured."""
        self.failures = 0
        """Attempts to write that failed."""
        self.has_failed = False
        """Whether the last attempt to write failed."""
        self._unknown: list[Settlement] = []
        """Given up, and not in the journal."""

    async def open(self) -> None:
        """Open the journal. Raises JournalError if its folder can't be used."""
        await self.in_thread(self._journal.open)

    async def close(self) -> None:
        """Journal what nobody has acknowledged, and close the journal."""
        if self._timer:
            self._timer.cancel()
        if self._journaling:
            await self._journaling
        await self._append([entry for entry in self._awaiting if entry.done])
        for entry in list(self._failed):
            self._give_up(entry)
        await self._append([])
        lost = [entry.request_id for entry in self._unknown if entry.unknown]
        if lost:
            log.error("usage unknown", requests=lost)
        await self.clean(stuck=True)
        await self.in_thread(self._journal.close)
        self._thread.shutdown()

    def watch(self, entry: Settlement) -> None:
        """Journal an entry if the ledger takes too long."""
        self._awaiting.append(entry)
        if self._timer is None:
            self._wait_for(entry)

    def look(self) -> None:
        """Journal what has waited too long, in a task of its own if there is any."""
        if self._timer:
            self._timer.cancel()
        self._timer = None
        if self._journaling is not None:
            return
        latest = time.monotonic() - (self._commit_seconds if self._is_reachable() else 0)
        due = []
        while self._awaiting and (
            self._awaiting[0].done is None or self._awaiting[0].queued_at <= latest
        ):
            entry = self._awaiting.popleft()
            if entry.done is not None:
                due.append(entry)
        if due:
            self._journaling = asyncio.create_task(self._journal_due(due))
        elif self.has_failed:
            self._journaling = asyncio.create_task(self._probe())
        elif self._awaiting:
            self._wait_for(self._awaiting[0])

    @property
    def size_bytes(self) -> int:
        """Bytes of the journal on disk."""
        return self._journal.size_bytes

    @property
    def bytes_max(self) -> int:
        """Most bytes of it."""
        return self._journal.bytes_max

    async def measure(self) -> None:
        """Measure how much room its disk has. Raises OSError."""
        self.free_bytes = float(await self.in_thread(self._journal.free_bytes))

    def count_off(self, entries: Sequence[Settlement]) -> None:
        """Subtract what the ledger has confirmed from the counts of the segments."""
        for entry in entries:
            if entry.segment is not None and not entry.pending and not entry.unknown:
                segment, entry.segment = entry.segment, None
                self._segments[segment] -= 1
                if not self._segments[segment]:
                    self._finished.add(segment)

    async def clean(self, *, stuck: bool = False) -> None:
        """Remove finished segments, and on request retry those that are `stuck`.

        A segment that stays only takes up space: if it is replayed, nothing is charged again.
        During an append none is removed, since it may be the one being written to.
        """
        if stuck:
            self._finished |= {segment for segment, left in self._segments.items() if not left}
        while self._finished and not self._appending:
            segment = self._finished.pop()
            if self._segments[segment]:
                continue  # written to again
            try:
                await self.in_thread(self._journal.forget, segment)
                del self._segments[segment]
            except OSError as error:
                self._segments[segment] = 0  # retried when the next journals are adopted
                log.error("segment not removed", segment=str(segment), reason=str(error))

    async def in_thread(self, call: Callable[..., _T], *args: Any) -> _T:
        """Call the journal in its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)

    async def _probe(self) -> None:
        """Find out whether the journal works again."""
        try:
            await self.in_thread(self._journal.probe)
        except JournalError as error:
            self._fail(error)
        else:
            self._works()
        finally:
            self._journaling = None
            if self._awaiting:
                self._wait_for(self._awaiting[0])

    def _fail(self, error: JournalError) -> None:
        if not self.has_failed:
            log.error("journal failed", reason=str(error))
        self.failures += 1
        self.has_failed = True
        self._book.is_closed = self._is_late()

    def _works(self) -> None:
        if self.has_failed:
            log.info("journal works again")
        self.has_failed = self._book.is_closed = False

    def _give_up(self, entry: Settlement) -> None:
        if entry in self._failed:
            self._failed.remove(entry)
            self._book.give_up(entry)
            if entry.unknown:
                self._unknown.append(entry)

    def _wait_for(self, entry: Settlement) -> None:
        due = entry.queued_at + self._commit_seconds if self._is_reachable() else 0
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(due - time.monotonic(), self.look)

    async def _journal_due(self, due: list[Settlement]) -> None:
        try:
            await self._append(due)
        finally:
            self._journaling = None
            if self._awaiting:
                self._wait_for(self._awaiting[0])

    async def _append(self, due: list[Settlement]) -> None:
        kept = [entry for entry in due if self._may_answer(entry)]
        unknown, self._unknown = [entry for entry in self._unknown if entry.unknown], []
        if not kept and not unknown:
            return
        for entry in kept:
            entry.answered = True
        records = [bytes(entry.encoded()) for entry in kept]
        records += [msgspec.json.encode(replace(entry.line, unknown=True)) for entry in unknown]
        self._appending += 1
        try:
            segment = await self.in_thread(self._journal.append, records)
        except JournalError as error:
            self._fail(error)
            self._unknown += unknown
            self._failed.update(kept)
            for entry in kept:
                entry.answered = False
                asyncio.get_running_loop().call_later(self._settle_seconds, self._give_up, entry)
            return
        finally:
            self._appending -= 1
        self._works()
        self.requests += len(kept)
        for entry in (*kept, *unknown):
            if entry.pending or entry.unknown:
                entry.segment = segment
                self._segments[segment] += 1
        for entry in kept:
            entry.finish()
        if not self._segments[segment]:
            self._finished.add(segment)
        await self.clean()

    def _may_answer(self, entry: Settlement) -> bool:
        """Return whether the journal may answer an entry; else it is refused."""
        deadline = min(lease.deadline for lease in (entry.lease, entry.budget) if lease)
        if entry.sent or time.monotonic() < deadline:
            return True
        # its lease has expired, so the ledger may have granted its credit to another
        self._book.refuse(entry, CreditUnavailable())
        return False
