"""The machine: its cores, and what processes use of it, read from /proc."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class Cores(NamedTuple):
    """Which cores run what, as `taskset` takes them."""

    gateway: str
    rest: str
    """The load, the stand-in worker and PostgreSQL; the same core where there is only one."""
    together: str


def divide() -> Cores:
    """Keep a core for the gateway, and move this process and its children to the others."""
    usable = sorted(os.sched_getaffinity(0))
    rest = usable[1:] or usable
    os.sched_setaffinity(0, rest)
    return Cores(str(usable[0]), ",".join(map(str, rest)), ",".join(map(str, usable)))


def describe() -> str:
    """Say what the machine is."""
    info = (_PROC / "cpuinfo").read_text()
    name = re.search(r"^model name\s*: (.+)$", info, re.MULTILINE)
    cores = f"{os.cpu_count()} cores of {name[1] if name else platform.machine()}"
    return f"{cores}, Linux {platform.release()}, Python {platform.python_version()}"


def tree(pid: int) -> list[int]:
    """Return a process and all below it."""
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        try:
            threads = list((_PROC / str(found[-1]) / "task").iterdir())
            children = " ".join((thread / "children").read_text() for thread in threads)
        except OSError:  # it has just ended
            continue
        todo += map(int, children.split())
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and all below it: user and system, in steps of 10 ms."""
    ticks = 0
    for one in tree(pid):
        try:
            fields = (_PROC / str(one) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_SECOND


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and all below it."""
    kilobytes = 0
    for one in tree(pid):
        try:
            status = (_PROC / str(one) / "status").read_text()
        except OSError:
            continue
        found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        kilobytes += int(found[1]) if found else 0
    return kilobytes / 1024
