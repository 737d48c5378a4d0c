"""The bytes of an answer, and how many of them are made in one turn of the loop."""

import base64
import json
from array import array

import pytest

from backends.protocol import TokenRow
from gateway.data_plane.api import responses
from gateway.data_plane.metering.rows import Rows

DIMENSIONS = 1024
INPUTS = 300


def vectors() -> list[array]:
    """Floats that need all their digits."""
    return [array("f", [1 / (7 + i + j) for j in range(DIMENSIONS)]) for i in range(INPUTS)]


def rows(tokens_full: int = 2) -> Rows:
    made = [TokenRow(bytes(8), DIMENSIONS)] * INPUTS
    return Rows(made, [tokens_full] * INPUTS, 2 * INPUTS)


def value(embedding: str | list[float]) -> array:
    if isinstance(embedding, str):
        return array("f", base64.b64decode(embedding))
    return array("f", embedding)


@pytest.mark.parametrize("form", ["base64", "float"])
def test_a_large_answer_is_exact_and_made_in_bounded_turns(form, monkeypatch):
    made = 0
    name = f"_{form}s" if form == "float" else f"_{form}"
    write = getattr(responses, name)

    def counted(vector: memoryview) -> bytes:
        nonlocal made
        made += vector.nbytes
        return write(vector)

    monkeypatch.setattr(responses, name, counted)
    given = vectors()
    writing = responses.encode(
        [memoryview(vector).cast("B") for vector in given], form=form, model="m", rows=rows()
    )
    turns, body = [], b""
    while not body:
        before = made
        try:
            writing.send(None)
        except StopIteration as end:
            body = end.value
        turns.append(made - before)
    assert max(turns) <= responses._SLICE_BYTES + 4 * DIMENSIONS
    answer = json.loads(body)
    assert [item["index"] for item in answer["data"]] == list(range(INPUTS))
    assert [value(item["embedding"]) for item in answer["data"]] == given
    assert answer["usage"] == {"prompt_tokens": 2 * INPUTS, "total_tokens": 2 * INPUTS}
    assert "truncated" not in answer


async def test_what_was_cut_is_told():
    body = await responses.encode(
        [memoryview(bytes(4))] * INPUTS, form="base64", model="m", rows=rows(tokens_full=3)
    )
    answer = json.loads(body)
    assert answer["truncated"][-1] == {"index": INPUTS - 1, "tokens": 2, "tokens_full": 3}
