"""The simulator reaches its targets: the real core against least requests and FIFO.

A seed gives the same figures each time. `make sim ARGS="--seed N"` tries others.
"""

import re
from pathlib import Path

import pytest

from testing.processes import said


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_router_reaches_its_targets(tmp_path: Path):
    chart = tmp_path / "routing.svg"
    out = said("benchmarks.sim", "--seed", "1", "--seconds", "60", "--draw", str(chart))
    assert out.count("reached") == 6, out
    broken = re.search(r"^least requests( +\S+){2} +(\S+) %", out, re.MULTILINE)
    assert broken
    assert float(broken[2]) > 30, "the broken worker must attract traffic that others send it"
    drawn = chart.read_text()
    assert drawn.startswith("<svg")
    assert re.search(r">\d+ ms<", drawn)
    assert re.search(r">[\d.]+ s<", drawn)
