"""Where a request's CPU time goes: py-spy's stacks, sorted into steps, beside the least each costs.

The innermost frame that a rule knows decides, so a library's time counts for the step that calls
it. Shares are scaled to the CPU time of a request without py-spy, just before it was attached.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gateway import contenders, floors
from benchmarks.gateway.bench import Bench
from benchmarks.gateway.contenders import OURS, LeftOut, Running
from benchmarks.gateway.figures import Section, number, table
from benchmarks.gateway.loads import LOADS, SHORT, Load, Pace
from benchmarks.gateway.parts import MANY

_SAMPLES_PER_SECOND = 400
_LOOP = "event loop, sockets"
_RULES = (
    ("receipts", r"metering/(receipts|merkle)|/cryptography/"),
    ("check vectors", r"routing/(examination|vectors|flaw)"),
    ("hop", r"backends/|aiohttp/|yarl/|multidict/|propcache/|aiohappyeyeballs/"),
    (
        "ledger tick",
        r"asyncpg/|aiosqlite/|sqlalchemy/|greenlet|storage/|metering/(messages|protocol|leased_credits)",
    ),
    ("journal", r"metering/journal"),
    ("reserve, settle", r"metering/(book|leases?|budgets|port)|pricing\.py"),
    ("count tokens, make rows", r"metering/(rows|tokens|quote|counting)"),
    ("write the answer's body", r"api/responses"),
    ("read the body's JSON", r"api/requests"),
    ("retries", r"api/replays"),
    ("key", r"/auth/"),
    ("limits, admission", r"/limits/|routing/admission|api/preferences"),
    (
        "metrics, log",
        r"prometheus_client|observability/|structlog|logging/|data_plane/(tallies|records|recent)",
    ),
    ("ids", r"gateway/identifiers|secrets\.py|random\.py|uuid\.py"),
    ("dispatch", r"data_plane/routing/"),
    (
        "HTTP and the order of steps",
        r"data_plane/api/|uvicorn/|httptools|litestar/|web/headers|gateway/app/",
    ),
    ("jobs", r"control_plane/"),
    (_LOOP, r"asyncio/|uvloop"),
)
_STEPS = [(name, re.compile(pattern)) for name, pattern in _RULES]
_WAITING = re.compile(r"^(_worker|wait|get) \((concurrent/futures/thread|threading|queue)\.py")


def profile(bench: Bench) -> Section:
    """Profile ours under a full load and at a fixed rate, and one load of batches."""
    runs = {
        "as many as it can": (SHORT, MANY),
        "1,000 requests/s": (SHORT, MANY._replace(rate=1_000.0)),
        LOADS[2].name: (LOADS[2], LOADS[2].pace),
    }
    try:
        spy = contenders.tool("py-spy", "py-spy", bench.folder)
    except LeftOut as error:
        return Section("A request, by step", f"Left out: {error}.")
    with bench.running(bench.ours()) as some:
        found = {
            name: _steps(bench, spy, some[OURS], load, pace) for name, (load, pace) in runs.items()
        }
    least = floors.measure() | {_LOOP: _least_of_a_server(bench)}
    steps = sorted(
        {step for one in found.values() for step in one}, key=lambda step: -_most(found, step)
    )
    rows = [
        [step, *(number(one.get(step, 0.0)) for one in found.values()), *_floor(least, step)]
        for step in steps
    ]
    totals = ["all", *(number(sum(one.values())) for one in found.values()), "", ""]
    head = ["us of CPU a request", *found, "floor", "the floor is"]
    return Section("A request, by step", table(head, [*rows, totals]))


def _least_of_a_server(bench: Bench) -> floors.Floor:
    bare = contenders.bare()
    with bench.running(bare) as some:
        bench.measure(some[bare.name], SHORT, seconds=bench.seconds / 2)
        sample = bench.measure(some[bare.name], SHORT, pace=MANY)
    return floors.Floor(sample.cpu_us, "a bare protocol that answers with bytes made once")


def _most(found: dict[str, dict[str, float]], step: str) -> float:
    return next(iter(found.values())).get(step, 0.0)


def _floor(least: dict[str, floors.Floor], step: str) -> tuple[str, str]:
    floor = least.get(step)
    return (number(floor.us), floor.what) if floor else ("", "")


def _steps(bench: Bench, spy: str, now: Running, load: Load, pace: Pace) -> dict[str, float]:
    """Return the microseconds of each step."""
    seconds = 2 * bench.seconds
    bench.measure(now, load, seconds=bench.seconds)  # warms up
    clean = bench.measure(now, load, seconds=seconds, pace=pace)
    out = bench.folder / "stacks.txt"
    command = [
        spy,
        "record",
        "-t",
        "-r",
        str(_SAMPLES_PER_SECOND),
        "-d",
        str(round(seconds)),
        "-f",
        "raw",
    ]
    with subprocess.Popen(
        [*command, "-o", str(out), "-p", str(now.child.pid)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as child:  # fmt: skip
        bench.measure(now, load, seconds=seconds + 2.0, pace=pace)
        child.wait()
    counted = Counter(dict[str, int]())
    for step, samples in sort_stacks(out):
        counted[step] += samples
    return {step: clean.cpu_us * n / counted.total() for step, n in counted.items()}


def sort_stacks(path: Path) -> Iterator[tuple[str, int]]:
    """Give the step and the number of samples of each stack in py-spy's raw form."""
    for line in path.read_text().splitlines():
        stack, _, samples = line.rpartition(" ")
        frames = stack.split(";")
        if not _WAITING.match(frames[-1]):
            yield _step_of(frames), int(samples)


def _step_of(frames: list[str]) -> str:
    for frame in reversed(frames):
        for name, pattern in _STEPS:
            if pattern.search(frame):
                return name
    return _LOOP
