"""Every golden text in all dimensions, orders and batches, through both endpoints of a worker."""

import base64
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import numpy as np
import pytest

from backends.protocol import TokenRow
from backends.registry import connect
from tests.backends.stella.conftest import stella
from tests.backends.stella.golden_set import Golden, check, golden_folders

CALL_TOKENS = 30_000
log = logging.getLogger(__name__)


@dataclass
class Subject:
    url: str
    golden: Golden
    dtype: str


@pytest.fixture(scope="module", params=["float32", "float16", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=golden_folders())
def worker(request: pytest.FixtureRequest, dtype: str) -> Iterator[Subject]:
    with stella(request.param, "--dtype", dtype) as process:
        yield Subject(process.url, Golden(request.param), dtype)


async def test_each_text_alone_through_the_text_door(worker: Subject):
    golden, worst = worker.golden, 0.0
    async with httpx.AsyncClient(base_url=worker.url) as client:
        for dimensions in golden.dimensions:
            expected = golden.expected(dimensions)
            for index, row in enumerate(golden.rows):
                body = {
                    "input": row["text"],
                    "dimensions": dimensions,
                    "prompt_name": row["prompt_name"],
                    "encoding_format": "base64",
                    "truncate": "end",
                }
                answer = (await client.post("/v1/embeddings", json=body)).json()
                assert answer["usage"]["prompt_tokens"] == row["n_tokens_truncated_512"]
                found = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), "<f4")
                worst = max(worst, check(found, expected[index], worker.dtype))
    log.info("largest difference %.2e", worst)  # seen with --log-cli-level=INFO


async def test_any_order_and_company_through_the_hop(worker: Subject):
    golden, worst = worker.golden, 0.0
    backend = connect(worker.url)
    # one order is enough for half precision, which is slow on a CPU
    for seed in range(3 if worker.dtype == "float32" else 1):
        pairs = [(i, d) for i in range(len(golden.rows)) for d in golden.dimensions]
        random.Random(seed).shuffle(pairs)
        while pairs:
            call: list[tuple[int, int]] = []
            while pairs and sum(len(golden.ids(i)) // 4 for i, _ in call) < CALL_TOKENS - 512:
                call.append(pairs.pop())
            rows = [TokenRow(golden.ids(i), dimensions) for i, dimensions in call]
            vectors = await backend.embed(rows, timeout_seconds=60)
            for (index, dimensions), vector in zip(call, vectors, strict=True):
                expected = golden.expected(dimensions)[index]
                found = np.frombuffer(vector, "<f4")
                worst = max(worst, check(found, expected, worker.dtype))
    await backend.close()
    log.info("largest difference %.2e", worst)
