"""POST /v1/embeddings/estimate: the same body, free, for models that are coming soon too."""

import pytest

from testing.gateways import MODEL, STELLA, Api, open_api


async def estimate(api: Api, **body):
    return await api.http.post("/v1/embeddings/estimate", json=body, headers=api.headers)


async def test_it_counts_and_prices_and_charges_nothing(api: Api):
    answer = await estimate(api, model=STELLA, input=["hi", "hello world"])
    assert answer.json() == {
        "object": "estimate",
        "model": STELLA,
        "data": [
            {"index": 0, "tokens": 3, "tokens_full": 3, "truncated": False},
            {"index": 1, "tokens": 4, "tokens_full": 4, "truncated": False},
        ],
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
        "cost_nanos": "56",
        "cost_dollars": "0.000000056",
    }
    await api.assert_untouched()


async def test_it_shows_what_truncation_would_cut(api: Api):
    answer = await estimate(api, model=STELLA, input="word " * 600, truncate="end")
    assert answer.json()["data"] == [
        {"index": 0, "tokens": 512, "tokens_full": 602, "truncated": True}
    ]
    assert answer.json()["cost_nanos"] == str(512 * 8)


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, 3),
        ({"prompt_name": "s2p_query"}, 22),
        ({"input_type": "query"}, 22),
        ({"input_type": "document"}, 3),
        ({"prompt_name": "s2s_query"}, 14),
        ({"prompt_name": "s2p_query", "input_type": "query"}, 22),
        ({"model": f"{STELLA}:s2p_query"}, 22),
        ({"model": f"{STELLA}:s2s_query"}, 14),
    ],
)
async def test_a_prompt_is_billed_as_it_is_computed(api: Api, fields: dict, tokens: int):
    answer = await estimate(api, **{"model": STELLA, "input": "hi", **fields})
    assert answer.json()["usage"]["total_tokens"] == tokens


async def test_it_equals_the_bill(api: Api):
    body = {"model": MODEL, "input": ["one two three", "four [SEP] five", "\u4f60\u597d"]}
    estimated = (await estimate(api, **body)).json()
    billed = await api.embed(body)
    assert billed.headers["x-cost-nanos"] == estimated["cost_nanos"]
    assert billed.json()["usage"] == estimated["usage"]


async def test_what_nobody_can_count_has_no_estimate(api: Api):
    answer = await estimate(api, model="BAAI/bge-m3", input="x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "tokenizer_not_found")
    asked = await api.http.post(
        "/v1/embeddings", json={"model": "BAAI/bge-m3", "input": "x"}, headers=api.headers
    )
    assert asked.json()["error"]["code"] == "model_coming_soon"
    assert "estimate" not in asked.json()["error"]["message"]


async def test_documents_take_the_prompt_that_their_model_has_for_them(api: Api):
    async def tokens(**fields: str) -> int:
        answer = await estimate(api, model="intfloat/e5-base-v2", input="hello", **fields)
        assert answer.status_code == 200
        return answer.json()["usage"]["total_tokens"]

    bare = await tokens()
    assert await tokens(input_type="document") == await tokens(prompt_name="passage") > bare
    assert await tokens(input_type="query") == await tokens(prompt_name="query") > bare
    both = {"input_type": "document", "prompt_name": "query"}
    answer = await estimate(api, model="intfloat/e5-base-v2", input="hello", **both)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt_name")


async def test_it_needs_a_key_and_a_good_body(api: Api):
    assert (await estimate(api, model=STELLA, input=[])).status_code == 400
    assert (await estimate(api, model="none", input="x")).status_code == 404
    api.headers.pop("authorization")
    assert (await estimate(api, model=STELLA, input="x")).status_code == 401


async def test_a_key_has_so_many_a_minute(sqlite_database_url: list[str]):
    async with open_api(sqlite_database_url[0], estimates_per_minute=2) as api:
        answers = [await estimate(api, model=STELLA, input="hi") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].json()["error"]["code"] == "too_many_reads"
    assert 20 < int(answers[-1].headers["retry-after-ms"]) / 1000 <= 45
