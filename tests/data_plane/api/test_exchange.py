"""An exchange is bytes in and bytes out: any server can bring its connection."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from gateway.data_plane.api.exchange import Disconnected, Exchange
from gateway.data_plane.tallies import AnswerTally


class InMemory:
    """A connection without a server."""

    def __init__(self, *chunks: bytes, leaves: bool = False) -> None:
        self._chunks = chunks
        self._leaves = leaves

    async def chunks(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._leaves:
            raise Disconnected

    def is_ending(self) -> bool:
        return self._leaves

    async def closed(self) -> None:
        if not self._leaves:
            await asyncio.Event().wait()


async def read(exchange: Exchange) -> bytes:
    exchange.organization_id = "o"
    return await exchange.body(10)


async def work(exchange: Exchange) -> bytes:
    forever = asyncio.create_task(asyncio.Event().wait())
    try:
        return b"%d" % await exchange.while_connected(forever)
    finally:
        forever.cancel()


async def mistake(_exchange: Exchange) -> bytes:
    raise KeyError("ours")


@pytest.mark.parametrize(
    ("handle", "connection", "headers", "status"),
    [
        (read, InMemory(b"01234", b"56789"), {}, 200),
        (read, InMemory(b"01234", b"567890"), {}, 413),
        (read, InMemory(b"0"), {b"content-length": b"11"}, 413),
        (read, InMemory(b"0"), {b"content-type": b"text/plain"}, 415),
        (read, InMemory(b"0", leaves=True), {}, 499),
        (work, InMemory(leaves=True), {}, 499),
        (mistake, InMemory(), {}, 500),
    ],
)
async def test_whatever_comes_of_it_is_an_answer(handle, connection, headers, status):
    tally = AnswerTally(entries_max=9)
    headers = {b"content-type": b"application/json", **headers}
    answer = await Exchange("POST", "/v1/x", headers, connection).answer(handle, tally)
    assert answer.status == status
    told = dict(answer.headers)
    assert told[b"content-length"] == b"%d" % len(answer.body)
    assert {b"x-request-id", b"openai-processing-ms", b"x-gateway-overhead-ms"} < told.keys()
    if status == 200:
        assert answer.body == b"0123456789"
    else:
        assert msgspec.json.decode(answer.body)["error"].keys() >= {"message", "code"}
    counted = [entry.status_class for entry in tally.drain()]
    assert counted == ([status // 100] if handle is read else [])


async def test_405_names_the_method_that_is_served():
    answer = await Exchange("GET", "/v1/x", {}, InMemory()).answer(read, AnswerTally(entries_max=9))
    assert (answer.status, dict(answer.headers)[b"allow"]) == (405, b"POST")
