"""`gateway`, with a look at the garbage collector: `python -m benchmarks.gateway.watched run ...`.

SIGUSR1 begins anew; SIGUSR2 writes what was collected since to the file that WATCHED names. Times
are CPU times of the thread that collects, which other work on the machine does not change much.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from pathlib import Path
from typing import Any

import msgspec

from gateway.__main__ import main


class Collections(msgspec.Struct):
    """The collections of one generation."""

    count: int = 0
    seconds: float = 0.0
    longest_seconds: float = 0.0
    collected: int = 0
    """Objects that only the collector could free."""


found = [Collections() for _ in range(3)]
_began = 0.0


def _watch(phase: str, about: dict[str, int]) -> None:
    global _began  # noqa: PLW0603 - the collector calls twice, with nothing to keep this in
    if phase == "start":
        _began = time.thread_time()
        return
    took, one = time.thread_time() - _began, found[about["generation"]]
    one.count += 1
    one.seconds += took
    one.longest_seconds = max(one.longest_seconds, took)
    one.collected += about["collected"]


def _begin(*_: Any) -> None:
    found[:] = [Collections() for _ in range(3)]


def _tell(*_: Any) -> None:
    path = Path(os.environ["WATCHED"])
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(found))
    fresh.replace(path)


if __name__ == "__main__":
    gc.callbacks.append(_watch)
    signal.signal(signal.SIGUSR1, _begin)
    signal.signal(signal.SIGUSR2, _tell)
    main()
