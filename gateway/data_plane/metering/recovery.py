"""Replays the journals of dead processes, segment by segment.

Replaying twice is harmless, because the ledger charges a request once. What the ledger can never
accept is kept in a file next to the journal for a person to look at: intact records that can't be
decoded, and usage that names something a restored database does not know.
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
from gateway.data_plane.metering.messages import Ledger, UsageLine

log = structlog.get_logger()


class Adopter:
    """Takes over the journals of dead processes."""

    def __init__(
        self,
        journal: Journal,
        book: LeaseBook,
        ledger: Ledger,
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self._journal = journal
        self._book = book
        self._ledger = ledger
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
        kept = 0
        try:
            for segment in await self._in_thread(abandoned.segments):
                if segment not in self._replayed:
                    refused = await self._replay(abandoned, segment)
                    if refused:
                        kept += refused
                        continue
                    self._replayed.add(segment)
                await self._in_thread(abandoned.delete, segment)
                self._replayed.discard(segment)
            if not kept:
                await self._in_thread(abandoned.forget)
        except OSError as error:  # other folders may work
            log.error("journal not adopted", folder=str(abandoned.folder), reason=str(error))

    async def _replay(self, abandoned: Abandoned, segment: Path) -> int:
        """Replay a segment; return how many of its records the ledger refuses, which are kept."""
        lines = await self._known(abandoned, segment)
        confirmed = asyncio.Event()
        left = len(lines)

        def one_less() -> None:
            nonlocal left
            left -= 1
            if not left:
                confirmed.set()

        entries = [Settlement(line.request_id, line.cost_nanos, line) for line in lines]
        for entry in entries:
            entry.answered = True
            entry.unknown = entry.line.unknown
            entry.done = one_less
            self._book.replay(entry)
        if entries:
            await confirmed.wait()
        refused = [bytes(entry.encoded()) for entry in entries if entry.error is not None]
        if refused:
            await self._in_thread(abandoned.keep, segment, refused)
        log.info(
            "journal replayed",
            segment=str(segment),
            requests=len(lines) - len(refused),
            refused=len(refused),
        )
        return len(refused)

    async def _known(self, abandoned: Abandoned, segment: Path) -> list[UsageLine]:
        """Return a segment's usage lines; set aside what the ledger can never take.

        That is what can't be decoded, and usage by a key or at a price that a restored database
        does not know: it would belong to nobody in its books.
        """
        lines, aside = await self._in_thread(_decode, abandoned, segment)
        if aside:
            log.error("journal records unreadable", segment=str(segment), records=len(aside))
        strangers = await self._ledger.strangers(lines) if lines else set()
        if strangers:
            log.error(
                "usage by keys or at prices that the database does not know",
                segment=str(segment),
                requests=sorted(strangers),
            )
            aside += [msgspec.json.encode(line) for line in lines if line.request_id in strangers]
        if aside:
            await self._in_thread(abandoned.set_aside, segment, aside)
        return [line for line in lines if line.request_id not in strangers]


def _decode(abandoned: Abandoned, segment: Path) -> tuple[list[UsageLine], list[bytes]]:
    """Return a segment's usage lines, and the records that can't be decoded."""
    lines, unreadable = [], []
    for record in abandoned.read(segment):
        try:
            lines.append(msgspec.json.decode(record, type=UsageLine))
        except msgspec.MsgspecError:
            unreadable.append(record)
    return lines, unreadable
