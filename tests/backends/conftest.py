"""Fixtures of the adapters' tests."""

from pathlib import Path

import pytest

from tests.backends.standins.heads import write_heads
from tests.backends.standins.vocabulary import write_vocabulary


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory) -> Path:
    return write_vocabulary(tmp_path_factory.mktemp("vocabulary") / "vocab.txt")


@pytest.fixture(scope="session")
def heads(tmp_path_factory) -> Path:
    """Heads of 32 and 1024 dimensions (so 512 is derived) for pooled vectors of 16."""
    return write_heads(tmp_path_factory.mktemp("heads"), 16, (32, 1024))
