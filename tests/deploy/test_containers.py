"""Nothing is left of containers, whatever becomes of the tests that started them."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from testing.containers import TOP, Container, Machine, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "they can")

SLEEP = Container(name="a", command=["sleep", "infinity"])
KILLED = """
import os, signal
from testing.containers import Machine
from tests.deploy.test_containers import slept
with Machine(["a"]) as machine:
    print(slept(machine), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def slept(machine: Machine) -> int:
    """Start a container; return its first process, once that has become its user."""
    running = machine.start(SLEEP)
    process = running.first_process
    while b"sleep" not in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0]:
        assert running.is_running, running.said
    return process


def wait_for_end(process: int) -> None:
    """Wait until a process that is nobody's child here has ended."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 10)[0], f"{process} outlives what started it"
    finally:
        os.close(descriptor)


def fail_half_way(started: list[int]) -> None:
    with Machine(["a"]) as machine:
        started.append(slept(machine))
        machine.start(Container(name="unknown", command=["true"]))


def test_they_end_with_a_machine_that_fails_half_way():
    started: list[int] = []
    with pytest.raises(KeyError, match="unknown"):
        fail_half_way(started)
    wait_for_end(*started)


def test_they_end_with_the_tests_even_if_these_are_killed():
    told = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=TOP, stdout=subprocess.PIPE, text=True, check=False
    )
    wait_for_end(int(told.stdout))
