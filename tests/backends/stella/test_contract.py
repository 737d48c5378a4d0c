"""A running Stella worker passes the contract of every backend."""

import pytest

from testing.processes import Process
from tests.backends.contract import BackendContract, Subject
from tests.backends.stella.golden_set import FP32_MAX


@pytest.fixture
def worker(tiny: Process) -> Subject:
    return Subject(tiny.url, dimensions=1024, tolerance=FP32_MAX)


class TestStella(BackendContract):
    pass
