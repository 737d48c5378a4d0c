"""The wire format: what is encoded is decoded again, and nothing malformed is accepted."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import hop
from backends.protocol import TokenRow

ids = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=9).map(
    lambda numbers: struct.pack(f"<{len(numbers)}I", *numbers)
)
rows_of = st.lists(st.builds(TokenRow, ids, st.integers(1, 9)), max_size=6)


@given(rows_of)
def test_requests_survive_the_wire(rows: list[TokenRow]):
    assert hop.decode_request(hop.encode_request(rows), rows_max=6, tokens_max=99) == rows


@given(rows_of, st.randoms())
def test_answers_survive_the_wire(rows, random):
    vectors = [random.randbytes(4 * row.dimensions) for row in rows]
    answer = hop.decode_answer(hop.encode_answer(rows, vectors), rows)
    assert [bytes(vector) for vector in answer] == vectors


@given(rows_of.filter(bool), st.data())
def test_no_other_length_is_an_answer(rows, data):
    whole = hop.encode_answer(rows, [bytes(4 * row.dimensions) for row in rows])
    cut = data.draw(st.integers(0, len(whole) - 1))
    for body in (whole[:cut], whole + b"\0"):
        with pytest.raises(hop.MalformedHop):
            hop.decode_answer(body, rows)


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes):
    with pytest.raises(hop.MalformedHop):
        hop.decode_request(noise, rows_max=9, tokens_max=99)


def test_the_answer_must_be_of_these_rows_in_this_order():
    one, two = TokenRow(b"\1\0\0\0", 1), TokenRow(b"\2\0\0\0", 1)
    answer = hop.encode_answer([one, two], [b"aaaa", b"bbbb"])
    with pytest.raises(hop.MalformedHop, match="other ids"):
        hop.decode_answer(answer, [two, one])
    with pytest.raises(hop.MalformedHop, match="2 rows"):
        hop.decode_answer(answer, [one])
    with pytest.raises(hop.MalformedHop, match="2 vectors for 3"):
        hop.decode_answer(answer, [one, two, one])


def test_requests_are_bounded():
    body = hop.encode_request([TokenRow(bytes(4 * 10), 8)] * 3)
    with pytest.raises(hop.MalformedHop, match="3 rows"):
        hop.decode_request(body, rows_max=2, tokens_max=99)
    with pytest.raises(hop.MalformedHop, match="30 tokens"):
        hop.decode_request(body, rows_max=3, tokens_max=29)
