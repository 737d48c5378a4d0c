"""Organizations whose ticks the ledger refuses: found by bisection, and set apart from all others.

A tick is all or nothing, so one organization whose usage can't be posted would block everyone's
credit. A refused tick is sent again in parts. The first part names no organization: if that is
refused too, nobody's books are at fault. Then its organizations are bisected until each one that is
refused alone is found. It is set apart: its requests are refused; usage whose responses were
already sent stays here and in the journal, and is retried from time to time in its own tick until
the ledger accepts it. Requests whose clients are still waiting are refused, because nothing in a
refused tick was applied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.leases import Settlement
from gateway.data_plane.metering.port import frozen_error

RETRY_SECONDS = 5.0
RETRY_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Part:
    """Some organizations of a refused tick, and what they used, sent without the others."""

    organizations: frozenset[str]
    entries: Sequence[Settlement] = ()


@dataclass(slots=True)
class SetApart:
    """An organization whose ticks are refused, and what it used that the ledger doesn't have."""

    retry_at: float
    pause_seconds: float = RETRY_SECONDS
    entries: list[Settlement] = field(default_factory=list)


class Refusals:
    """The parts of a refused tick that are still to be sent, and who was set apart."""

    def __init__(self, book: LeaseBook) -> None:
        self._book = book
        self._parts: list[Part] = []
        """Sent from the end."""
        self.apart: dict[str, SetApart] = {}

    @property
    def are_sought(self) -> bool:
        """Whether a refused tick is being sent in parts; all else waits for that."""
        return bool(self._parts)

    def due_at(self) -> float | None:
        """Return when the next of those set apart is tried again."""
        return min((one.retry_at for one in self.apart.values()), default=None)

    def next_part(self, now: float, entries_max: int) -> Part | None:
        """Return what must be sent alone; None: a tick of everyone who is not set apart."""
        if self._parts:
            return self._parts.pop()
        for organization_id, one in self.apart.items():
            if now >= one.retry_at:
                one.entries = [entry for entry in one.entries if entry.pending]
                return Part(frozenset([organization_id]), one.entries[:entries_max])
        return None

    def unheard(self, part: Part) -> None:
        """Handle that the outcome of a part is unknown: it is sent again."""
        if self.apart.keys().isdisjoint(part.organizations):
            self._parts.append(part)

    def applied(self, part: Part, now: float) -> None:
        """Handle that the ledger applied a part. Organizations in it are no longer set apart."""
        for organization_id in self.apart.keys() & part.organizations:
            one = self.apart[organization_id]
            one.retry_at = now
            if not any(entry.pending for entry in one.entries):
                del self.apart[organization_id]

    def refused(
        self,
        part: Part | None,
        organizations: Collection[str],
        entries: Sequence[Settlement],
        now: float,
    ) -> str | None:
        """Handle a refused tick of some organizations; return one that is set apart from now on."""
        if len(organizations) > 1 or part is None:
            ordered = sorted(organizations)
            middle = len(ordered) // 2
            self._parts += [
                Part(frozenset(half), [e for e in entries if e.line.organization_id in half])
                for half in (set(ordered[middle:]), set(ordered[:middle]))
                if half
            ]
            if part is None:
                self._parts.append(Part(frozenset()))
            return None
        (organization_id,) = organizations
        known = self.apart.get(organization_id)
        if known is not None:
            known.pause_seconds = min(known.pause_seconds * 2, RETRY_SECONDS_MAX)
            known.retry_at = now + known.pause_seconds
            return None
        self.apart[organization_id] = SetApart(now + RETRY_SECONDS)
        for entry in entries:
            if entry.pending:
                self.keep(entry)
        return organization_id

    def give_up(self) -> list[Settlement]:
        """Stop sending in parts: nobody's books are at fault. Return what was still to be sent."""
        parts, self._parts = self._parts, []
        return [entry for part in reversed(parts) for entry in part.entries if entry.pending]

    def keep(self, entry: Settlement) -> bool:
        """Keep an organization's usage if it is set apart; return whether it is."""
        one = self.apart.get(entry.line.organization_id)
        if one is None:
            return False
        if entry.lease is None:  # its segment is another process's, and stays where it is
            self._book.hand_back(entry, frozen_error("books"))
        elif entry.answered or entry.uncertain:
            one.entries.append(entry)
        else:
            self._book.refuse(entry, frozen_error("books"))
        return True

    def kept(self) -> Iterator[Settlement]:
        """Yield what is kept of those set apart."""
        for one in self.apart.values():
            yield from (entry for entry in one.entries if entry.pending)
