"""Clients go wrong: they spend all they have, leave early, or hold connections and say nothing."""

from __future__ import annotations

import asyncio
import contextlib
import math
import resource
import socket
from collections.abc import AsyncIterator

from benchmarks.storm.registry import scenario
from benchmarks.storm.storm import Storm
from benchmarks.storm.template import add_customer

ORGANIZATIONS = 1_000
_CREDIT_NANOS_MAX = 300
_AT_ONCE = 12
_IDLE, _SLOW = 10_000, 2_000
_SPARE_FILES = 3_000
_CROSSING = 5
"""Most charges whose answer is on its way when its client hangs up."""
_HEAD = b"POST /v1/embeddings HTTP/1.1\r\nhost: gateway\r\ncontent-length: 99"


# who has spent all is refused to the end
@scenario("Clients", fails={"402 insufficient_quota": 0.9}, rate=10.0, whole_seconds=math.inf)
async def a_thousand_organizations_spend_all(storm: Storm) -> None:
    """1,000 organizations with 0 to 300 nano-dollars spend all at both gateways at once.

    Nobody spends more than there is, and nobody is refused who could have paid.
    """
    first = len(storm.record.customers)
    async with storm.deployment.database() as database:
        for _ in range(ORGANIZATIONS // 20):
            storm.record.customers += await asyncio.gather(
                *(
                    add_customer(database, "small", storm.choose.randrange(_CREDIT_NANOS_MAX))
                    for _ in range(20)
                )
            )
    turn = asyncio.Semaphore(_AT_ONCE)

    async def spend(customer: int) -> None:
        for gateway in storm.deployment.gateways:
            async with turn:
                while (await storm.clients.ask(customer, inputs=1, url=gateway.url)).served:
                    pass

    async with storm.load(), storm.fault():
        await asyncio.gather(*(spend(first + number) for number in range(ORGANIZATIONS)))
    _nobody_was_refused_who_could_pay(storm, first)


def _nobody_was_refused_who_could_pay(storm: Storm, first: int) -> None:
    left = [customer.credit_nanos for customer in storm.record.customers]
    for request, attempt in storm.record.attempts():
        left[request.customer] -= attempt.cost_nanos
    for request in storm.record.requests:
        could = request.tokens * 8 <= left[request.customer]
        if request.customer >= first and not request.served and could:
            storm.expect(f"{request} could be paid", holds=False)
    spent = sum(one.credit_nanos for one in storm.record.customers[first:]) - sum(left[first:])
    storm.notes.append(f"{spent} nano-dollars were spent, and {sum(left[first:])} are left.")


@scenario("Clients", fails={"no answer": 0.5}, unasked=_CROSSING, rate=15.0)
async def clients_are_impatient(storm: Storm) -> None:
    """Workers take 5 seconds for 10 seconds, and clients hang up after 3.

    Work that reaches nobody is not charged; a retry that fetches it pays once.
    """
    storm.clients.patience_seconds = 3.0
    workers = storm.deployment.workers
    async with storm.load(), storm.fault():
        await asyncio.gather(*(worker.fault("slow", seconds=5.0) for worker in workers))
        await storm.last(10)
        await asyncio.gather(*(worker.heal() for worker in workers))


@scenario("Clients")
async def strangers_hold_connections(storm: Storm) -> None:
    """10,000 connections that say nothing, and 2,000 that never end their head, for 15 seconds."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    share = min(1.0, (files - _SPARE_FILES) / (_IDLE + _SLOW))
    async with storm.load(), storm.fault(), _strangers(storm, share) as strangers:
        await storm.last(15)
        closed = await asyncio.to_thread(_closed, strangers)
    storm.notes.append(f"{len(strangers)} connections, of which {closed} were closed by then.")


@contextlib.asynccontextmanager
async def _strangers(storm: Storm, share: float) -> AsyncIterator[list[socket.socket]]:
    held: list[socket.socket] = []
    ports = [gateway.port for gateway in storm.deployment.gateways]

    def connect(count: int, said: bytes) -> None:
        for number in range(count):
            held.append(socket.create_connection(("127.0.0.1", ports[number % 2]), timeout=30))
            held[-1].send(said) if said else None

    try:
        await asyncio.to_thread(connect, int(_IDLE * share), b"")
        await asyncio.to_thread(connect, int(_SLOW * share), _HEAD)
        yield held
    finally:
        for one in held:
            one.close()


def _closed(held: list[socket.socket]) -> int:
    """Return how many of them the other side has closed."""
    closed = 0
    for one in held:
        one.setblocking(False)
        try:
            while said := one.recv(4096):
                assert said
            closed += 1
        except BlockingIOError:
            pass
        except OSError:
            closed += 1
    return closed
