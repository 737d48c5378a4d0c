"""What a good request gets: OpenAI's answer, to the byte, and a bill, to the nano-dollar."""

import asyncio
import base64
import struct

import httpx
import pytest

from backends.fake import vector
from testing.gateways import MODEL, Api, open_api
from tests.data_plane.api.embeddings.conftest import BODY, INVALID

HELLO_WORLD = struct.pack("<4I", 101, 7592, 2088, 102)
HELLO = struct.pack("<3I", 101, 7592, 102)


def floats(raw: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


async def test_a_string_is_one_vector_of_floats(api: Api):
    answer = await api.embed(input="hello world")
    assert answer.status_code == 200
    body = answer.json()
    assert body == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": body["data"][0]["embedding"]}],
        "model": MODEL,
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    # the digits of a float32 survive: read as float32 they are the worker's very numbers
    served = struct.pack("<384f", *body["data"][0]["embedding"])
    assert served == vector(HELLO_WORLD, 384)


async def test_base64_is_the_workers_bytes(api: Api):
    answer = await api.embed(input=["hello", "hello world"], encoding_format="base64")
    data = answer.json()["data"]
    assert [item["index"] for item in data] == [0, 1]
    expected = [vector(HELLO, 384), vector(HELLO_WORLD, 384)]
    assert [base64.b64decode(item["embedding"]) for item in data] == expected


async def test_vectors_come_in_the_order_of_the_inputs(api: Api):
    words = [f"word{number}" for number in range(50)]
    there = (await api.embed(input=words, encoding_format="base64")).json()["data"]
    back = (await api.embed(input=words[::-1], encoding_format="base64")).json()["data"]
    assert [item["embedding"] for item in there] == [item["embedding"] for item in back[::-1]]
    assert len({item["embedding"] for item in there}) == 50


async def test_null_means_absent_and_unknown_fields_are_accepted(api: Api):
    answer = await api.embed(
        input="hello",
        encoding_format=None,
        dimensions=None,
        user=None,
        truncate=None,
        providerOptions={"deep": [1, {"er": None}]},
    )
    assert answer.status_code == 200
    assert len(answer.json()["data"][0]["embedding"]) == 384


async def test_the_exact_price_leaves_the_balance(api: Api):
    before = await (await api.settled()).available()
    answer = await api.embed(input=["hello world", "hello"])
    assert answer.headers["x-cost-nanos"] == str(7 * 8)
    assert answer.headers["x-balance-nanos"] == str(before - 56)
    assert await (await api.settled()).available() == before - 56
    (usage,) = await (await api.settled()).usage()
    assert usage.request_id == answer.headers["x-request-id"]
    assert (usage.tokens, usage.cost_nanos, usage.inputs) == (7, 56, 2)
    assert (usage.organization_id, usage.key_id) == (api.ledger.organization_id, api.ledger.key_id)
    assert await (await api.settled()).breaches() == []


@pytest.mark.parametrize(
    ("fields", "headers"), [({"service_tier": "flex"}, {}), ({}, {"x-tier": "batch"})]
)
async def test_who_may_wait_pays_the_lower_price(api: Api, fields: dict, headers: dict):
    api.headers |= headers
    answer = await api.embed(input="hello world", **fields)
    assert answer.headers["x-cost-nanos"] == str(4 * 4)
    estimate = await api.http.post(
        "/v1/embeddings/estimate",
        json={"model": MODEL, "input": "hello world", **fields},
        headers=api.headers,
    )
    assert estimate.json()["cost_nanos"] == str(4 * 4)
    (usage,) = await (await api.settled()).usage()
    model = api.gateway.core.catalog().models[MODEL]
    assert model.flex_price
    assert (usage.cost_nanos, usage.price_id) == (16, model.flex_price.id)
    assert await (await api.settled()).breaches() == []


async def test_it_carries_its_times(api: Api):
    answer = await api.embed()
    assert int(answer.headers["openai-processing-ms"]) >= 0
    assert 0 < float(answer.headers["x-gateway-overhead-ms"]) < 10_000


@pytest.mark.parametrize("end", ["end", "start"])
async def test_truncation_is_told_and_only_what_was_embedded_is_billed(api: Api, end: str):
    text = "hello " * 300 + "world"
    answer = await api.embed(input=["hello", text], truncate=end, encoding_format="base64")
    body = answer.json()
    assert body["truncated"] == [{"index": 1, "tokens": 256, "tokens_full": 303}]
    assert body["usage"]["total_tokens"] == 3 + 256
    hello, world = 7592, 2088
    kept = [hello] * 254 if end == "end" else [hello] * 253 + [world]
    expected = vector(struct.pack("<256I", 101, *kept, 102), 384)
    assert base64.b64decode(body["data"][1]["embedding"]) == expected


async def test_truncation_asked_for_and_not_needed_is_not_mentioned(api: Api):
    assert "truncated" not in (await api.embed(truncate="end")).json()


async def test_the_models_own_ids_are_taken_when_the_request_says_so(api: Api):
    bare = await api.embed(input=[7592, 2088], token_ids_from="model", encoding_format="base64")
    whole = await api.embed(
        input=[[101, 7592, 2088, 102]], token_ids_from="model", encoding_format="base64"
    )
    for answer in (bare, whole):
        assert base64.b64decode(answer.json()["data"][0]["embedding"]) == vector(HELLO_WORLD, 384)
        assert answer.json()["usage"]["total_tokens"] == 4


async def test_the_models_own_ids_are_taken_when_the_key_says_so(api: Api):
    made = await api.keys.create(api.ledger.organization_id, "ids", token_ids_from="model")
    api.headers["authorization"] = f"Bearer {made.secret}"
    answer = await api.embed(input=[[7592], [7592, 2088]], encoding_format="base64")
    assert [base64.b64decode(item["embedding"]) for item in answer.json()["data"]] == [
        vector(HELLO, 384),
        vector(HELLO_WORLD, 384),
    ]


async def test_special_tokens_in_text_are_counted_as_the_reference_does(api: Api):
    assert (await api.embed(input="[SEP]")).json()["usage"]["total_tokens"] == 3


async def test_json_escapes_and_planes_beyond_the_first(api: Api):
    escaped = await api.embed(
        b'{"model":"%b","input":"\\ud83d\\ude00 caf\\u00e9"}' % MODEL.encode()
    )
    plain = await api.embed(input="\U0001f600 caf\u00e9")
    assert escaped.json()["data"] == plain.json()["data"]


async def test_2048_inputs_fit(api: Api):
    answer = await api.embed(input=["a"] * 2048, encoding_format="base64")
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == 2048


@pytest.mark.parametrize("kind", [*INVALID, "error", "busy", "reset"])
async def test_what_goes_wrong_once_is_tried_again_and_billed_once(
    api: Api, fault: httpx.AsyncClient, kind: str
):
    await fault.put("/fault", json={"kind": kind, "times": 1})
    answer = await api.embed(input=["hello", "world"], encoding_format="base64")
    assert answer.status_code == 200
    assert [base64.b64decode(item["embedding"]) for item in answer.json()["data"]] == [
        vector(struct.pack("<3I", 101, word, 102), 384) for word in (7592, 2088)
    ]
    assert len(await (await api.settled()).usage()) == 1
    assert await (await api.settled()).available() == 10**9 - 8 * 6


async def test_a_request_is_held_until_a_worker_is_ready(sqlite_database_url, fake_worker):
    async with open_api(sqlite_database_url[0], hold_seconds=0.0) as api:
        api.headers["prefer"] = "wait=20"
        held = asyncio.create_task(api.embed(BODY))
        async with asyncio.timeout(10):
            while not api.gateway.data.hot_path.in_flight:
                await asyncio.sleep(0)
        api.gateway.core.router.pools[MODEL].add(fake_worker.url)
        assert (await held).status_code == 200
