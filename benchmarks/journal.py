"""The journal beside a SQLite file: durable appends a second, and the replay of a dead process.

    python -m benchmarks.journal [--folder DIR] [--seconds 3]

Both write the same usage lines. An append returns once they are on the disk: fdatasync for the
journal, a commit in WAL mode with synchronous=FULL for SQLite. Removing what the ledger has is
included: a segment is unlinked; as many rows are deleted in the transaction of the next append,
since a line that comes back after a crash is harmless.
"""

from __future__ import annotations

import argparse
import itertools
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Protocol

import msgspec

from gateway.data_plane.metering.journal import Journal
from gateway.data_plane.metering.messages import UsageLine
from gateway.identifiers import new_id

BATCHES = (1, 8, 64, 512)
REPLAYED = 100_000
SEGMENT_BYTES = 4_194_304


class Store(Protocol):
    """What both can do."""

    def append(self, records: list[bytes]) -> None:
        """Return once the records are durable."""
        ...

    def replay(self) -> int:
        """Read everything back; return how many records there are."""
        ...


class SegmentStore:
    """The journal of the gateway; every full segment is removed, as if the ledger had it."""

    def __init__(self, folder: Path, *, keep: bool) -> None:
        self._keep = keep
        self._folder = folder
        self._journal = Journal(folder, "own", bytes_max=2**40, segment_bytes=SEGMENT_BYTES)
        self._journal.open()
        self._last: Path | None = None

    def append(self, records: list[bytes]) -> None:
        """See `Store`."""
        segment = self._journal.append(records)
        if self._last not in (None, segment) and not self._keep:
            assert self._last
            self._journal.forget(self._last)
        self._last = segment

    def replay(self) -> int:
        """See `Store`."""
        assert self._journal._lock  # noqa: SLF001 - as the death of its process would
        self._journal._lock.close()  # noqa: SLF001
        reader = Journal(self._folder, "reader", bytes_max=2**40, segment_bytes=SEGMENT_BYTES)
        reader.open()
        (dead,) = reader.abandoned()
        return sum(1 for segment in dead.segments() for _ in dead.read(segment))


class SqliteStore:
    """The same in one table; rows are deleted once they come to the size of a segment."""

    def __init__(self, folder: Path, *, keep: bool) -> None:
        self._keep = keep
        self._path = folder / "journal.db"
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE lines (id INTEGER PRIMARY KEY, line BLOB NOT NULL)")
        self._bytes = 0

    def append(self, records: list[bytes]) -> None:
        """See `Store`."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        if self._bytes > SEGMENT_BYTES and not self._keep:
            (last,) = execute("SELECT max(id) FROM lines").fetchone()
            execute("DELETE FROM lines WHERE id <= ?", (last,))
            self._bytes = 0
        self._connection.executemany(
            "INSERT INTO lines (line) VALUES (?)", ((record,) for record in records)
        )
        execute("COMMIT")
        self._bytes += sum(map(len, records))

    def replay(self) -> int:
        """See `Store`."""
        self._connection.close()
        with sqlite3.connect(self._path) as connection:
            return sum(1 for _ in connection.execute("SELECT line FROM lines ORDER BY id"))


def line() -> bytes:
    """Return a usage line as the engine writes it, 411 bytes."""
    return msgspec.json.encode(
        UsageLine(
            request_id=new_id(),
            organization_id=new_id(),
            key_id=new_id(),
            model_id="NovaSearch/stella_en_400M_v5",
            price_id=new_id(),
            inputs=8,
            tokens=2_400,
            cost_nanos=19_200,
            lease_id=new_id(),
            budget_id=None,
            budget_lease_id=None,
            created_ms=1_800_000_000_000,
        )
    )


def appends(stores: list[Store], batch: int, seconds: float) -> list[list[float]]:
    """Append to each store in turn, so that a busy disk slows all alike.

    Returns the sorted times of each store's appends, in milliseconds.
    """
    batches = itertools.cycle([[line() for _ in range(batch)] for _ in range(16)])
    took: list[list[float]] = [[] for _ in stores]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for store, times in zip(stores, took, strict=True):
            records = next(batches)
            before = time.perf_counter()
            store.append(records)
            times.append((time.perf_counter() - before) * 1000)
    return [sorted(times) for times in took]


def replay(store: Store) -> float:
    """Return how many lines a second are read back."""
    batch = [line() for _ in range(1_000)]
    for _ in range(REPLAYED // len(batch)):
        store.append(batch)
    before = time.perf_counter()
    assert store.replay() == REPLAYED
    return REPLAYED / (time.perf_counter() - before)


def main() -> None:
    """Measure both, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    kinds = (SegmentStore, SqliteStore)
    for batch in BATCHES:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            stores: list[Store] = [kind(Path(folder), keep=False) for kind in kinds]
            for kind, took in zip(kinds, appends(stores, batch, options.seconds), strict=True):
                rate = len(took) * batch / sum(took) * 1000
                print(
                    f"{kind.__name__:14} batch {batch:4}  {rate:10,.0f} lines/s  "
                    f"p50 {took[len(took) // 2]:7.3f} ms  p99 {took[len(took) * 99 // 100]:7.3f} ms"
                )
    for kind in kinds:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            print(f"{kind.__name__:14} replay {replay(kind(Path(folder), keep=True)):,.0f} lines/s")


if __name__ == "__main__":
    main()
