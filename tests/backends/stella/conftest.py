import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.processes import Process, running
from tests.backends.stella.golden_set import TINY


@contextlib.contextmanager
def stella(weights: Path | str, *options: str) -> Iterator[Process]:
    """A warm, real worker on one CPU thread."""
    command = ["backends.stella", "--weights", str(weights), "--device", "cpu", "--threads", "1"]
    with running(*command, "--drain-seconds", "0.5", *options) as process:
        process.wait_ready()
        yield process


@pytest.fixture(scope="session")
def tiny() -> Iterator[Process]:
    """The tiny golden checkpoint in float32, shared by the tests that don't change it."""
    with stella(TINY) as process:
        yield process


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint to damage. Files are links: replace them, never edit them."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(TINY, folder, copy_function=os.symlink)
    return folder


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)
