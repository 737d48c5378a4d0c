"""Nothing that can't be the rows' vectors gets past."""

import struct
import warnings

import pytest

from backends.fake import vector
from backends.protocol import TokenRow
from gateway.data_plane.routing.examination import flaw
from gateway.data_plane.routing.witnesses import cosine
from tests.data_plane.routing.world import answer, row

FEW, MANY = [row(number) for number in range(4)], [row(number) for number in range(9)]
NAN, INF = float("nan"), float("inf")


@pytest.fixture(params=[FEW, MANY], ids=["one by one", "as a matrix"])
def rows(request):
    return request.param


def check(rows, vectors):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return flaw(rows, vectors)


def replaced(rows, index, *values) -> list[memoryview]:
    vectors = answer(rows)
    vectors[index] = memoryview(struct.pack(f"<{len(values)}f", *values))
    return vectors


def test_good_vectors_pass(rows):
    assert check(rows, answer(rows)) is None
    assert check([], []) is None


@pytest.mark.parametrize("length", [1.0195, 0.9805])
def test_a_good_length_is_near_one(rows, length):
    assert check(rows, replaced(rows, 2, length, 0, 0, 0)) is None


@pytest.mark.parametrize(
    "values",
    [
        (NAN, 0, 0, 1),
        (INF, 0, 0, 0),
        (-INF, INF, 0, 0),
        (3e38, 3e38, 3e38, 3e38),
        (0, 0, 0, 0),
        (1.0205, 0, 0, 0),
        (0.9795, 0, 0, 0),
    ],
)
def test_a_bad_vector_is_named_by_its_index(rows, values):
    assert "at 2" in check(rows, replaced(rows, 2, *values))


def test_a_wrong_count_or_size_is_seen(rows):
    count = len(rows)
    assert f"{count - 1} vectors for {count} rows" in check(rows, answer(rows)[:-1])
    assert "8 bytes at 1" in check(rows, replaced(rows, 1, 0.6, 0.8))


def test_rows_of_several_dimensions_are_checked_too(rows):
    rows = [TokenRow(each.ids, 8 if index == 1 else 4) for index, each in enumerate(rows)]
    vectors = answer(rows)
    assert check(rows, vectors) is None
    vectors[1] = memoryview(bytes(32))
    assert "at 1" in check(rows, vectors)


def test_cosine_tells_models_apart():
    one, other = vector(b"\1\0\0\0", 64), vector(b"\1\0\0\0", 64, "another model")
    assert cosine(one, one) == pytest.approx(1)
    assert cosine(one, other) < 0.9
    assert cosine(one, one[:-4]) == 0
    assert cosine(one, bytes(256)) == 0
