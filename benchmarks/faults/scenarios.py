"""The faults. Each function runs one and returns its findings, or raises AssertionError.

In each: no client error while one good worker is left, no wrong vector, and no tokens in flight at
rest.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial

from benchmarks.faults import inputs
from benchmarks.faults.lab import ANOTHER, Findings, Lab, starved_seconds
from benchmarks.faults.processes import SECONDS_PER_TOKEN, Fleet
from gateway.data_plane.routing.discovery.dns import DnsName
from gateway.data_plane.routing.discovery.provider import follow
from gateway.snapshots import WorkerState

REFUSED_SECONDS = 0.1
HUNG_SECONDS = 1.5
READMITTED_SECONDS = 3.0
FAILING_ANSWERS = 3
WARM_SECONDS = 0.5
CHEAT_RIDERS_MAX = 4
"""Rows that rode along to a cheat until it is out."""

INVALID = (
    *("nan", "zero", "dimension", "missing", "permuted", "foreign"),
    *("truncated", "short", "html"),
)


async def killed(fleet: Fleet, seed: int, times: int = 20) -> Findings:
    """`kill -9`, again and again, one worker after the other."""
    noticed, back = [], []
    async with Lab(fleet, seed=seed) as lab:
        async with lab.traffic():
            for index in range(times):
                worker = lab.workers[index % len(lab.workers)]
                since, starved = time.monotonic(), starved_seconds()
                await worker.kill()
                seconds = await lab.out(worker, since)
                noticed.append(max(0.0, seconds - (starved_seconds() - starved)))
                await worker.start()
                back.append(await lab.back(worker, time.monotonic()))
        found = lab.at_rest()
    assert max(noticed) <= REFUSED_SECONDS, f"noticed after {max(noticed):.3f} s"
    assert max(back) <= READMITTED_SECONDS, f"back after {max(back):.3f} s"
    return {**found, "noticed": max(noticed), "readmitted": max(back)}


async def stopped(fleet: Fleet, seed: int) -> Findings:
    """`SIGSTOP` for good: the port is open, nothing ever answers."""
    async with Lab(fleet, seed=seed) as lab:
        async with lab.traffic():
            await asyncio.sleep(WARM_SECONDS)
            since = time.monotonic()
            lab.workers[0].send(signal.SIGSTOP)
            noticed = await lab.out(lab.workers[0], since)
            await asyncio.sleep(WARM_SECONDS)
            lab.workers[0].send(signal.SIGCONT)
            back = await lab.back(lab.workers[0], time.monotonic())
        found = lab.at_rest()
    assert noticed <= HUNG_SECONDS, f"noticed after {noticed:.3f} s"
    assert back <= READMITTED_SECONDS, f"back after {back:.3f} s"
    return {**found, "noticed": noticed, "readmitted": back}


async def slow(fleet: Fleet, seed: int, seconds: float = 4.0) -> Findings:
    """One worker becomes 20 times slower."""
    async with Lab(fleet, seed=seed) as lab:
        await lab.workers[0].fault("crawl", seconds=20 * SECONDS_PER_TOKEN)
        async with lab.traffic():
            await asyncio.sleep(seconds)
        return lab.at_rest()


async def failing(fleet: Fleet, seed: int) -> Findings:
    """One worker answers 500 within a millisecond, which attracts traffic if calls are counted."""
    async with Lab(fleet, seed=seed) as lab:
        async with lab.traffic():
            await asyncio.sleep(WARM_SECONDS)
            since = time.monotonic()
            await lab.workers[0].fault("error")
            noticed = await lab.out(lab.workers[0], since)
            answers = lab.count("error_WorkerFailed")
            await lab.workers[0].heal()
            back = await lab.back(lab.workers[0], time.monotonic())
        found = lab.at_rest()
    assert answers <= FAILING_ANSWERS, f"{answers} failing answers before it was out"
    assert back <= READMITTED_SECONDS, f"back after {back:.3f} s"
    return {**found, "noticed": noticed, "answers": answers, "readmitted": back}


async def refusing(fleet: Fleet, seed: int) -> Findings:
    """One worker answers 400 to every request, as if the mistake were ours."""
    async with Lab(fleet, seed=seed) as lab:
        async with lab.traffic():
            await asyncio.sleep(WARM_SECONDS)
            since = time.monotonic()
            await lab.workers[0].fault("refuse")
            noticed = await lab.out(lab.workers[0], since)
            await lab.workers[0].heal()
            back = await lab.back(lab.workers[0], time.monotonic())
        found = lab.at_rest()
    assert noticed <= HUNG_SECONDS, f"noticed after {noticed:.3f} s"
    assert back <= READMITTED_SECONDS, f"back after {back:.3f} s"
    return {**found, "noticed": noticed, "readmitted": back}


async def invalid(fleet: Fleet, seed: int, kinds: Sequence[str]) -> Findings:
    """A worker answers 200 with something that is not the rows' vectors; then another does."""
    noticed, back = [], []
    async with Lab(fleet, seed=seed) as lab:
        async with lab.traffic():
            for index, kind in enumerate(kinds):
                worker, before = lab.workers[index % 3], lab.count("error_InvalidAnswer")
                since = time.monotonic()
                await worker.fault(kind)
                noticed.append(await lab.out(worker, since))
                answers = lab.count("error_InvalidAnswer") - before
                assert answers <= 1, f"{kind}: {answers} invalid answers before it was out"
                await worker.heal()
                back.append(await lab.back(worker, time.monotonic()))
        found = lab.at_rest()
    assert max(back) <= READMITTED_SECONDS, f"back after {max(back):.3f} s"
    return {**found, "noticed": max(noticed), "readmitted": max(back)}


async def dripping(fleet: Fleet, seed: int) -> Findings:
    """One worker sends its answers a byte at a time."""
    async with Lab(fleet, seed=seed) as lab:
        async with lab.traffic():
            since = time.monotonic()
            await lab.workers[0].fault("drip", seconds=0.05)
            noticed = await lab.out(lab.workers[0], since)
        found = lab.at_rest()
    assert noticed <= HUNG_SECONDS, f"noticed after {noticed:.3f} s"
    return {**found, "noticed": noticed}


async def impostor(fleet: Fleet, seed: int) -> Findings:
    """A worker comes back with another model's vectors and claims to be the same."""
    arguments = ("--salt", "another model")
    return await _returned(fleet, seed, arguments, WorkerState.QUARANTINED, "golden")


async def two_revisions(fleet: Fleet, seed: int) -> Findings:
    """A worker comes back as another revision: it stays out while the first one serves."""
    arguments = ("--revision", ANOTHER, "--salt", ANOTHER)
    return await _returned(fleet, seed, arguments, WorkerState.WARMING, "revision")


async def unpinned(fleet: Fleet, seed: int) -> Findings:
    """A worker comes back as a revision that is not pinned: it stays out and says why."""
    arguments = ("--revision", "new", "--salt", "new")
    return await _returned(fleet, seed, arguments, WorkerState.QUARANTINED, "gateway workers pin")


async def _returned(
    fleet: Fleet, seed: int, arguments: Sequence[str], state: WorkerState, reason: str
) -> Findings:
    """Kill a worker, start it again as something else, and see it kept out for this reason."""
    async with Lab(fleet, seed=seed) as lab:
        worker, since = lab.workers[0], time.monotonic()
        async with lab.traffic():
            await worker.kill()
            await lab.out(worker, since)
            await worker.start(*arguments)
            await lab.seen(worker, state, since=since, reason=reason)
            await asyncio.sleep(WARM_SECONDS)
        changes = [c for url, c in lab.changes if url == worker.url and c.at > since]
        assert not any(c.state is WorkerState.READY for c in changes), "it was let in"
        return lab.at_rest()


async def cheating(fleet: Fleet, seed: int, kind: str) -> Findings:
    """One worker knows what it was asked three times, and lies about all else.

    It begins when it has learned the canaries, and must not come back while there is work.
    """
    async with Lab(fleet, seed=seed) as lab:
        async with lab.traffic():
            await asyncio.sleep(2 * WARM_SECONDS)
            asked = lab.riders_of(lab.workers[0])
            since = time.monotonic()
            await lab.workers[0].fault(kind)
            noticed = await lab.out(lab.workers[0], since)
            riders = len(asked)
            lies = lab.wrong
            await asyncio.sleep(4 * WARM_SECONDS)
            told = [c.state for url, c in lab.changes if url == lab.workers[0].url and c.at > since]
            assert WorkerState.READY not in told, "it came back"
            others = [v.state for v in lab.pool.workers() if v.url != lab.workers[0].url]
            assert set(others) == {WorkerState.READY}, "an honest worker was taken out"
            await lab.workers[0].heal()
            back = await lab.back(lab.workers[0], time.monotonic())
        assert lab.wrong == lies, "it lied on after it was out"
        lab.wrong = 0
        found = lab.at_rest()
    assert riders <= CHEAT_RIDERS_MAX, f"{riders} riders before it was out"
    assert back <= READMITTED_SECONDS, f"back after {back:.3f} s"
    return {**found, "noticed": noticed, "riders": riders, "lies": lies, "readmitted": back}


async def flapping(fleet: Fleet, seed: int, times: int = 6) -> Findings:
    """One worker breaks its connections, is well, breaks them again."""
    async with Lab(fleet, seed=seed) as lab:
        async with lab.traffic():
            for _ in range(times):
                await lab.workers[0].fault("reset")
                await asyncio.sleep(0.3)
                await lab.workers[0].heal()
                await asyncio.sleep(0.3)
        return lab.at_rest()


async def overloaded(fleet: Fleet, seed: int, workers: int) -> Findings:
    """Some of the workers answer 429 for a while."""
    async with Lab(fleet, seed=seed) as lab:
        async with lab.traffic():
            for worker in lab.workers[:workers]:
                await worker.fault("busy")
            await asyncio.sleep(1.0)
            for worker in lab.workers[:workers]:
                await worker.heal()
            await asyncio.sleep(0.3)
        out = [url for url, change in lab.changes if change.state is WorkerState.QUARANTINED]
        assert not out, "busy was taken for dead"
        return lab.at_rest()


async def restarted(fleet: Fleet, seed: int, drain_seconds: float = 1.0) -> Findings:
    """SIGTERM to one worker after the other; each drains, ends and is started again."""
    back = []
    async with Lab(fleet, seed=seed) as lab:
        async with lab.traffic():
            for drained in (0.0, drain_seconds):  # the second round ends what the first one started
                for worker in lab.workers:
                    since = time.monotonic()
                    worker.send(signal.SIGTERM)
                    await worker.ended()
                    await lab.out(worker, since)
                    await worker.start("--drain-seconds", str(drain_seconds - drained))
                    back.append(await lab.back(worker, time.monotonic()))
        found = lab.at_rest()
    assert max(back) <= READMITTED_SECONDS, f"back after {max(back):.3f} s"
    return {**found, "readmitted": max(back)}


async def loop_blocked(fleet: Fleet, seed: int, times: int = 3) -> Findings:
    """Our own event loop blocks for 300 ms: that is no worker's fault."""
    async with Lab(fleet, seed=seed) as lab:
        async with lab.traffic():
            for _ in range(times):
                await asyncio.sleep(0.4)
                time.sleep(0.3)  # noqa: ASYNC251 - that is the fault
            await asyncio.sleep(0.4)
        out = [change for _, change in lab.changes if change.state is WorkerState.QUARANTINED]
        assert not out, f"a healthy worker was taken out: {out}"
        return lab.at_rest()


async def all_down(fleet: Fleet, seed: int) -> Findings:
    """Every worker dies; the requests wait, and are served when the workers are back."""
    async with Lab(fleet, seed=seed) as lab:
        async with lab.traffic():
            await asyncio.sleep(WARM_SECONDS)
            since = time.monotonic()
            await asyncio.gather(*(worker.kill() for worker in lab.workers))
            await asyncio.sleep(1.0)
            await asyncio.gather(*(worker.start() for worker in lab.workers))
            healthy = time.monotonic()
            back = [
                await lab.seen(worker, WorkerState.READY, since=since) for worker in lab.workers
            ]
            await asyncio.sleep(WARM_SECONDS)
        found = lab.at_rest()
    longest = since + max(back) - healthy
    assert longest <= READMITTED_SECONDS, f"back after {longest:.3f} s"
    return {**found, "readmitted": longest}


async def vanishing(fleet: Fleet, seed: int, times: int = 6) -> Findings:
    """Discovery takes a healthy worker away and brings it back."""
    async with Lab(fleet, seed=seed) as lab:
        async with lab.traffic():
            for index in range(times):
                worker = lab.workers[index % len(lab.workers)]
                lab.pool.remove(worker.url)
                await asyncio.sleep(0.1)
                since = time.monotonic()
                lab.pool.add(worker.url)
                await lab.back(worker, since)
        return lab.at_rest()


async def dns_gone(fleet: Fleet, seed: int) -> Findings:
    """The name server stops answering: the workers that are known go on serving."""
    lookups = 0
    async with Lab(fleet, seed=seed) as lab:

        async def resolve(host: str, _: int) -> frozenset[str]:
            nonlocal lookups
            lookups += 1
            if lookups > len(lab.workers):
                raise OSError("no name server answers")
            return frozenset({host})

        names = [
            DnsName("127.0.0.1", worker.port, poll_seconds=0.05, resolve=resolve)
            for worker in lab.workers
        ]
        following = asyncio.create_task(follow(lab.pool, names))
        async with lab.traffic():
            await asyncio.sleep(2 * WARM_SECONDS)
        following.cancel()
        await asyncio.wait([following])
        assert lookups > 3 * len(lab.workers), "the outage was not looked into"
        assert all(view.state is WorkerState.READY for view in lab.pool.workers())
        assert len(lab.pool.workers()) == len(lab.workers)
        return lab.at_rest()


def scenarios() -> dict[str, Callable[[Fleet, int], Coroutine[None, None, Findings]]]:
    """Return all scenarios in their long form, by name."""
    return {
        "kill -9, twenty times": killed,
        "SIGSTOP for good": stopped,
        "20 times slower": slow,
        "500 in 1 ms": failing,
        "400 to everything": refusing,
        "invalid answers": lambda fleet, seed: invalid(fleet, seed, INVALID),
        "slow drip": dripping,
        "vectors of another model": impostor,
        "another revision": two_revisions,
        "a revision that is not pinned": unpinned,
        "a cheat that learns calls": lambda fleet, seed: cheating(fleet, seed, "cheat"),
        "a cheat that learns rows": lambda fleet, seed: cheating(fleet, seed, "cheat_rows"),
        "flapping": flapping,
        "overload of one": lambda fleet, seed: overloaded(fleet, seed, 1),
        "overload of all": lambda fleet, seed: overloaded(fleet, seed, 3),
        "rolling SIGTERM restarts": restarted,
        "poison, refused": lambda fleet, seed: inputs.poisoned(fleet, seed, "poison"),
        "poison, failing": lambda fleet, seed: inputs.poisoned(fleet, seed, "poison_error"),
        "a deadly input": lambda fleet, seed: inputs.deadly(fleet, seed, "deadly"),
        "an input that is deadly slowly": partial(inputs.deadly, kind="deadly", seconds=0.3),
        "an input that breaks engines": lambda fleet, seed: inputs.deadly(fleet, seed, "breaking"),
        "300 ms of a blocked event loop": loop_blocked,
        "all down and back": all_down,
        "vanish and return": vanishing,
        "DNS gone": dns_gone,
    }
