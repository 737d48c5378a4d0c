"""The real weights, if available: STELLA_WEIGHTS names their folder."""

import json
import os
from collections.abc import AsyncIterator, Iterator

import httpx
import numpy as np
import pytest

from backends.protocol import TokenRow
from backends.registry import connect
from testing.processes import Process
from tests.backends.stella.conftest import stella
from tests.backends.stella.golden_set import REAL

pytestmark = pytest.mark.skipif(
    "STELLA_WEIGHTS" not in os.environ, reason="STELLA_WEIGHTS names no folder of the real weights"
)

EXPECTED = json.loads((REAL / "expected.json").read_text())
COSINE_MIN = 0.99999
SIMILARITY_MAX = 2e-3  # the card's figures come from half precision


@pytest.fixture(scope="module")
def worker() -> Iterator[Process]:
    with stella(os.environ["STELLA_WEIGHTS"], "--dtype", "float32") as process:
        yield process


@pytest.fixture
async def client(worker: Process) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=worker.url, timeout=300) as client:
        yield client


@pytest.mark.parametrize("dimensions", [768, 1024])
async def test_vectors_of_an_independent_server(worker: Process, dimensions: int):
    with np.load(REAL / "tei_snapshots.npz") as archive:
        expected = archive[f"raw_{dimensions}"]
    rows = [TokenRow(np.array(ids, "<u4").tobytes(), dimensions) for ids in EXPECTED["token_ids"]]
    backend = connect(worker.url)
    vectors = await backend.embed(rows, timeout_seconds=300)
    await backend.close()
    for vector, raw in zip(vectors, expected, strict=True):
        assert np.frombuffer(vector, "<f4") @ raw / np.linalg.norm(raw) > COSINE_MIN


async def test_the_model_cards_similarities(client: httpx.AsyncClient):
    card = EXPECTED["model_card"]

    async def embed(texts: list[str], prompt: str | None) -> np.ndarray:
        body = {"input": texts, "prompt_name": prompt, "dimensions": 1024}
        answer = (await client.post("/v1/embeddings", json=body)).json()
        return np.array([item["embedding"] for item in answer["data"]])

    queries, documents = (
        await embed(card["queries"], card["prompt"]),
        await embed(card["docs"], None),
    )
    found = queries @ documents.T
    assert np.abs(found - np.array(card["similarities_1024"])).max() <= SIMILARITY_MAX
