"""Where a run's CPU time goes: `make test ARGS="-p testing.cpu"` prints it by folder and by file.

CPU seconds of the tests' process and of all that it started, which say more than the wall clock on
a machine with other work. What a fixture of the whole run takes counts for the test that asks
first.
"""

import os
import time
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path, PurePath
from typing import Any

import pytest

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
_FILES = 60
_spent = 0.0
_by_file: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Add what setup, call or teardown took to its report, which xdist sends on."""
    global _spent  # noqa: PLW0603
    report = yield
    started = time.process_time()
    now = _cpu_seconds()
    report.cpu_seconds = now - _spent
    _spent = now + time.process_time() - started  # to look takes milliseconds, and does not count
    return report


def pytest_runtest_logstart() -> None:
    """Count from the first test on: imports are what each run takes."""
    global _spent  # noqa: PLW0603
    if not _spent:
        _spent = _cpu_seconds()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Sum by file and phase."""
    spent = _by_file[report.nodeid.partition("::")[0]]
    spent[report.when] += getattr(report, "cpu_seconds", 0)
    spent["wall"] += report.duration
    spent["tests"] += report.when == "call"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the folders, and the files that take most."""
    by_folder: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for file, spent in _by_file.items():
        for what, seconds in spent.items():
            by_folder[str(PurePath(file).parent)][what] += seconds
            by_folder["all"][what] += seconds
    for title, rows in ("folder", by_folder), ("file", dict(_by_file)):
        terminalreporter.section(f"CPU seconds by {title}")
        heads = ("cpu", "setup", "call", "teardown", "wall", "tests")
        terminalreporter.write_line("".join(f"{head:>9}" for head in heads))
        for name in sorted(rows, key=lambda name: -_all(rows[name]))[:_FILES]:
            figures = [_all(rows[name]), *(rows[name][head] for head in heads[1:])]
            line = "".join(f"{figure:9.2f}" for figure in figures[:-1])
            terminalreporter.write_line(f"{line}{figures[-1]:9.0f}  {name}")


def _all(spent: dict[str, float]) -> float:
    return spent["setup"] + spent["call"] + spent["teardown"]


def _cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children, ended and running."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system + _of_running()


def _of_running() -> float:
    """Return the CPU seconds of all processes below this one."""
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        pid = int(entry.name)
        # from proc(5), where these follow the name: the parent, then utime, stime, and the same
        # of the children that it waited for
        children[int(fields[1])].append(pid)
        ticks[pid] = sum(map(int, fields[11:15]))
    below, found = list(children[os.getpid()]), 0
    while below:
        pid = below.pop()
        found += ticks[pid]
        below += children[pid]
    return found * _TICK_SECONDS
