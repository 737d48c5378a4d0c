"""What plugs into the application: jobs that repeat in the background."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple


class Job(NamedTuple):
    """What to run, and how often."""

    name: str
    seconds: float
    run: Callable[[], Awaitable[object]]
