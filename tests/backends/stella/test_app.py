"""`/v1/embeddings` of the worker, with OpenAI's own client and with all kinds of mistakes."""

import base64
import re
from typing import Any, cast

import httpx
import msgspec
import numpy as np
import openai
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from backends import spans, tracing
from backends.fake import FakeEngine
from backends.registry import connect
from backends.stella.app import BODY_BYTES_MAX, StellaApp
from backends.stella.checkpoint import Checkpoint
from backends.stella.door import OpenAIDoor
from backends.stella.metrics import Metrics
from backends.stella.tokenizer import Tokenizer
from backends.work_trace import WorkTracing
from testing.processes import Process
from tests.backends.stella.golden_set import FP32_MAX, TINY, Golden
from tests.data_plane.routing.world import INFO

GOLDEN = Golden(TINY)
PROMPTED = 5  # a golden row with the prompt s2p_query


@pytest.fixture
def client(tiny: Process):
    with httpx.Client(base_url=tiny.url, timeout=30) as client:
        yield client


def test_openais_client_gets_the_golden_vectors(tiny: Process):
    row = GOLDEN.rows[PROMPTED]
    with openai.OpenAI(base_url=f"{tiny.url}/v1", api_key="none", max_retries=0) as client:
        answer = client.embeddings.create(
            model="NovaSearch/stella_en_400M_v5",
            input=[row["text"], "another"],
            dimensions=768,
            extra_body={"prompt_name": row["prompt_name"]},
        )
    assert [item.index for item in answer.data] == [0, 1]
    found = np.array(answer.data[0].embedding)
    assert np.abs(found - GOLDEN.expected(768)[PROMPTED]).max() <= FP32_MAX
    assert answer.usage.prompt_tokens == row["n_tokens_truncated_512"] + 22  # s2p adds 19 to 3


def test_floats_and_base64_are_the_same_1024_by_default(client: httpx.Client):
    floats = client.post("/v1/embeddings", json={"input": "hi"}).json()
    coded = client.post("/v1/embeddings", json={"input": "hi", "encoding_format": "base64"}).json()
    raw = base64.b64decode(coded["data"][0]["embedding"])
    assert floats["data"][0]["embedding"] == np.frombuffer(raw, "<f4").tolist()
    assert len(floats["data"][0]["embedding"]) == 1024
    assert floats["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


def test_ids_are_rows_of_its_own_vocabulary(client: httpx.Client):
    text, ids, lists = (
        client.post("/v1/embeddings", json={"input": value, "dimensions": 256}).json()["data"]
        for value in ("hi", [101, 7632, 102], [[101, 7632, 102]])
    )
    assert text == ids == lists


def test_an_answer_says_where_its_time_went(client: httpx.Client):
    headers = client.post("/v1/embeddings", json={"input": ["hi", "you there"]}).headers
    assert headers["x-compute-tokens"] == "7"
    assert float(headers["x-compute-ms"]) > 0
    assert float(headers["x-queue-ms"]) >= 0
    assert float(headers["x-worker-ms"]) >= float(headers["x-compute-ms"])


def test_large_bodies_take_the_thread(client: httpx.Client):
    """Over 64 KiB in and out: the same vectors as one by one."""
    body = {"input": [f"{'word ' * 100}{i}" for i in range(200)], "truncate": "end"}
    together = client.post("/v1/embeddings", json=body).json()["data"]
    alone = client.post("/v1/embeddings", json={"input": body["input"][77]}).json()["data"][0]
    assert len(together) == 200
    assert np.abs(np.subtract(together[77]["embedding"], alone["embedding"])).max() <= FP32_MAX


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        (b"{", 400, "invalid_request", "truncated"),
        (b'{"input": []}', 400, "invalid_request", "input is empty"),
        (b'{"input": [[]]}', 400, "context_length_exceeded", "input 0 has 0 tokens"),
        (b'{"input": 7}', 400, "invalid_request", "input"),
        (b'{"input": ["a", 7]}', 400, "invalid_request", "mixes"),
        (b'{"input": [101, -1]}', 400, "invalid_request", "input"),
        (b'{"input": [101, 30522, 102]}', 400, "bad_request", "token id 30522"),
        (b'{"input": ["ok", "\\ud800 and more"]}', 400, "invalid_request", "surrogate"),
        (b'{"input": "a", "dimensions": 100}', 400, "invalid_dimensions", "256, 512, 768"),
        (b'{"input": "a", "prompt_name": "x"}', 400, "invalid_prompt", "s2p_query, s2s_query"),
        (b'{"input": [101], "prompt_name": "s2p_query"}', 400, "invalid_prompt", "ids"),
        (b'{"input": "a", "model": "gpt"}', 404, "model_not_found", "NovaSearch"),
        (b'{"input": "a", "encoding_format": "hex"}', 400, "invalid_request", "hex"),
        (
            b'{"input": ["a", "' + b"long " * 600 + b'"]}',
            400,
            "context_length_exceeded",
            "input 1 has 602 tokens; 1 to 512 fit",
        ),
        (b'{"input": [' + b'"a",' * 2048 + b'"a"]}', 413, "too_large", "2049 inputs"),
        (b'{"input": ["a"' + b',"a"' * 300 + b'], "dimensions": 8192}', 413, "too_large", "256"),
        (b'{"input": ["c"' + (b',"' + b"b " * 500 + b'"') * 70 + b"]}", 413, "too_large", "32768"),
        (b" " * (BODY_BYTES_MAX + 1), 413, "too_large", "bytes"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_openais_four_fields(
    client: httpx.Client, body: bytes, status: int, code: str, says: str
):
    answer = client.post("/v1/embeddings", content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert says in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_the_hop_is_bounded_too(client: httpx.Client):
    header = b"EMQ1" + (3000).to_bytes(4, "little")
    assert client.post("/embed", content=header).status_code == 413
    assert client.post("/embed", content=b"x" * 10_000_000).status_code == 413
    assert client.post("/embed", content=b"noise").status_code == 400


async def test_info_says_what_a_router_needs(tiny: Process):
    backend = connect(tiny.url)
    info = await backend.info(timeout_seconds=10)
    await backend.close()
    assert info.dimensions == (256, 512, 768, 1024, 2048, 4096, 6144, 8192)
    assert (info.dtype, info.tokens_max) == ("float32", 512)
    assert info.vocabulary_sha256.startswith("07eced37")
    assert len(info.revision) == 12
    assert info.base_seconds is not None
    assert info.token_seconds is not None
    assert 0 <= info.base_seconds < 1
    assert 0 < info.token_seconds < 1


def test_metrics_count_what_was_answered(client: httpx.Client):
    client.post("/v1/embeddings", json={"input": "a text that nobody may log"})
    client.get("/some/path/of/a/scanner")
    text = client.get("/metrics").text
    assert 'stella_requests_total{path="/v1/embeddings",status="200"}' in text
    assert 'stella_requests_total{path="other",status="404"}' in text
    assert "scanner" not in text
    assert "stella_batch_seconds_bucket" in text
    (free,) = re.findall(r"^stella_memory_free_bytes (\S+)$", text, re.MULTILINE)
    assert float(free) > 1e6
    assert "process_resident_memory_bytes" in text


@pytest.mark.parametrize(
    ("key", "is_local", "given", "status"),
    [
        ("", True, b"", 0), ("", False, b"", 404), ("", False, b"Bearer x", 404),
        ("k1", False, b"Bearer k1", 0), ("k1", False, b"Bearer k2", 401), ("k1", False, b"", 401),
        ("k1", True, b"", 401),
    ],
)  # fmt: skip
def test_others_need_a_key_for_its_own_door(key: str, is_local: bool, given: bytes, status: int):
    door = OpenAIDoor(key, is_local=is_local)
    refusal = door.refusal({"headers": [(b"authorization", given)]})
    assert (refusal.status if refusal else 0) == status
    assert bool(door.notice) == (status == 404), "one line at the start, where it is off"


async def test_its_own_door_is_off_for_others():
    app = StellaApp(Metrics(), OpenAIDoor("", is_local=False))
    scope = {"method": "POST", "path": "/v1/embeddings", "headers": []}
    status, _, body = await app.answer(scope, None)
    assert (status, b"STELLA_WORKER_OPENAI_KEY" in body) == (404, True)


async def test_text_is_traced_from_its_tokens_to_its_answer(monkeypatch: pytest.MonkeyPatch):
    exported = InMemorySpanExporter()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(spans, "OTLPSpanExporter", lambda: exported)
    started = tracing.start("stella-worker", print, follows=True)
    assert started
    app, engine = StellaApp(Metrics()), FakeEngine(msgspec.structs.replace(INFO, dimensions=(8,)))
    app.start(engine)
    app.open(cast("Any", engine), Tokenizer(Checkpoint(TINY).vocabulary), {})
    app.tracing = WorkTracing(started)
    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
        for body, status in (({"input": "a text that none may see"}, 200), ({"input": 1}, 400)):
            answer = await client.post("/v1/embeddings", json=body, headers=headers)
            assert answer.status_code == status, answer.text
    started.close()
    made = exported.get_finished_spans()
    assert [span.name for span in made] == [
        "tokenize", "queue", "infer", "encode", "POST /v1/embeddings",
        "tokenize", "POST /v1/embeddings",
    ]  # fmt: skip
    assert not any("none may see" in span.to_json() for span in made)
