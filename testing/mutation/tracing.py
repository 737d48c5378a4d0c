"""A plugin for pytest that records which lines each test runs, and how long it takes.

`pytest -p testing.mutation.tracing` writes JSON (`Traced`) to the file that $MUTATION_TRACED
names, about the files whose patterns are in $MUTATION_FILES, between colons. Lines that run in
other processes are not seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coverage
import msgspec
import pytest

TRACED, FILES = "MUTATION_TRACED", "MUTATION_FILES"


class Traced(msgspec.Struct):
    """What ran: tests by their number."""

    tests: list[str] = []
    seconds: list[float] = []
    """CPU time of this process."""
    lines: dict[str, dict[int, list[int]]] = {}
    """By file and line, the tests that ran it and passed."""
    imported: dict[str, list[int]] = {}
    """By file, the lines that no test ran, but the import of their module."""


class _Tracing:
    """What is under way: at most one."""

    def __init__(self) -> None:
        self.traced = Traced()
        self.failed: set[int] = set()
        self.tracer = coverage.Coverage(
            data_file=None, config_file=False, include=os.environ[FILES].split(":"),
            concurrency=["thread", "greenlet"],
        )  # fmt: skip
        # of several parts of the tests, one may run nothing of the files
        self.tracer.set_option("run:disable_warnings", ["no-data-collected"])
        self.tracer.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Give each test, with its fixtures, a context of its own."""
        self.tracer.switch_context(str(len(self.traced.tests)))
        began = time.process_time()
        self.traced.tests.append(item.nodeid)
        try:
            return (yield)
        finally:
            self.traced.seconds.append(round(time.process_time() - began, 3))
            self.tracer.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Leave out what does not pass as it is."""
        if not report.passed:
            self.failed.add(len(self.traced.tests) - 1)

    def pytest_sessionfinish(self) -> None:
        """Write what was recorded."""
        self.tracer.stop()
        data: Any = self.tracer.get_data()
        root = Path.cwd()
        for file in data.measured_files():
            by_line = self.traced.lines[str(Path(file).relative_to(root))] = {}
            imported = self.traced.imported[str(Path(file).relative_to(root))] = []
            for line, contexts in data.contexts_by_lineno(file).items():
                ran = sorted({int(context) for context in contexts if context} - self.failed)
                if ran:
                    by_line[line] = ran
                elif contexts == [""]:
                    imported.append(line)
        Path(os.environ[TRACED]).write_bytes(msgspec.json.encode(self.traced))


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Begin before anything is imported that is measured."""
    early_config.pluginmanager.register(_Tracing())
