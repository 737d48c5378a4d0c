"""Real clients: the openai SDK over a real socket, and the bodies that others send, as recorded."""

import base64
import struct

import openai
import pytest
from openai.pagination import SyncCursorPage
from openai.types import Model

from backends.fake import vector
from gateway.control_plane.catalog import cards
from testing.gateways import MODEL, STELLA

HELLO = vector(struct.pack("<3I", 101, 7592, 102), 384)
WORLD = vector(struct.pack("<3I", 101, 2088, 102), 384)


@pytest.fixture
def client(served: tuple[str, str]):
    url, secret = served
    with openai.OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0) as opened:
        yield opened


def bits(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def test_openai_default_asks_for_base64_and_gets_the_workers_bits(client: openai.OpenAI):
    answer = client.embeddings.create(model=MODEL, input=["hello", "world"])
    assert [item.index for item in answer.data] == [0, 1]
    assert [bits(item.embedding) for item in answer.data] == [HELLO, WORLD]
    assert answer.usage.total_tokens == 6
    assert answer.model == MODEL


def test_openai_floats(client: openai.OpenAI):
    answer = client.embeddings.create(
        model=MODEL, input="hello", encoding_format="float", dimensions=384, user="u1"
    )
    assert bits(answer.data[0].embedding) == HELLO


def test_openai_reads_our_own_fields(client: openai.OpenAI):
    answer = client.embeddings.create(
        model=MODEL, input="word " * 300, extra_body={"truncate": "end"}
    )
    assert answer.model_extra
    assert answer.model_extra["truncated"][0]["tokens_full"] == 302


def test_openai_models(client: openai.OpenAI):
    listed = [model.id for model in client.models.list()]
    assert listed[0] == MODEL
    assert set(listed) == {model.id for model in cards.reviewed()}
    assert client.models.retrieve(STELLA).owned_by == "NovaSearch"


def test_openai_pages_through_the_models(client: openai.OpenAI):
    """By its cursor pages: its own `models.list` reads the first page alone."""
    pages = client.get_api_list(
        "/models", model=Model, page=SyncCursorPage[Model], options={"params": {"limit": 2}}
    )
    ids = [model.id for model in pages]
    assert len(ids) == len(set(ids)) == len(cards.reviewed())


def test_openai_sees_its_own_error_types(client: openai.OpenAI):
    with pytest.raises(openai.BadRequestError) as bad:
        client.embeddings.create(model=MODEL, input="")
    assert (bad.value.param, bad.value.type) == ("input", "invalid_request_error")
    with pytest.raises(openai.NotFoundError) as soon:
        client.embeddings.create(model=STELLA, input="x")
    assert soon.value.code == "model_coming_soon"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-nope").embeddings.create(model=MODEL, input="x")
    assert soon.value.response.headers["x-request-id"]


def test_openai_request_id_is_ours(client: openai.OpenAI):
    raw = client.embeddings.with_raw_response.create(model=MODEL, input="hello")
    assert raw.request_id == raw.headers["x-request-id"]
    assert raw.headers["x-cost-nanos"] == "24"


# method, body as recorded on the wire, and the form in which the client reads the vectors
RECORDED = {
    "langchain without token ids": (
        {"input": ["hello"], "dimensions": 384, "encoding_format": "base64"},
        "base64",
    ),
    "llama-index": ({"input": ["hello"], "encoding_format": "base64"}, "base64"),
    "haystack": ({"input": ["hello"], "dimensions": 384, "encoding_format": "float"}, "float"),
    "litellm": ({"input": "hello"}, "float"),
    "openai-node": ({"input": "hello", "encoding_format": "base64"}, "base64"),
    "vercel ai": ({"input": ["hello"], "encoding_format": "float"}, "float"),
}


@pytest.mark.parametrize("name", RECORDED)
async def test_what_other_clients_send(api, name: str):
    body, form = RECORDED[name]
    answer = await api.embed({"model": MODEL, **body})
    embedding = answer.json()["data"][0]["embedding"]
    assert (base64.b64decode(embedding) if form == "base64" else bits(embedding)) == HELLO


async def test_langchains_default_is_told_what_to_set(api):
    answer = await api.embed(
        {"model": MODEL, "input": [[15339, 1917]], "encoding_format": "base64"}
    )
    assert answer.status_code == 400
    assert "check_embedding_ctx_length=False" in answer.json()["error"]["message"]
