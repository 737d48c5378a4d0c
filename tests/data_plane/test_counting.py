"""Long requests: counted and written so that nobody else waits for them."""

import asyncio
import struct
import threading

import pytest

from backends.protocol import TokenRow
from gateway.data_plane.api import encoding
from gateway.data_plane.metering.counting import AT_ONCE_MAX
from gateway.data_plane.metering.rows import RowMaker, Rows, TooManyTokens
from tests.support.gateways import MODEL, open_api


class Slow:
    """Counts when it is told to, a token a character."""

    vocabulary_sha256 = ""
    vocabulary_size = 30_522

    def __init__(self) -> None:
        self.go = threading.Event()
        self.threads: list[threading.Thread] = []

    def encode(self, text: str) -> bytes:
        self.threads.append(threading.current_thread())
        if len(text) > 100:
            assert self.go.wait(30)
        return b"\x01\0\0\0" * len(text)


def test_counting_ends_where_the_request_is_too_large():
    counter = Slow()
    maker = RowMaker(counter, dimensions=8, tokens_max=100, request_tokens_max=250)
    with pytest.raises(TooManyTokens, match="more than 250 tokens in all"):
        maker.from_texts(["x" * 98] * 50, None)
    assert len(counter.threads) == 3  # as many as show that it is too much
    with pytest.raises(TooManyTokens):
        maker.from_ids([[1] * 98] * 50, None)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/embeddings/estimate"])
async def test_what_is_counted_has_its_place_and_holds_up_nobody(
    path: str, sqlite_database_url, fake_worker
):
    workers = f"{MODEL}={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers, in_flight_max=1) as api:
        counter = Slow()
        (digest,) = api.gateway.counters
        api.gateway.counters[digest] = counter
        body = {"model": MODEL, "input": "x" * (AT_ONCE_MAX + 1), "truncate": "end"}

        async def post():
            return await api.http.post(path, json=body, headers=api.headers)

        first = asyncio.create_task(post())
        async with asyncio.timeout(10):
            while not counter.threads:
                await asyncio.sleep(0.005)
        refused = await post()
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_in_flight")
        assert refused.headers["x-ratelimit-limit-requests"] == "1"
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        counter.go.set()
        assert (await first).status_code == 200
        assert counter.threads[0] is not threading.current_thread()
        short = await api.http.post(path, json={**body, "input": "x"}, headers=api.headers)
        assert short.status_code == 200
        assert counter.threads[-1] is threading.current_thread()


async def test_the_characters_of_a_request_are_bounded(sqlite_database_url):
    async with open_api(sqlite_database_url[0], request_characters_max=1_000) as api:
        answer = await api.embed(input=["x" * 600, "y" * 401])
        assert answer.status_code == 400
        assert "1001 characters in all; at most 1000" in answer.json()["error"]["message"]


async def test_so_are_its_ids(sqlite_database_url):
    async with open_api(sqlite_database_url[0], request_tokens_max=1_000) as api:
        answer = await api.embed(input=[[7] * 600, [7] * 401], token_ids_from="model")
        assert answer.status_code == 400
        assert "1001 ids in all; at most 1000" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("inputs", "turns"), [(1, 0), (256, 28)])
async def test_a_large_answer_lets_others_have_their_turn(inputs: int, turns: int):
    vectors = [memoryview(struct.pack("<8192f", *range(8192)))] * inputs
    rows = Rows([TokenRow(b"\0\0\0\0", 8192)] * inputs, [1] * inputs)
    had, ended = 0, False

    async def another() -> None:
        nonlocal had
        while not ended:
            had += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(another())
    body = await encoding.encode(vectors, form="float", model="m", rows=rows)
    ended = True
    await task
    assert had - 1 in (turns - 1, turns)
    assert body.count(b'"object":"embedding"') == inputs
