"""The wall clock that the processes of a deployment share: the database's.

A machine's clock may be minutes off, and step. So a process goes by its monotonic clock, and by how
far that is from the database's time, which it hears when it starts and every few seconds after
(`storage/clock.py`). Request ids, and so days, months and partitions, and whatever one process
writes and another compares, are of this clock. A process that asked no database, such as a command,
goes by its machine's clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

ahead_ns = time.time_ns() - time.monotonic_ns()
"""How far the wall clock is ahead of this process's monotonic one."""


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.fromtimestamp(unix_time(), UTC)


def unix_time() -> float:
    """Return the time in seconds since 1970."""
    return (time.monotonic_ns() + ahead_ns) / 1_000_000_000


def set_to(unix_ns: int, at_monotonic_ns: int) -> None:
    """Go by a clock that showed this time when the monotonic one showed that."""
    global ahead_ns  # noqa: PLW0603 - there is one, as there is one `time`
    ahead_ns = unix_ns - at_monotonic_ns
