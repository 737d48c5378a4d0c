"""Nothing that can't be the rows' vectors gets past."""

import struct
import warnings

import pytest

from backends.fake import vector
from backends.protocol import TokenRow
from gateway.data_plane.routing.examination import cosine, flaw
from tests.data_plane.routing.world import answer, row

ROWS = [row(number) for number in range(4)]
NAN, INF = float("nan"), float("inf")


def check(vectors, rows=ROWS):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return flaw(rows, vectors)


def replaced(index, *values) -> list[memoryview]:
    vectors = answer(ROWS)
    vectors[index] = memoryview(struct.pack(f"<{len(values)}f", *values))
    return vectors


def test_good_vectors_pass():
    assert check(answer(ROWS)) is None
    assert check([], []) is None


def test_a_good_length_is_near_one():
    assert check(replaced(2, 1.015, 0, 0, 0)) is None
    assert check(replaced(2, 0.985, 0, 0, 0)) is None


@pytest.mark.parametrize(
    "values",
    [
        (NAN, 0, 0, 1),
        (INF, 0, 0, 0),
        (-INF, INF, 0, 0),
        (3e38, 3e38, 3e38, 3e38),
        (0, 0, 0, 0),
        (1.03, 0, 0, 0),
        (0.97, 0, 0, 0),
    ],
)
def test_a_bad_vector_is_named_by_its_index(values):
    assert "at 2" in check(replaced(2, *values))


def test_a_wrong_count_or_size_is_seen():
    assert "3 vectors for 4 rows" in check(answer(ROWS)[:3])
    assert "8 bytes at 1" in check(replaced(1, 0.6, 0.8))


def test_rows_of_several_dimensions_are_checked_too():
    rows = [TokenRow(ROWS[0].ids, 4), TokenRow(ROWS[1].ids, 8)]
    vectors = answer(rows)
    assert check(vectors, rows) is None
    vectors[1] = memoryview(bytes(32))
    assert "at 1" in check(vectors, rows)


def test_cosine_tells_models_apart():
    one, other = vector(b"\1\0\0\0", 64), vector(b"\1\0\0\0", 64, "another model")
    assert cosine(one, one) == pytest.approx(1)
    assert cosine(one, other) < 0.9
    assert cosine(one, one[:-4]) == 0
    assert cosine(one, bytes(256)) == 0
