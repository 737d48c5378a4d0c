"""The fault lab in its short form: real processes, each answer checked.

The long form is `python -m benchmarks.faults`.
"""

from collections.abc import Iterator
from functools import partial

import pytest

from benchmarks.faults import scenarios as faults
from benchmarks.faults.processes import Fleet

SEED = 7
SHORT = {
    "killed": partial(faults.killed, times=3),
    "stopped": faults.stopped,
    "slow": partial(faults.slow, seconds=2.0),
    "failing": faults.failing,
    "refusing": faults.refusing,
    "invalid": partial(faults.invalid, kinds=faults.INVALID[:6]),
    "broken": partial(faults.invalid, kinds=faults.INVALID[6:]),
    "dripping": faults.dripping,
    "impostor": faults.impostor,
    "another revision": faults.two_revisions,
    "not pinned": faults.unpinned,
    "flapping": partial(faults.flapping, times=2),
    "one overloaded": partial(faults.overloaded, workers=1),
    "all overloaded": partial(faults.overloaded, workers=3),
    "poison refused": partial(faults.poisoned, kind="poison", requests=3),
    "poison failing": partial(faults.poisoned, kind="poison_error", requests=3),
    "loop blocked": partial(faults.loop_blocked, times=1),
    "all down": faults.all_down,
    "DNS gone": faults.dns_gone,
    "vanishing": partial(faults.vanishing, times=2),
}


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    made = Fleet()
    yield made
    made.end()


@pytest.mark.parametrize("name", SHORT, ids=[f"{name}, seed {SEED}" for name in SHORT])
async def test_clients_see_nothing_of(name: str, fleet: Fleet):
    await SHORT[name](fleet, SEED)
