"""A copy of the tree in which one thing at a time is changed, and the tests that meet it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from testing.mutation.changes import Change
from testing.mutation.tracing import FILES, TRACED, Traced

_START_SECONDS = 60.0
"""For a run to begin and collect, on a busy machine."""
_SLOWER = 10
"""A run that takes so many times its tests' own time is stuck, which is noticed too."""
_TEST_SECONDS = 40
"""A test that takes so long hangs: most take a hundredth."""
_PASSED, _FAILED, _INTERRUPTED, _USAGE = 0, 1, 2, 4
_PATIENT = ("-p", "testing.mutation.patient")
_FAILURE = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


class Verdict(NamedTuple):
    """What became of a change."""

    change: Change
    ran: int
    """How many tests met it; 0 where no test runs its line."""
    seen_by: str | None
    """The first test that failed."""


class Tree:
    """The copy. Only one run at a time."""

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        self.root = root
        self._environment = {**os.environ, **environment, "PYTHONPATH": str(root)}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def trace(self, paths: Sequence[str], files: Sequence[str], seconds: float) -> Traced:
        """Run these tests as they are, and return what they run of these files."""
        with tempfile.NamedTemporaryFile(dir=self.root) as written:
            environment = {TRACED: written.name, FILES: ":".join(files)}
            ended = self._pytest(paths, seconds, environment, "-p", "testing.mutation.tracing")
            found = written.read()
            if not found:
                raise RuntimeError(f"pytest ended with {ended.returncode}\n{ended.stdout}")
            return msgspec.json.decode(found, type=Traced)

    def try_(self, change: Change, tests: Sequence[str], seconds: float) -> Verdict:
        """Change the tree, run the tests until one fails, and change it back."""
        if not tests:
            return Verdict(change, 0, None)
        with self._changed(change):
            timeout = _START_SECONDS + _SLOWER * seconds
            try:
                ended = self._pytest(tests, timeout, {}, "-x", f"--timeout={_TEST_SECONDS}")
            except subprocess.TimeoutExpired:
                return Verdict(change, len(tests), "they no longer end")
        if ended.returncode == _PASSED:
            return Verdict(change, len(tests), None)
        found = _FAILURE.search(ended.stdout)
        if ended.returncode not in {_FAILED, _INTERRUPTED, _USAGE} or "not found: " in ended.stdout:
            raise RuntimeError(f"{change}: pytest ended with {ended.returncode}\n{ended.stdout}")
        return Verdict(change, len(tests), found[1] if found else "nothing could be imported")

    @contextlib.contextmanager
    def _changed(self, change: Change) -> Iterator[None]:
        file = self.root / change.path
        before = file.read_text()
        file.write_text(change.applied(before))
        _forget_bytecode(file)
        try:
            yield
        finally:
            file.write_text(before)
            _forget_bytecode(file)

    def _pytest(
        self,
        tests: Sequence[str],
        seconds: float,
        environment: Mapping[str, str],
        *options: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run pytest. Raises TimeoutExpired, with all its processes dead."""
        with tempfile.NamedTemporaryFile("w", dir=self.root, suffix=".txt") as list_:
            list_.write("\n".join(tests))
            list_.flush()
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                 *_PATIENT, *options, f"@{list_.name}"],
                cwd=self.root, env={**self._environment, **environment}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            try:
                said, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, said)


def copy(source: Path, target: Path) -> None:
    """Copy what git tracks, and what it would if it were added."""
    listed = subprocess.run(
        ["git", "-C", source, "ls-files", "-co", "--exclude-standard", "-z"],
        check=True, stdout=subprocess.PIPE,
    ).stdout.decode()  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target / name)


def _forget_bytecode(file: Path) -> None:
    """Let a module be compiled anew: a change may keep its size, and the second of its time."""
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        compiled.unlink()
