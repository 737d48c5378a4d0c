"""The parts of a run: each measures, and returns its findings as a section of the page."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from benchmarks.gateway import books, contenders, figures
from benchmarks.gateway.bench import KEYS, Bench, has_direct
from benchmarks.gateway.contenders import LITELLM, OURS
from benchmarks.gateway.figures import Sample, Samples, Section, median, table, with_spread
from benchmarks.gateway.loads import LOADS, SHORT, Pace
from benchmarks.gateway.watched import Collections

MANY = Pace(128)
"""Enough connections to keep the gateway busy whatever it waits for."""
_OPEN_LOOP_CONNECTIONS = 64
COLD_KEYS = 2_000
"""In each round."""
_MARKS = (100_000, 300_000)
_POSTED_SECONDS = 30.0


def saturated(bench: Bench) -> Section:
    """Ask each contender for as much as it gives."""
    with bench.running(*bench.all_of_ours(), *bench.peers) as some:
        for load in LOADS:
            for now in some.values():
                bench.measure(now, load, seconds=bench.seconds / 4)  # warms up
            bench.found[load.name] = bench.alternate(some, load)
    head = ["answers/s (spread), CPU us a request (spread)", *(load.name for load in LOADS), "MB"]
    rows = [
        [
            name,
            *(_rate_and_cost(bench.found[load.name][name]) for load in LOADS),
            figures.number(median(bench.found[LOADS[-1].name][name], figures.resident_mb)),
        ]
        for name in some
    ]
    ratios = [
        [
            f"ours / {other}",
            *(
                figures.number(_cost(bench, load.name, OURS) / _cost(bench, load.name, other))
                for load in LOADS
            ),
        ]
        for other in some
        if other != OURS
    ]
    ratio_head = ["CPU of a request, ratio of medians", *(load.name for load in LOADS)]
    text = f"{table(head, rows)}\n\n{table(ratio_head, ratios)}"
    return Section("At full load", text)


def rates(bench: Bench) -> Section:
    """Send at a fixed rate, whether or not answers come."""
    peers = [peer for peer in bench.peers if peer.name != LITELLM]  # which can't keep up
    some = [contenders.direct(bench.worker), *bench.all_of_ours(), *peers]
    parts = []
    with bench.running(*some) as running:
        most = _saturation(bench, running[OURS])
        for rate in (1_000.0, round(most / 2, -2)):
            found = bench.alternate(running, SHORT, Pace(_OPEN_LOOP_CONNECTIONS, rate))
            head = [
                f"{rate:,.0f} requests/s",
                "p50 ms (spread)",
                "p99 ms (spread)",
                "CPU us (spread)",
            ]
            rows = [[name, *_latencies(name, samples)] for name, samples in found.items()]
            parts.append(table(head, rows))
    said = (
        f"{SHORT.name}, {_OPEN_LOOP_CONNECTIONS} connections; a latency begins when its request "
        f"was due. The second rate is half of what ours gave over {MANY.connections} connections."
    )
    return Section("At a fixed rate", "\n\n".join([said, *parts]))


def keys(bench: Bench) -> Section:
    """Compare the first use of keys with the next."""
    rows: dict[str, list[Sample]] = {"first use of each key": [], "used before": []}
    with bench.running(bench.ours()) as some:
        now = some[OURS]
        bench.measure(now, SHORT, seconds=bench.seconds / 4)
        for turn in range(bench.rounds):
            start = KEYS + turn * COLD_KEYS
            fresh = bench.keys[OURS][start : start + COLD_KEYS]
            for found in rows.values():
                count = 0 if found is rows["used before"] else len(fresh)
                sample = bench.measure(
                    now,
                    SHORT,
                    pace=MANY,
                    keys=fresh,
                    count=count,
                    seconds=60 if count else 0,
                )
                found.append(sample)
    return Section("Cold and warm keys", _closed_loops(f"{COLD_KEYS:,} keys", rows))


def workers(bench: Bench) -> Section:
    """Compare pools of one, 16 and 64 workers: links to the same stand-in."""
    sizes = {f"{size} worker{'s' * (size > 1)}": size for size in (1, 16, 64)}
    some = [bench.ours(name, workers=size) for name, size in sizes.items()]
    with bench.running(*some) as running:
        for now in running.values():
            bench.measure(now, SHORT, seconds=bench.seconds / 4)
        found = bench.alternate(running, SHORT, MANY)
    return Section("More workers", _closed_loops("pool", found))


def processes(bench: Bench) -> Section:
    """Compare two processes with one, both on every core."""
    some = {
        name: bench.ours(name, processes=n) for name, n in (("1 process", 1), ("2 processes", 2))
    }
    found: dict[str, list[Sample]] = {name: [] for name in some}
    for _ in range(bench.rounds):
        for name, one in some.items():  # one at a time: an idle gateway has jobs on these cores too
            with bench.running(one, cores=bench.cores.together) as running:
                bench.measure(running[name], SHORT, seconds=bench.seconds / 2)
                found[name].append(bench.measure(running[name], SHORT, pace=MANY))
    said = "They share all cores with the load, the worker and PostgreSQL; the CPU counts here."
    return Section("Two processes", f"{said}\n\n{_closed_loops('', found)}")


def endurance(bench: Bench) -> Section:
    """Send many requests; none may fail, each must be charged exactly, and memory must not grow."""
    charged = answered = 0
    rows = []
    with bench.running(bench.ours()) as some:
        now, before = some[OURS], books.spent(bench.urls[OURS])
        start = bench.measure(now, SHORT, count=1)
        charged, answered = charged + start.answers.charged, start.answers.ok
        rows.append(["start", "", "", figures.number(start.resident_mb)])
        marks = [*(mark for mark in _MARKS if mark < bench.requests), bench.requests]
        for mark in marks:
            sample = bench.measure(now, SHORT, pace=MANY, count=mark - answered, seconds=3_600)
            charged, answered = charged + sample.answers.charged, answered + sample.answers.ok
            rows.append(
                [
                    f"{mark:,} requests",
                    figures.number(sample.answers.rate),
                    figures.number(sample.cpu_us),
                    figures.number(sample.resident_mb),
                ]
            )
        wrong = _unposted(bench.urls[OURS], before, answered, charged)
    failed, breaches = bench.requests - answered, books.broken(bench.urls[OURS])
    if failed or wrong or breaches:
        bench.problems.append(f"long load: {failed} failed; {wrong}; broken: {breaches}")
    told = f"has each of them, and exactly the {charged:,} nano-dollars that they were told"
    said = (
        f"{bench.requests:,} requests over {MANY.connections} connections: {failed} without a 200; "
        f"the ledger {wrong or told}."
    )
    return Section("Long", f"{said}\n\n{table(['', 'answers/s', 'CPU us', 'MB'], rows)}")


def collector(bench: Bench) -> Section:
    """Time the garbage collections of a gateway in its steady state."""
    path = bench.folder / "watched.json"
    one = bench.ours(module="benchmarks.gateway.watched", WATCHED=str(path))
    rows = []
    with bench.running(one) as some:
        now = some[OURS]
        bench.measure(now, SHORT, pace=MANY, seconds=3 * bench.seconds)
        paces = {"1,000 requests/s": MANY._replace(rate=1_000.0), "as many as it can": MANY}
        for name, pace in paces.items():
            path.unlink(missing_ok=True)
            now.child.send_signal(signal.SIGUSR1)
            sample = bench.measure(now, SHORT, pace=pace, seconds=3 * bench.seconds)
            now.child.send_signal(signal.SIGUSR2)
            while not path.exists():
                time.sleep(0.01)
            found = msgspec.json.decode(path.read_bytes(), type=list[Collections])
            rows += [_collections(name, n, one, sample) for n, one in enumerate(found)]
    head = ["", "generation", "collections", "us a request", "longest ms", "objects freed"]
    return Section("Garbage collections", table(head, rows))


PARTS: Mapping[str, Callable[[Bench], Section]] = {
    part.__name__: part
    for part in (saturated, rates, keys, workers, processes, collector, endurance)
}


def _collections(name: str, generation: int, one: Collections, sample: Sample) -> list[str]:
    each = one.seconds / max(1, sample.answers.all) * 1e6
    longest = one.longest_seconds * 1e3
    return [
        name,
        str(generation),
        f"{one.count:,}",
        *map(figures.number, (each, longest)),
        f"{one.collected:,}",
    ]


def _rate_and_cost(samples: Sequence[Sample]) -> str:
    return f"{with_spread(samples, figures.rate)}, {with_spread(samples, figures.cpu_us)}"


def _cost(bench: Bench, load: str, name: str) -> float:
    return max(median(bench.found[load][name], figures.cpu_us), 1e-9)


def _latencies(name: str, samples: Sequence[Sample]) -> list[str]:
    cost = "" if has_direct(name) else with_spread(samples, figures.cpu_us)
    return [*(with_spread(samples, read) for read in (figures.p50_ms, figures.p99_ms)), cost]


def _saturation(bench: Bench, now: contenders.Running) -> float:
    bench.measure(now, SHORT, seconds=bench.seconds / 2)
    return bench.measure(now, SHORT, pace=MANY).answers.rate


def _closed_loops(what: str, found: Samples) -> str:
    head = [what, "answers/s (spread)", "CPU us (spread)", "p50 ms", "p99 ms"]
    return table(
        head,
        (
            [
                name,
                with_spread(samples, figures.rate),
                with_spread(samples, figures.cpu_us),
                figures.number(median(samples, figures.p50_ms)),
                figures.number(median(samples, figures.p99_ms)),
            ]
            for name, samples in found.items()
        ),
    )


def _unposted(url: str, before: books.Spent, answered: int, charged: int) -> str:
    """Say how the ledger differs from the answers; empty if it doesn't."""
    deadline = time.monotonic() + _POSTED_SECONDS  # what only a journal holds is posted later
    while True:
        now = books.spent(url)
        found = books.Spent(now.requests - before.requests, now.nanos - before.nanos)
        if found == (answered, charged):
            return ""
        if time.monotonic() > deadline:
            return f"says {found}, the clients {(answered, charged)}"
        time.sleep(0.5)
