"""The latest requests of each organization, as a background job writes them down for its console.

Of a request it keeps what is known of its answer, and nothing that was in it; what it cost is in
the ledger alone. Refusals and successes have rooms of their own, so that neither pushes the other
out. A room that is full loses its oldest, and remembers how many it lost. Keeping costs a few
calls, never blocks and never raises; a process that dies loses what it kept since the last drain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from gateway.data_plane.tallies import ERRORS_FROM


class RequestEntry(msgspec.Struct, frozen=True, gc=False):
    """A request that was answered, or whose client left."""

    request_id: str
    """UUIDv7: it has the time."""
    organization_id: str
    key_id: str
    model_id: str
    """Empty if the request ended before its model was known."""
    status: int
    code: str
    """Of the error; empty if there was none."""
    seconds: float
    tokens: int | None
    """As they were counted; None if the request ended before that."""
    original_id: str | None
    """The request whose answer this one was given again, free of charge."""


class Room:
    """What is kept of one organization's refusals, or of its successes."""

    __slots__ = ("entries", "missed")

    def __init__(self) -> None:
        self.entries: deque[RequestEntry] = deque()
        self.missed = 0
        """How many were lost that came before the entries."""


Rooms = Mapping[tuple[str, bool], Room]
"""By organization, and whether they are for refusals."""


class RecentRequests:
    """Keeps the latest requests since the last drain."""

    def __init__(self, *, entries_max: int, organization_entries_max: int) -> None:
        """`entries_max` bounds all entries, beyond the one that each room may have.

        It bounds the rooms too: past it, an organization that has none isn't even told what was
        lost. `organization_entries_max` bounds each room.
        """
        self._entries_max = entries_max
        self._room_max = organization_entries_max
        self._rooms: dict[tuple[str, bool], Room] = {}
        self._count = 0

    def keep(self, entry: RequestEntry) -> None:
        """Keep a request, in the place of an older one if there is no room."""
        name = (entry.organization_id, entry.status >= ERRORS_FROM)
        room = self._rooms.get(name)
        if room is None:
            if len(self._rooms) >= self._entries_max:
                return
            room = self._rooms[name] = Room()
        kept = len(room.entries)
        if kept and (kept >= self._room_max or self._count >= self._entries_max):
            room.entries.popleft()
            room.missed += 1
        else:
            self._count += 1
        room.entries.append(entry)

    @contextmanager
    def draining(self) -> Iterator[Rooms]:
        """Hand the rooms to the block and start over; if it raises, what they hold is kept on."""
        drained, count = self._rooms, self._count
        self._rooms, self._count = {}, 0
        try:
            yield drained
        except BaseException:
            newer = self._rooms
            self._rooms, self._count = drained, count
            for name, room in newer.items():
                for entry in room.entries:
                    self.keep(entry)
                if name in self._rooms:
                    self._rooms[name].missed += room.missed
            raise
