"""A request leaves nothing that only the garbage collector could free.

A full collection stops every request, for as long as it takes to visit all objects. Without cycles
none is needed: what a request made is freed as it ends.
"""

import asyncio
import contextlib
import gc
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.buckets import Buckets
from gateway.control_plane.accounts import organizations
from gateway.data_plane.auth import keys
from testing import door
from testing.door import Client
from testing.gateways import MODEL, Api, settled
from testing.processes import Process

pytestmark = pytest.mark.sqlite

WARM = 20
OURS = ("gateway", "backends")
BODY = {"model": MODEL, "input": "hello world"}


class Door:
    """The port of a gateway, a connection to it, and another to its worker."""

    def __init__(self, port: int, worker: Process, key: str, penniless: str) -> None:
        self.port = port
        self.key = key
        self.penniless = penniless
        self.client = Client(port)
        self.worker = Client(int(worker.url.rpartition(":")[2]))

    def post(self, status: int, body: Any = None, **options: str) -> None:
        request = door.request(options.pop("key", self.key), body or BODY, **options)
        assert self.client.ask(request) == status

    def close(self) -> None:
        for client in (self.client, self.worker):
            client.close()


def good(to: Door) -> None:
    to.post(200)


def floats(to: Door) -> None:
    to.post(200, {**BODY, "encoding_format": "float"})


def batch(to: Door) -> None:
    to.post(200, {**BODY, "input": ["hello world"] * 32})


def estimate(to: Door) -> None:
    to.post(200, path="/v1/embeddings/estimate")


def unknown_key(to: Door) -> None:
    to.post(401, key=keys.mint(b"a secret of somebody else"))


def bad_json(to: Door) -> None:
    to.post(400, b'{"model": ')


def bad_field(to: Door) -> None:
    to.post(400, {**BODY, "dimensions": 7})


def no_credit(to: Door) -> None:
    to.post(402, key=to.penniless)


def unknown_model(to: Door) -> None:
    to.post(404, {**BODY, "model": "none"})


def too_large(to: Door) -> None:
    to.post(413, content_length=str(10**9))
    to.client.close()
    to.client = Client(to.port)


def leaves(to: Door) -> None:
    request = door.request(to.key, BODY)
    for end in (len(request), len(request) - 5):  # after its body, and before that is whole
        client = Client(to.port)
        client.send(request[:end])
        client.close()


def kept_answer(to: Door) -> None:
    to.post(200, idempotency_key="the same")


def joins(to: Door) -> None:
    body = {**BODY, "user": str(id(to.client))}
    to.client.send(door.request(to.key, body))
    other = Client(to.port)
    assert other.ask(door.request(to.key, body, x_stainless_retry_count="1")) == 200
    assert to.client.receive() == 200
    other.close()


def worker_fails(to: Door) -> None:
    fault = door.request("", {"kind": "error", "times": 1}, path="/fault", method="PUT")
    assert to.worker.ask(fault) == 204
    status = to.client.ask(door.request(to.key, BODY, prefer="wait=0"))
    assert status in {200, 429, 502, 503}  # once it has failed, it is out for a while


KINDS: list[Callable[[Door], None]] = [
    good, floats, batch, estimate, unknown_key, bad_json, bad_field, no_credit, unknown_model,
    too_large, leaves, kept_answer, joins, worker_fails,
]  # fmt: skip


@pytest.mark.parametrize("requests", [30, pytest.param(300, marks=pytest.mark.long)])
@pytest.mark.timeout(600)
async def test_requests_leave_no_garbage(requests: int, api: Api, fake_worker: Process):
    await api.ready()
    api.gateway.data.hot_path.estimates._buckets = Buckets(10**9, 60)
    keys_ = api.keys
    async with api.gateway.core.database.write() as connection:
        poor = await organizations.create(connection, "poor")
    penniless = (await keys_.create(poor.id, "tests")).secret
    left = []
    async with door.listening(api.gateway) as port:
        to = await door.in_thread(Door, port, fake_worker, api.ledger.secret, penniless)
        for kind in KINDS:
            await _repeat(WARM, kind, to, api)
            with collecting() as found:
                await _repeat(requests, kind, to, api)
            print(f"{kind.__name__:16} {found.parts:4} {found.names.most_common(6)}")
            if found.ours() or found.of_each(requests):
                left.append(f"{kind.__name__}: {found.ours() or found.of_each(requests)}")
        await door.in_thread(to.close)
    assert not left, "\n".join(left)


async def _repeat(times: int, kind: Callable[[Door], None], to: Door, api: Api) -> None:
    def repeat() -> None:
        for _ in range(times):
            kind(to)

    await door.in_thread(repeat)
    await settled(api.gateway)
    while api.gateway.data.hot_path.in_flight:  # of clients that left
        await asyncio.sleep(0.005)


class Garbage:
    """The names of what only the collector found."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()
        self.parts = 0

    def ours(self) -> list[tuple[str, int]]:
        return [(n, count) for n, count in self.names.most_common() if n.startswith(OURS)]

    def of_each(self, requests: int) -> str:
        """Describe it if each request may have left a part of it.

        A job leaves some too, however many requests there are: each of its SQL statements is a
        cycle of many objects, thus parts are counted and not objects.
        """
        if self.parts < requests:
            return ""
        return f"{self.parts} parts that hang together: {self.names.most_common(6)}"


def _parts(garbage: list[Any]) -> int:
    """Count the groups of objects that no reference connects."""
    group = {id(one): id(one) for one in garbage}

    def root(one: int) -> int:
        while group[one] != one:
            group[one] = one = group[group[one]]
        return one

    for one in garbage:
        for other in gc.get_referents(one):
            if id(other) in group:
                group[root(id(one))] = root(id(other))
    return sum(one == above for one, above in group.items())


def _name(one: Any) -> str:
    """Return the name of an object's type, of a function or frame that of its module."""
    if inspect.isframe(one):
        return f"{one.f_globals.get('__name__')}.{one.f_code.co_qualname} (frame)"
    if inspect.iscoroutine(one):
        return f"{one.cr_code.co_filename}.{one.__qualname__} (coroutine)"
    if inspect.isfunction(one) or inspect.ismethod(one):
        return f"{one.__module__}.{one.__qualname__} (function)"
    return f"{type(one).__module__}.{type(one).__qualname__}"


@contextlib.contextmanager
def collecting() -> Iterator[Garbage]:
    """Note all that the block leaves to the collector."""
    found = Garbage()
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.names.update(map(_name, gc.garbage))
        found.parts = _parts(gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.collect()
        gc.enable()
