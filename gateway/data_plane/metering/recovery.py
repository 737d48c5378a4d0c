"""Recovers the journals of dead processes: replays their usage to the ledger.

One segment at a time; it is removed once the ledger has all of it. What fails is logged and left
for the next look: nothing is charged twice by a second replay. A record that can't be decoded is
set aside for a person to look at, and the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.journal import Abandoned, Journal
from gateway.data_plane.metering.leases import Settlement
from gateway.data_plane.metering.messages import UsageLine

log = structlog.get_logger()


class Adopter:
    """Takes over the journals of dead processes."""

    def __init__(
        self, journal: Journal, book: LeaseBook, in_thread: Callable[..., Awaitable[Any]]
    ) -> None:
        self._journal = journal
        self._book = book
        self._in_thread = in_thread
        self._replayed: set[Path] = set()
        """Segments that the ledger has completely, and that are still on disk."""

    async def look(self) -> None:
        """Replay every abandoned journal; never raises."""
        found: list[Abandoned] = []
        try:
            found = await self._in_thread(self._journal.abandoned)
            for abandoned in found:
                await self._inherit(abandoned)
        except Exception:
            log.exception("journals not adopted")
        finally:
            for abandoned in found:
                abandoned.leave()

    async def _inherit(self, abandoned: Abandoned) -> None:
        try:
            for segment in await self._in_thread(abandoned.segments):
                if segment not in self._replayed:
                    await self._replay(abandoned, segment)
                    self._replayed.add(segment)
                await self._in_thread(abandoned.delete, segment)
                self._replayed.discard(segment)
            await self._in_thread(abandoned.forget)
        except OSError as error:  # other folders may work
            log.error("journal not adopted", folder=str(abandoned.folder), reason=str(error))

    async def _replay(self, abandoned: Abandoned, segment: Path) -> None:
        lines, unreadable = await self._in_thread(_decode, abandoned, segment)
        if unreadable:
            log.error("journal records unreadable", segment=str(segment), records=len(unreadable))
            await self._in_thread(abandoned.set_aside, segment, unreadable)
        confirmed = asyncio.Event()
        left = len(lines)

        def one_less() -> None:
            nonlocal left
            left -= 1
            if not left:
                confirmed.set()

        for line in lines:
            entry = Settlement(line.request_id, line.cost_nanos, line)
            entry.answered = True
            entry.done = one_less
            self._book.replay(entry)
        if lines:
            await confirmed.wait()
        log.info("journal replayed", segment=str(segment), requests=len(lines))


def _decode(abandoned: Abandoned, segment: Path) -> tuple[list[UsageLine], list[bytes]]:
    """Return a segment's usage lines, and the records that can't be decoded."""
    lines, unreadable = [], []
    for record in abandoned.read(segment):
        try:
            lines.append(msgspec.json.decode(record, type=UsageLine))
        except msgspec.MsgspecError:
            unreadable.append(record)
    return lines, unreadable
