"""The benchmark of the gateway in its short form: every answer a 200, every charge exact.

The long form is `make bench`.
"""

import shutil
from pathlib import Path

import pytest

from testing.processes import said


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.skipif(not shutil.which("cc"), reason="the load and the worker are in C; no cc here")
def test_every_request_is_answered_and_charged_exactly(tmp_path: Path):
    out = said("benchmarks.gateway", "--short", "--folder", str(tmp_path))
    assert "5,000 requests over 128 connections: 0 without a 200" in out, out
    assert "the ledger has each of them, and exactly" in out, out
