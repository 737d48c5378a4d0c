"""An exchange is bytes in and bytes out: any server can bring its connection."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from gateway.data_plane.api.exchange import Disconnected, Exchange, HotEndpoint, RawAnswer, Reply
from gateway.data_plane.limits.concurrency import InFlight
from gateway.data_plane.recent_requests import RecentRequests
from gateway.data_plane.records import Records
from gateway.data_plane.tallies import AnswerTally


class InMemory:
    """A connection without a server."""

    def __init__(self, *chunks: bytes, leaves: bool = False) -> None:
        self._chunks = chunks
        self._leaves = leaves

    def peer(self) -> str:
        return "203.0.113.9"

    async def body(self, take: Callable[[int], None] | None) -> bytes:
        for chunk in self._chunks:
            if take:
                take(len(chunk))
        if self._leaves:
            raise Disconnected
        return b"".join(self._chunks)

    def is_ending(self) -> bool:
        return self._leaves


def in_flight() -> InFlight:
    return InFlight(total_max=2, organization_max=2, bytes_max=30, organization_bytes_max=20)


def records() -> Records:
    recent = RecentRequests(entries_max=9, organization_entries_max=9)
    return Records(AnswerTally(entries_max=9), recent)


def recorded(records: Records) -> list[tuple[int, str]]:
    """Return the statuses and codes recorded so far, and start over."""
    with records.recent.draining() as rooms:
        kept = [(one.status, one.code) for room in rooms.values() for one in room.entries]
    counts = records.answers.drain()
    assert [one.status_class for one in counts.answers] == [status // 100 for status, _ in kept]
    assert [(one.status, one.code) for one in counts.errors] == [one for one in kept if one[1]]
    return kept


async def read(exchange: Exchange) -> Reply:
    exchange.organization_id, exchange.key_id = "o", "k"
    with in_flight().admit("o") as place:
        return Reply(await exchange.body(10, place), b"x-cost-nanos: 1\r\n")


async def end(_exchange: Exchange) -> Reply:
    raise asyncio.CancelledError


async def mistake(_exchange: Exchange) -> Reply:
    raise KeyError("ours")


def exchange(
    handle: Callable[[Exchange], Awaitable[Reply]],
    connection: InMemory,
    made: Records,
    method: str = "POST",
    headers: dict[bytes, bytes] | None = None,
) -> Exchange:
    endpoint = HotEndpoint("/v1/x", handle, in_flight=in_flight(), records=made)
    named = {b"content-type": b"application/json", **(headers or {})}
    return Exchange(method, named, connection, endpoint)


def told(answer: RawAnswer) -> dict[bytes, bytes]:
    assert answer.head.endswith(b"\r\n")
    return dict(line.split(b": ") for line in answer.head.split(b"\r\n")[:-1])


@pytest.mark.parametrize(
    ("handle", "connection", "headers", "status"),
    [
        (read, InMemory(b"01234", b"56789"), {}, 200),
        (read, InMemory(b"0123456789"), {b"content-length": b"10"}, 200),
        (read, InMemory(b"01234", b"567890"), {}, 413),
        (read, InMemory(b"0"), {b"content-length": b"11"}, 413),
        (read, InMemory(b"0"), {b"content-type": b"text/plain"}, 415),
        (read, InMemory(b"0", leaves=True), {}, 499),
        (end, InMemory(), {}, 503),
        (mistake, InMemory(), {}, 500),
    ],
)
async def test_whatever_comes_of_it_is_an_answer(handle, connection, headers, status):
    made = records()
    answer = await exchange(handle, connection, made, headers=headers).answer()
    assert answer.status == status
    lines = told(answer)
    assert lines[b"content-length"] == b"%d" % len(answer.body)
    assert {b"x-request-id", b"openai-processing-ms", b"x-gateway-overhead-ms"} < lines.keys()
    if status == 200:
        assert answer.body == b"0123456789"
        assert lines[b"x-cost-nanos"] == b"1"
    else:
        assert msgspec.json.decode(answer.body)["error"].keys() >= {"message", "code"}
    if handle is read:
        assert lines[b"x-ratelimit-remaining-requests"] == b"2"
    assert [found for found, _ in recorded(made)] == ([status] if handle is read else [])


async def test_405_names_the_method_that_is_served():
    answer = await exchange(read, InMemory(), records(), "GET").answer()
    assert (answer.status, told(answer)[b"allow"]) == (405, b"POST")


async def test_a_client_that_left_is_counted_when_it_leaves_and_once():
    made = records()
    leaving = exchange(end, InMemory(), made)
    leaving.organization_id, leaving.key_id = "o", "k"
    leaving.leave()
    assert recorded(made) == [(499, "client_closed")]
    assert (await leaving.answer()).status == 499
    assert not recorded(made)


def test_a_client_s_network_is_what_its_keys_are_counted_by():
    behind = {b"x-forwarded-for": b"198.51.100.1, 192.0.2.7"}
    made = exchange(read, InMemory(), records(), headers=behind)
    assert made.network(proxies=0) == "203.0.113.0/24"
    assert made.network(proxies=1) == "192.0.2.0/24"
