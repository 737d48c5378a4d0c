"""The front door speaks HTTP as uvicorn's own protocol does, and hands on what is not its own.

The same bytes go to both, in the same pieces: to the front door, which answers its hot paths, and
to uvicorn's protocol in front of an application that gives the same answers.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast
from unittest.mock import Mock

import msgspec
import pytest
import uvicorn
from litestar import Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.data_plane.api import door
from gateway.data_plane.api.callers import Callers
from gateway.data_plane.api.door import Bounds, Door
from gateway.data_plane.api.exchange import Exchange, HotEndpoint, Reply
from gateway.data_plane.api.front_door import FrontDoor
from gateway.data_plane.limits.concurrency import InFlight
from testing.front_door import Client, post

BOUNDS = Bounds(
    connections_max=4, pipelined_max=4, head_bytes_max=32_768, headers_max=100, head_seconds=10,
    body_seconds=30, bytes_per_second_min=1_000, keep_alive_seconds=75, unread_seconds=10,
    connection_seconds=300,
)  # fmt: skip


def in_flight(**changes: int) -> InFlight:
    bounds = {
        "total_max": 9,
        "organization_max": 9,
        "bytes_max": 10**8,
        "organization_bytes_max": 10**8,
    }
    return InFlight(**bounds | changes)


class Served:
    """An application that tells the length of a body, behind a door that does the same."""

    def __init__(self, bounds: Bounds = BOUNDS, places: InFlight | None = None) -> None:
        self.places = in_flight() if places is None else places
        self.waits = asyncio.Event()
        self.waits.set()
        self.reads = asyncio.Event()
        self.reads.set()
        self.begun = 0
        self.headers: list[tuple[bytes, bytes]] = []
        """Of the last request to the application."""
        self.ended: list[str] = []
        endpoint = HotEndpoint("/hot", self.tell, in_flight=self.places)
        self.door = Door([endpoint], bounds)

    async def tell(self, exchange: Exchange) -> Reply:
        """Answer at the front door."""
        with self.places.admit("o") as place:
            await self.reads.wait()
            body = await exchange.body(1_000_000, place)
            self.begun += 1
            try:
                await self.waits.wait()
            except asyncio.CancelledError:
                self.ended.append("canceled")
                raise
            return Reply(b"%d" % len(body))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer as an application."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        self.headers = scope["headers"]
        await self.waits.wait()
        is_post = scope["method"] == "POST" or scope["path"] != "/hot"
        await send(
            {
                "type": "http.response.start",
                "status": 200 if is_post else 405,
                "headers": [(b"content-length", b"%d" % len(b"%d" % len(body)))],
            }
        )
        await send({"type": "http.response.body", "body": b"%d" % len(body)})


def head(*lines: bytes, method: bytes = b"POST", path: bytes = b"/hot") -> bytes:
    given = (b"%b %b HTTP/1.1" % (method, path), b"host: x", b"content-type: application/json")
    return b"\r\n".join((*given, *lines, b"", b""))


POST = head(b"content-length: 5") + b"12345"
GET = head(method=b"GET", path=b"/cold")
CHUNKED = head(b"transfer-encoding: chunked")

STREAMS: dict[str, bytes] = {
    "one": POST,
    "cold": GET,
    "kept alive": POST + POST,
    "pipelined": POST * 3,
    "hot and cold": POST + GET + POST + GET,
    "cold and hot": GET + POST + GET,
    "chunked": CHUNKED + b"3\r\n123\r\n2;ext=1\r\n45\r\n0\r\n\r\n",
    "chunked, then one": CHUNKED + b"3\r\n123\r\n0\r\n\r\n" + POST,
    "chunked with trailers": CHUNKED + b"3\r\n123\r\n0\r\nx-trailer: 1\r\n\r\n" + POST,
    "bad chunk": CHUNKED + b"zz\r\n123\r\n",
    "expect": head(b"content-length: 5", b"expect: 100-continue") + b"12345",
    "expect, cold": head(b"content-length: 5", b"Expect: 100-Continue", path=b"/cold") + b"12345",
    "another header says so": head(b"content-length: 5", b"x-a: 100-continue") + b"12345",
    "expect something else": head(b"content-length: 5", b"expect: a miracle") + b"12345",
    "close": head(b"content-length: 5", b"connection: close") + b"12345" + POST,
    "http 1.0": POST.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "http 1.0, kept alive": POST.replace(b"1.1\r\n", b"1.0\r\nconnection: keep-alive\r\n"),
    "two lengths": head(b"content-length: 5", b"content-length: 6") + b"12345",
    "one length twice": head(b"content-length: 5", b"content-length: 5") + b"12345",
    "length and chunked": head(b"content-length: 5", b"transfer-encoding: chunked") + b"0\r\n\r\n",
    "chunked and length": head(b"transfer-encoding: chunked", b"content-length: 5") + b"0\r\n\r\n",
    "two codings": head(b"transfer-encoding: gzip, chunked") + b"0\r\n\r\n",
    "unknown coding": head(b"transfer-encoding: gzip") + b"0\r\n\r\n",
    "negative length": head(b"content-length: -5"),
    "length in words": head(b"content-length: five"),
    "a length too long to count": head(b"content-length: " + b"9" * 30),
    "folded header": head(b"x-a: 1\r\n 2", b"content-length: 5") + b"12345",
    "space before the colon": head(b"x-a : 1", b"content-length: 5") + b"12345",
    "header without a name": head(b": 1", b"content-length: 5") + b"12345",
    "zero byte": head(b"x-a: \x00", b"content-length: 5") + b"12345",
    "bare newlines": POST.replace(b"\r\n", b"\n"),
    "upgrade": head(b"connection: upgrade", b"upgrade: websocket", b"content-length: 5") + b"12345",
    "upgrade of a get": head(b"connection: upgrade", b"upgrade: h2c", method=b"GET", path=b"/cold"),
    "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "one, then garbage": POST + b"garbage\r\n\r\n",
    "half a head": POST[:30],
    "half a body": POST[:-2],
    "newlines first": b"\r\n\r\n" + POST,
    "query": POST.replace(b"/hot", b"/hot?a=b"),
    "whole address": POST.replace(b"/hot", b"http://x/hot"),
    "escaped": POST.replace(b"/hot", b"/h%6ft"),
    "head": GET.replace(b"GET", b"HEAD"),
    "connect": b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    "a body over a read": head(b"content-length: 200000") + b"x" * 200_000,
    "two bodies over a read": (head(b"content-length: 70000") + b"x" * 70_000) * 2,
}  # fmt: skip


def pieces(stream: bytes, size: int) -> Iterator[bytes]:
    return (stream[at : at + size] for at in range(0, len(stream), size))


async def spoken(protocol: Any, stream: bytes, size: int, *, eof: bool) -> list[object]:
    """Send a stream in pieces; return what came back, told apart where both may differ."""
    client = Client(Served(), protocol=protocol)
    for piece in pieces(stream, size):
        if client.is_closing():
            break
        await client.send(piece)
        for _ in range(4):
            await asyncio.sleep(0)
    if eof and not client.protocol.eof_received():  # as a transport does: it closes
        client.close()
    for _ in range(40):
        await asyncio.sleep(0)
    said = bytes(client.received)
    found: list[object] = [*re.findall(rb"HTTP/1\.1 (\d+)", said), client.is_closing()]
    found += re.findall(rb"\r\n\r\n(\d+)(?=HTTP|$)", said)
    found += sorted(re.findall(rb"connection: close", said))
    client.leave()
    await asyncio.sleep(0)
    return found


@pytest.mark.parametrize("size", [10**6, 7])
@pytest.mark.parametrize("case", STREAMS)
async def test_the_same_bytes_get_the_same_answers(case: str, size: int):
    stream = STREAMS[case]
    size = max(size, len(stream) // 40)
    for eof in (False, True):
        ours, theirs = [
            await spoken(protocol, stream, size, eof=eof)
            for protocol in (FrontDoor, HttpToolsProtocol)
        ]
        assert ours == theirs


async def test_headers_that_stand_there_twice_mean_what_they_mean_to_the_application():
    class Told:
        async def authenticate(self, authorization: str | None, network: Callable[[], str]) -> Any:
            seen.append((authorization, network()))
            return Mock()

    class Twice(Served):
        async def tell(self, exchange: Exchange) -> Reply:
            network = partial(exchange.network, proxies=2)
            await Told().authenticate(exchange.header(b"authorization"), network)
            return Reply(b"")

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            callers = Callers(cast("Any", Told()), Mock(), proxies=2)
            await callers(Request(scope, receive, send))
            await super().__call__(scope, receive, send)

    seen: list[tuple[str | None, str]] = []
    stream = head(
        b"x-forwarded-for: 198.51.100.1, 203.0.113.7",
        b"authorization: Bearer first",
        b"X-Forwarded-For: 192.0.2.1",
        b"authorization: Bearer second",
        b"content-length: 0",
    )
    for protocol in (FrontDoor, HttpToolsProtocol):
        client = Client(Twice(), protocol=protocol)
        await client.send(stream)
        assert await client.status() == 200
        client.leave()
    assert seen == [("Bearer first", "203.0.113.0/24")] * 2


def told(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_a_head_that_is_too_large_is_431_however_it_comes():
    long = b"x-long: " + b"a" * 40_000
    for stream, size in (
        (head(long), 10**6),
        (head(long), 5_000),
        (head(*[b"x-a: 1"] * 101), 10**6),
        (head(*[b"x-a: 1"] * 101, b"content-length: 5") + b"12345", 10**6),
        (head(path=b"/" + b"a" * 40_000), 5_000),
        (POST + head(long), 10**6),
    ):
        client = Client(Served())
        for piece in pieces(stream, size):
            await client.send(piece)
        answer = await client.answer()
        if stream.startswith(POST):  # the one before it is not answered any more
            assert client.is_closing()
        assert told(answer) == (431, "headers_too_large")
        assert answer.headers["connection"] == "close"
        assert answer.headers["x-request-id"]
        assert client.is_closing()


async def test_a_header_value_without_an_end_is_cut_off_after_some_bytes():
    """30 MB in one value, sent without a key: read no further than its bound."""
    client, sent = Client(Served()), 0
    await client.send(b"POST /hot HTTP/1.1\r\nx-a: ")
    while not client.is_closing():
        await client.send(b"a" * 65_536)
        sent += 65_536
        assert sent < 200_000
    assert told(await client.answer()) == (431, "headers_too_large")


async def test_headers_as_long_as_the_bound_pass():
    room = BOUNDS.head_bytes_max - len(POST) - len("x-a: \r\n") - 64
    stream = head(b"x-a: " + b"a" * room, b"content-length: 5") + b"12345"
    client = Client(Served())
    await client.send(stream)
    assert (await client.answer()).text == "5"


async def test_what_follows_a_chunked_body_is_bounded_too():
    served = Served()
    client = Client(served)
    await client.send(CHUNKED + b"3\r\n123\r\n0\r\nx-trailer: ")
    while not client.is_closing():
        await client.send(b"a" * 65_536)
    answer = await client.answer()
    assert answer.status_code == 400
    assert "small chunks" in answer.json()["error"]["message"]


async def test_what_follows_a_chunked_body_is_no_header():
    served = Served()
    client = Client(served)
    stream = head(b"transfer-encoding: chunked", path=b"/cold")
    await client.send(stream + b"3\r\n123\r\n0\r\nx-trailer: 1\r\n\r\n")
    assert (await client.answer()).text == "3"
    assert (b"content-type", b"application/json") in served.headers
    assert (b"x-trailer", b"1") not in served.headers


async def test_the_answer_to_head_has_no_body():
    client = Client(Served())
    await client.send(head(b"content-length: 5", method=b"HEAD") + b"12345")
    await client.answered()
    assert client.received.startswith(b"HTTP/1.1 405")
    assert client.received.endswith(b"\r\n\r\n")


async def test_a_body_in_tiny_chunks_is_refused_before_it_is_read():
    client = Client(Served())
    await client.send(CHUNKED + b"1\r\na\r\n" * 200_000)
    assert (await client.answer()).status_code == 400
    assert client.protocol._got < 15_000  # of 200,000


async def test_only_so_many_requests_wait_on_a_connection():
    served = Served()
    served.waits.clear()
    client = Client(served)
    await client.send(POST * 5)  # one at work, four that wait
    assert not client.is_closing()
    assert not client.reading
    await client.send(POST)
    assert (await client.answer()).status_code == 400

    served.waits.set()
    client = Client(served)
    await client.send(POST * 5)
    await client.answered()
    while client.protocol.pipeline or client.state.tasks:
        await asyncio.sleep(0)
    assert client.reading  # what was pipelined is answered
    assert client.state.total_requests == 5
    served.waits.clear()

    client = Client(served)
    await client.send(GET * 100_000)  # one turn of the loop
    assert (await client.answer()).status_code == 400
    assert len(client.state.tasks) == 1
    served.waits.set()


async def test_only_so_many_connections_are_open():
    served = Served()
    clients = [Client(served) for _ in range(5)]
    answer = await clients[-1].answer()
    assert told(answer) == (503, "service_unavailable")
    assert clients[-1].is_closing()
    clients[0].leave()
    await asyncio.sleep(0)
    again = Client(served)
    await again.send(POST)
    assert (await again.answer()).text == "5"


def later(client: Client, seconds: float) -> None:
    """Let the door look at a connection as it does each second, so many seconds from now."""
    client.protocol.check(asyncio.get_running_loop().time() + seconds)


async def test_a_head_that_drips_is_408():
    client = Client(Served())
    await client.send(POST[:20])
    later(client, 9)
    await client.send(POST[20:21])
    assert not client.is_closing()
    later(client, 10.1)
    assert told(await client.answer()) == (408, "request_timeout")
    assert client.is_closing()


async def test_a_connection_that_rests_too_long_is_closed_without_a_word():
    client = Client(Served())  # it never says anything
    later(client, 74)
    assert not client.is_closing()
    later(client, 75.1)
    assert client.is_closing()

    client = Client(Served())
    await client.send(POST)
    await client.answer()
    later(client, 74)
    assert not client.is_closing()
    later(client, 75.1)
    assert client.is_closing()
    assert client.received == b""


@pytest.mark.parametrize("framing", [b"content-length: 60000", b"transfer-encoding: chunked"])
async def test_a_body_that_drips_is_408_and_gives_its_place_back(framing: bytes):
    served = Served()
    client = Client(served)
    part = b"1" * 10_000
    chunk = part if b"length" in framing else b"2710\r\n" + part + b"\r\n"
    await client.send(head(framing) + chunk)
    assert len(served.places) == 1  # before the body is read
    later(client, 14)  # 5 seconds, and one for each 1,000 bytes
    assert not client.received
    await client.send(chunk)
    later(client, 24)
    assert not client.received
    later(client, 25.1)
    answer = await client.answer()
    assert told(answer) == (408, "request_timeout")
    assert answer.headers["connection"] == "close"
    assert client.is_closing()
    assert len(served.places) == 0
    assert served.places.bytes == 0
    assert not served.begun


async def test_a_body_takes_at_most_so_long_at_any_rate():
    client = Client(Served())
    await client.send(head(b"content-length: 900000") + b"1" * 100_000)
    later(client, 30.1)
    assert told(await client.answer()) == (408, "request_timeout")


async def test_a_body_for_the_application_that_drips_is_408_too():
    client = Client(Served())
    await client.send(head(b"content-length: 5", path=b"/cold") + b"1")
    later(client, 5.1)
    assert told(await client.answer()) == (408, "request_timeout")


async def test_a_body_that_nobody_reads_yet_is_not_late():
    """It waits behind another request: that is not its client's fault."""
    served = Served()
    served.waits.clear()
    client = Client(served)
    await client.send(POST + head(b"content-length: 100000") + b"1" * 80_000)
    later(client, 60)
    assert not client.is_closing()
    served.waits.set()
    assert (await client.answer()).text == "5"
    await client.send(b"1" * 20_000)
    assert (await client.answer()).text == "100000"


async def test_of_a_body_that_nobody_asks_for_little_is_read():
    """As while its key is looked up; once it is asked for, it is read without a pause."""
    served = Served()
    served.reads.clear()
    client = Client(served)
    await client.send(head(b"content-length: 300000") + b"x" * 60_000)
    assert client.reading
    await client.send(b"x" * 60_000)
    assert not client.reading
    served.reads.set()
    while not client.reading:
        await asyncio.sleep(0)
    await client.send(b"x" * 100_000)
    assert client.reading
    await client.send(b"x" * 80_000)
    assert (await client.answer()).text == "300000"


async def test_bodies_kept_open_one_byte_short_hold_no_more_than_their_share():
    """Of 40 bodies only those are read that fit; the others are refused before a byte is kept."""
    served = Served(
        places=in_flight(total_max=99, organization_max=99, organization_bytes_max=3_000_000)
    )
    bounds_max = [Client(served, state=ServerState()) for _ in range(4)]
    for client in bounds_max:
        await client.send(head(b"content-length: 1000000") + b"x" * 999_999)
    statuses = [client.received[9:12].decode() for client in bounds_max]
    assert statuses == ["", "", "", "429"]
    assert served.places.bytes == 3_000_000
    for client in bounds_max:
        client.leave()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert served.places.bytes == 0


async def test_a_chunked_body_is_counted_as_it_comes():
    served = Served(places=in_flight(organization_bytes_max=10_000))
    client = Client(served)
    await client.send(CHUNKED + b"1f40\r\n" + b"x" * 8_000 + b"\r\n")
    assert served.places.bytes == 8_000
    await client.send(b"1f40\r\n" + b"x" * 8_000 + b"\r\n")
    assert told(await client.answer()) == (429, "too_many_bytes_in_flight")
    assert served.places.bytes == 0
    await client.send(
        b"1f40\r\n" + b"x" * 8_000 + b"\r\n0\r\n\r\n" + POST
    )  # what is left is read away
    assert (await client.answer()).text == "5"


async def test_a_body_refused_early_is_read_away_only_so_long():
    client = Client(Served())
    await client.send(head(b"content-length: 5000000") + b"x")
    assert (await client.answer()).status_code == 413
    await client.send(b"x" * 100_000)
    assert len(client.protocol.cycle._body) == 1  # nothing more of it is kept
    later(client, 5.1)
    assert not client.is_closing()  # it has some time for each byte
    later(client, 30.1)
    assert client.is_closing()
    assert client.received == b""


async def test_a_connection_rests_once_a_body_refused_early_is_read_away():
    client = Client(Served())
    await client.send(head(b"content-length: 1000001") + b"x")
    assert (await client.answer()).status_code == 413
    await client.send(b"x" * 1_000_000)
    later(client, 74)
    assert not client.is_closing()
    later(client, 75.1)
    assert client.is_closing()


async def test_a_late_body_ends_an_answer_that_has_begun_without_a_word():
    async def answers_first(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    answers_first.door = Served().door
    client = Client(answers_first)
    await client.send(head(b"content-length: 5", path=b"/cold") + b"1")
    await client.answered()
    later(client, 5.1)
    assert client.is_closing()
    assert b"408" not in client.received


async def test_an_answer_that_stays_unread_is_cut_off():
    client = Client(Served())
    await client.send(POST)
    client.unread = 100_000
    client.protocol.pause_writing()
    later(client, 10)
    client.unread = 80_000  # 20 seconds' worth
    later(client, 29)
    assert not client.is_closing()
    later(client, 30.1)
    assert client.is_closing()


async def test_who_leaves_is_told_to_its_exchange_and_the_place_is_free():
    served = Served()
    served.waits.clear()
    client = Client(served)
    await client.send(POST + POST)
    assert served.begun == 1
    client.leave()
    assert client.protocol.is_ending()
    await asyncio.sleep(0)
    assert not client.protocol.pipeline  # else it and the connection would hold each other
    served.waits.set()
    async with asyncio.timeout(30):
        while client.state.tasks:
            await asyncio.sleep(0)
    assert len(served.places) == 0
    assert served.begun == 1  # the one that waited behind it never began


async def test_what_is_at_work_is_finished_when_the_server_stops_and_bodies_have_5_seconds():
    served = Served()
    served.waits.clear()
    works, drips, comes, rests = (Client(served) for _ in range(4))
    await works.send(POST)
    await drips.send(POST[:-1])
    await comes.send(head(b"content-length: 900000") + b"1" * 100_000)
    later(comes, 5.05)
    assert not comes.is_closing()  # as fast as it comes, it would have 30 seconds
    for client in (works, drips, comes, rests):
        client.protocol.shutdown()
    assert rests.is_closing()
    for client in (drips, comes):
        later(client, 5.1)
        for _ in range(4):  # and no later, as the door would find by itself
            await asyncio.sleep(0)
        assert client.received[9:12] == b"408"
    served.waits.set()
    answer = await works.answer()
    assert (answer.text, answer.headers["connection"]) == ("5", "close")
    assert works.is_closing()


@pytest.mark.parametrize("request_", [POST, GET])
async def test_a_process_that_drains_closes_each_connection_at_its_next_answer(request_: bytes):
    served = Served()
    kept = Client(served)
    await kept.send(request_)
    assert "connection" not in (await kept.answer()).headers
    served.door.retire()
    assert not kept.is_closing()
    for client in (kept, Client(served)):
        await client.send(request_)
        answer = await client.answer()
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert client.is_closing()


@pytest.mark.parametrize("request_", [POST, GET])
async def test_what_is_at_work_when_a_process_drains_is_answered_with_close(request_: bytes):
    served = Served()
    served.waits.clear()
    client = Client(served)
    await client.send(request_)
    served.door.retire()
    served.waits.set()
    assert (await client.answer()).headers["connection"] == "close"
    assert client.is_closing()


async def test_what_waits_behind_an_answer_is_answered_before_a_connection_closes():
    served = Served()
    served.door.retire()
    client = Client(served)
    await client.send(POST * 3)
    received = (await client.answered(1 << 20)).lower()
    assert received.count(b"http/1.1 200") == 3
    assert received.count(b"connection: close") == 1


async def test_an_old_connection_closes_at_its_next_answer():
    served = Served(msgspec.structs.replace(BOUNDS, keep_alive_seconds=1_000))
    client = Client(served)
    later(client, 269)
    await client.send(POST)
    assert "connection" not in (await client.answer()).headers
    later(client, 331)
    await client.send(POST)
    assert (await client.answer()).headers["connection"] == "close"


async def test_a_request_that_has_come_is_answered_though_the_server_stops():
    """It lies in the socket: closing it unread would reset the connection."""
    served = Served()
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        state = ServerState()
        config = uvicorn.Config(
            served, log_config=None, access_log=False, proxy_headers=False, lifespan="off"
        )
        await loop.connect_accepted_socket(lambda: FrontDoor(config, state, {}), ours)
        await asyncio.sleep(0)  # it begins to read
        rests, theirs_too = socket.socketpair()
        with theirs_too:
            await loop.connect_accepted_socket(lambda: FrontDoor(config, state, {}), rests)
            await asyncio.sleep(0)
            theirs.sendall(POST)
            for connection in tuple(state.connections):
                connection.shutdown()
            assert await asyncio.to_thread(theirs_too.recv, 1) == b""
            said = await asyncio.to_thread(theirs.recv, 65_536)
            assert b"200 OK" in said
            assert b"connection: close" in said.lower()
            assert await asyncio.to_thread(theirs.recv, 1) == b""


async def test_the_server_may_cancel_what_does_not_end():
    served = Served()
    served.waits.clear()
    client = Client(served)
    await client.send(POST)
    (driver,) = client.state.tasks
    driver.cancel(msg="Task cancelled, timeout graceful shutdown exceeded")
    assert told(await client.answer()) == (503, "closing")
    assert served.ended == ["canceled"]
    assert not client.state.tasks


async def test_the_door_looks_at_its_connections_by_itself(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(door, "_CHECK_SECONDS", 0.01)
    served = Served(msgspec.structs.replace(BOUNDS, keep_alive_seconds=0.02))
    assert await Client(served).answered() == b""


@pytest.mark.parametrize(("reads", "lost"), [(True, []), (False, ["lost"])])
async def test_an_answer_that_its_client_did_not_get_whole_is_told(reads: bool, lost: list[str]):
    served, told = Served(), []

    async def tell(exchange: Exchange) -> Reply:
        exchange.on_lost = lambda: told.append("lost")
        return await served.tell(exchange)

    served.door = Door([HotEndpoint("/hot", tell, in_flight=served.places)], BOUNDS)
    client = Client(served)
    client.protocol.pause_writing()  # as the transport does where its buffer fills
    await client.send(post("/hot", b"{}", {"content-type": "application/json"}))
    assert await client.status() == 200
    if reads:
        client.protocol.resume_writing()
    client.leave()
    while client.state.connections:
        await asyncio.sleep(0)
    assert told == lost
