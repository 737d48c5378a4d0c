"""The counts of processes that have ended or do not answer: without them, counters would fall.

Prometheus reads a sum that falls as a reset, and would count everything that is left once more. So
the process that is scraped writes down what each process reported, in the folder where they meet,
and adds what it finds there of those that report nothing. A process that ends normally leaves its
last counts; if it is killed, what it counted since the last scrape is lost.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_SUFFIX = ".seen"
_LOCK = "seen.lock"
_GONE = "gone"
"""The name under which the counts of all that are gone are added up."""


class LastSeen:
    """The counts in a folder. `add_up` adds up several, without gauges."""

    def __init__(self, folder: Path, add_up: Callable[[Sequence[bytes]], bytes]) -> None:
        self._folder = folder
        self._add_up = add_up

    def write(self, told: Mapping[str, bytes]) -> None:
        """Write down what processes reported, by their names."""
        with self._locked():
            self._write(told)

    def exchange(
        self, told: Mapping[str, bytes], own_name: str, living: Container[str]
    ) -> list[bytes]:
        """Write down what processes reported; return what is known, except for the own process.

        Those that reported nothing and are not `living` are gone: their counts are merged.
        """
        with self._locked():
            known = {path.stem: path for path in self._folder.glob(f"*{_SUFFIX}")}
            # a process that ended after it reported may already be merged by another process
            told = {name: one for name, one in told.items() if name in living or name in known}
            silent = {name: path for name, path in known.items() if name not in told}
            gone = [path for name, path in silent.items() if name not in living]
            if len(gone) > (_GONE in silent):
                self._write({_GONE: self._add_up([path.read_bytes() for path in gone])})
            for path in gone:
                if path.stem != _GONE:
                    path.unlink()
            self._write(told)
            others = [one for name, one in told.items() if name != own_name]
            counted = [path.read_bytes() for path in silent.values() if path not in gone]
            left = self._path(_GONE)
            counted += [left.read_bytes()] if left.exists() else []
            return [*others, self._add_up(counted)] if counted else others

    def _write(self, told: Mapping[str, bytes]) -> None:
        for name, counts in told.items():
            unfinished = self._folder / f"{name}.new"
            unfinished.write_bytes(counts)
            unfinished.rename(self._path(name))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes out, since each answers scrapes."""
        with (self._folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
