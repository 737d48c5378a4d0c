"""The fault lab in its short form: real processes, each answer checked.

The long form is `python -m benchmarks.faults`.
"""

import re

import pytest

from testing.processes import said


@pytest.mark.long
@pytest.mark.timeout(300)
def test_clients_see_nothing_of_any_fault():
    out = said("benchmarks.faults", "--short", "--seed", "7")
    assert len(re.findall(r"^kept ", out, re.MULTILINE)) == 23, out
