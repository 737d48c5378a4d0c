"""Three Stella workers behind the gateway: each dimension and prompt, exact, billed exactly."""

import asyncio
import base64
import contextlib
import random
from collections.abc import AsyncIterator

import numpy as np
import pytest
from sqlalchemy import update

from gateway.storage.database import Database
from gateway.storage.tables import models
from testing.gateways import STELLA, Api, open_api
from testing.processes import Process
from tests.backends.stella.conftest import stella
from tests.backends.stella.golden_set import TINY, Golden, check

golden = Golden(TINY)


@pytest.fixture(scope="module")
def workers():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(stella(TINY)) for _ in range(3)]


@pytest.fixture
async def api(sqlite_database_url: list[str], workers: list[Process]) -> AsyncIterator[Api]:
    database = Database(sqlite_database_url[0])
    async with database.write() as connection:
        await connection.execute(update(models).where(models.c.id == STELLA).values(state="live"))
    await database.close()
    setting = " ".join(f"{STELLA}={worker.url}" for worker in workers)
    async with open_api(sqlite_database_url[0], setting) as opened:
        yield opened


def served(embedding: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(embedding), dtype="<f4")


@pytest.mark.parametrize("dimensions", golden.dimensions)
async def test_every_golden_text_in_every_dimension(api: Api, dimensions: int):
    places = [index for index, row in enumerate(golden.rows) if row["text"]]
    random.Random(dimensions).shuffle(places)
    tokens = 0
    for prompt in {row["prompt_name"] for row in golden.rows}:
        asked = [place for place in places if golden.rows[place]["prompt_name"] == prompt]
        answer = await api.embed(
            model=STELLA,
            input=[golden.rows[place]["text"] for place in asked],
            dimensions=dimensions,
            prompt_name=prompt,
            truncate="end",
            encoding_format="base64",
        )
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found = np.stack([served(item["embedding"]) for item in body["data"]])
        check(found, golden.expected(dimensions)[asked], "float32")
        counted = sum(golden.rows[place]["n_tokens_truncated_512"] for place in asked)
        assert body["usage"]["total_tokens"] == counted
        assert answer.headers["x-cost-nanos"] == str(8 * counted)
        tokens += counted
    assert await (await api.settled()).available() == 10**9 - 8 * tokens
    assert await (await api.settled()).breaches() == []


async def test_the_names_suffix_is_the_prompt(api: Api):
    named = await api.embed(model=f"{STELLA}:s2p_query", input="hi", encoding_format="base64")
    asked = await api.embed(
        model=STELLA, input="hi", prompt_name="s2p_query", encoding_format="base64"
    )
    assert named.json()["data"] == asked.json()["data"]
    assert named.json()["model"] == f"{STELLA}:s2p_query"
    assert named.json()["usage"]["total_tokens"] == 22


async def test_a_worker_that_is_killed_under_load_costs_nobody_an_answer(
    api: Api, workers: list[Process]
):
    row = next(index for index, one in enumerate(golden.rows) if one["text"])
    text = golden.rows[row]["text"]
    prompt = golden.rows[row]["prompt_name"]
    fields = {"model": STELLA, "input": text, "prompt_name": prompt, "truncate": "end"}
    calls = [asyncio.create_task(api.embed(**fields, encoding_format="base64")) for _ in range(30)]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    workers[0].kill()
    for answer in await asyncio.gather(*calls):
        assert answer.status_code == 200, answer.text
        found = served(answer.json()["data"][0]["embedding"])
        check(found, golden.expected(1024)[row], "float32")
    assert len(await (await api.settled()).usage()) == 30
    assert await (await api.settled()).breaches() == []
