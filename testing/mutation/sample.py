"""Which changes are tried, and which tests meet each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from testing.mutation import changes
from testing.mutation.changes import Change
from testing.mutation.tracing import Traced

_SQL_CALLERS = "gateway/storage/ledger/"


class Area(NamedTuple):
    """A part of the heart."""

    name: str
    files: tuple[str, ...]
    share: float
    """Of the changes."""


AREAS = (
    Area("ledger", ("gateway/storage/ledger/*.py",), 0.2),
    Area("SQL", ("migrations/sql/*.sql",), 0.1),
    Area("metering", ("gateway/data_plane/metering/*.py",), 0.25),
    Area("routing", ("gateway/data_plane/routing/*.py",), 0.2),
    Area("api", ("gateway/data_plane/api/*.py",), 0.15),
    Area("auth", ("gateway/data_plane/auth/*.py", "gateway/storage/keys.py"), 0.05),
    Area("hop", ("backends/adapters/*.py", "backends/hop.py"), 0.05),
)


def of_area(
    root: Path, area: Area, most: int, seed: int, *, only_queries: bool = False
) -> list[Change]:
    """Choose an area's share of `most` changes, or of those that take something from a query.

    Each has a place of its own by its line and the seed, so a change of the code elsewhere moves
    none of the others into the sample or out of it.
    """
    files = sorted(file for pattern in area.files for file in root.glob(pattern))
    sources = {str(file.relative_to(root)): file.read_text() for file in files}
    found = changes.of_sql(sources) if area.name == "SQL" else []
    if not found:
        found = [one for path, text in sources.items() for one in changes.of_python(path, text)]

    def place(change: Change) -> bytes:
        said = (str(seed), change.path, change.text, change.before, change.after)
        return sha256("\0".join(said).encode()).digest()

    found = [one for one in found if one.of_query or not only_queries]
    chosen = sorted(found, key=place)[: round(most * area.share)]
    return sorted(chosen, key=lambda change: (change.path, change.start))


class Meeting:
    """The tests that meet a change: those that run its line.

    What runs when its module is imported, such as a constant, is met by all that run the module.
    """

    def __init__(self, traced: Sequence[Traced], seconds_max: float) -> None:
        """A change meets the quickest tests first, at most so many CPU seconds of them."""
        self._traced = traced
        self._seconds_max = seconds_max

    def of(self, change: Change) -> tuple[list[str], float]:
        """Return the tests, the quickest first, and the seconds that they take."""
        found = [one for traced in self._traced for one in _met(traced, change)]
        tests: list[str] = []
        total = 0.0
        for seconds, test in sorted(found):
            total += seconds
            if tests and total > self._seconds_max:
                break
            tests.append(test)
        return tests, total


def _met(traced: Traced, change: Change) -> Iterable[tuple[float, str]]:
    if change.path.endswith(".sql"):  # whatever has the ledger call PostgreSQL
        files = [lines for path, lines in traced.lines.items() if path.startswith(_SQL_CALLERS)]
        numbers = {number for lines in files for ran in lines.values() for number in ran}
        numbers = {number for number in numbers if "postgresql" in traced.tests[number]}
    else:
        by_line = traced.lines.get(change.path, {})
        changed = range(change.first, change.line + 1)
        numbers = {number for line in changed for number in by_line.get(line, ())}
        if not numbers and not set(changed).isdisjoint(traced.imported.get(change.path, ())):
            numbers = {number for ran in by_line.values() for number in ran}
    return ((traced.seconds[number], traced.tests[number]) for number in numbers)
