"""What a warm request costs, counted: nothing here depends on the machine, or what else it does.

Calls are those of Python on the event loop's thread, of functions in Python and in C, from the
bytes of a request to those of its answer, the work behind it included. Of many requests the
cheapest counts, since a job may run beside one of them. Bytes are the most that a request held at
one moment above what was held before; in some processes a buffer of some library makes it 60 kB
more, so they find only what copies whole batches.

The budget is in budget.json. It is for the Python that the suite runs on, so another version may
count a little less or more.
"""

import asyncio
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from testing import door
from testing.gateways import MODEL, open_api
from testing.processes import Process

FILE = Path(__file__).with_name("budget.json")
WARM, COUNTED = 15, 15
SLACK = 1.3
"""A budget that is more above the cost than this guards nothing."""
TEXT = "the gateway counts the tokens of every request before it is sent"
KINDS: dict[str, dict[str, Any]] = {
    "short, base64": {"input": TEXT, "encoding_format": "base64"},
    "short, float": {"input": TEXT},
    "32 texts, base64": {"input": [TEXT] * 32, "encoding_format": "base64"},
    "32 texts, float": {"input": [TEXT] * 32},
}


class Cost(msgspec.Struct, frozen=True):
    """What a request may cost."""

    calls: int
    bytes: int


class Calls:
    """Counts calls on the thread that it is set as the profiler of."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _frame: FrameType, event: str, _argument: object) -> None:
        self.count += event in {"call", "c_call"}

    def read(self) -> int:
        return self.count


async def test_no_request_costs_more_than_its_budget(
    postgresql_database_url: list[str], fake_worker: Process
):
    async with (
        open_api(postgresql_database_url[0], f"{MODEL}={fake_worker.url}") as api,
        door.listening(api.gateway) as port,
    ):
        await api.ready()
        asked = {
            kind: door.request(api.ledger.secret, {"model": MODEL, **body})
            for kind, body in KINDS.items()
        }
        calls, turns = Calls(), door.Turns(asyncio.get_running_loop())

        def cheapest(request: bytes, begin: Callable[[], int], end: Callable[[], int]) -> int:
            client, costs = door.Client(port), []
            for _ in range(WARM + COUNTED):
                turns.wait()
                began = begin()
                status = client.ask(request)
                turns.wait()
                costs.append(end() - began)
                assert status == 200
            client.close()
            return min(costs[WARM:])

        sys.setprofile(calls)
        try:
            counted = [
                await door.in_thread(cheapest, one, calls.read, calls.read)
                for one in asked.values()
            ]
        finally:
            sys.setprofile(None)
        tracemalloc.start()
        try:
            held = [await door.in_thread(cheapest, one, _held, _most) for one in asked.values()]
        finally:
            tracemalloc.stop()
    costs = dict(zip(asked, map(Cost, counted, held), strict=True))
    print(msgspec.json.format(msgspec.json.encode(costs)).decode())
    budgets = msgspec.json.decode(FILE.read_bytes(), type=dict[str, Cost])
    wrong = [line for kind, cost in costs.items() for line in verdicts(kind, cost, budgets[kind])]
    assert not wrong, "\n".join(wrong)


def test_a_verdict_says_what_to_do():
    assert not list(verdicts("short", Cost(90, 90), Cost(100, 100)))
    (over,) = verdicts("short", Cost(101, 90), Cost(100, 100))
    assert "short: a warm request costs 101 calls; its budget is 100." in over
    (under,) = verdicts("short", Cost(70, 40), Cost(100, 100))
    assert "costs only 70 calls of 100: lower the budget" in under


def verdicts(kind: str, cost: Cost, budget: Cost) -> Iterator[str]:
    """Say what is wrong with a cost, or with its budget."""
    for name in Cost.__struct_fields__:
        found, allowed = getattr(cost, name), getattr(budget, name)
        if found > allowed:
            yield (
                f"{kind}: a warm request costs {found} {name}; its budget is {allowed}. Find what "
                f"was added; if it is worth that, raise the budget in {FILE.name} and say why."
            )
    if cost.calls * SLACK < budget.calls:
        yield (
            f"{kind}: a warm request costs only {cost.calls} calls of {budget.calls}: lower the "
            f"budget in {FILE.name}, so that it stays so."
        )


def _held() -> int:
    tracemalloc.reset_peak()
    return tracemalloc.get_traced_memory()[0]


def _most() -> int:
    return tracemalloc.get_traced_memory()[1]
