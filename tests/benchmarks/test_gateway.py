"""The benchmark of the gateway: how it tells what it found, and its short form.

The long form is `make bench`.
"""

import shutil
from pathlib import Path

import pytest

from benchmarks.gateway import figures, profile
from benchmarks.gateway.figures import Sample
from benchmarks.gateway.native import Answers
from testing.processes import said

_STACKS = """\
MainThread;run (uvloop/loop.pyx);data_received (gateway/data_plane/api/front_door.py:1) 3
MainThread;answer (gateway/data_plane/api/responses.py:2);b64encode (base64.py:9) 2
MainThread;run (asyncio/runners.py:1) 1
thread (1): journal_0;_worker (concurrent/futures/thread.py:81) 90
"""


def sample(cpu_us: float) -> Sample:
    return Sample(Answers(1, 0, 0, 0, 1, 1.0, 1.0, 1.0, 2.0, 3.0), cpu_us, 0.5, 100.0)


def test_a_spread_is_that_of_the_rounds():
    rounds = [sample(us) for us in (90.0, 100.0, 120.0)]
    assert figures.with_spread(rounds, figures.cpu_us) == "100 (30 %)"
    assert [figures.number(value) for value in (1_234.5, 12.34, 1.234)] == ["1,234", "12.3", "1.23"]


def test_a_stack_belongs_to_the_innermost_step_that_is_known(tmp_path: Path):
    stacks = tmp_path / "stacks.txt"
    stacks.write_text(_STACKS)
    assert list(profile.sort_stacks(stacks)) == [
        ("HTTP and the order of steps", 3),
        ("write the answer's body", 2),
        ("event loop, sockets", 1),
    ]


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.skipif(not shutil.which("cc"), reason="the load and the worker are in C; no cc here")
def test_every_request_is_answered_and_charged_exactly(tmp_path: Path):
    out = said("benchmarks.gateway", "--short", "--folder", str(tmp_path))
    assert "5,000 requests over 128 connections: 0 without a 200" in out, out
    assert "the ledger has each of them, and exactly" in out, out
