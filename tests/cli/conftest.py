"""What the tests of commands share."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give a test an environment of its own without our settings, and an empty folder."""
    ours = ("GATEWAY_", "DATABASE_URL", "REDIS_URL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    monkeypatch.setattr(os, "environ", kept)
    monkeypatch.chdir(tmp_path)
