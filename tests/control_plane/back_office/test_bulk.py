"""Many at once: each by itself, each once, and never too many."""

import pytest

from gateway.control_plane.back_office import bulk
from gateway.control_plane.back_office.bulk import BULK_MAX, NothingSelected, Outcome
from gateway.errors import NotFound


async def test_one_that_fails_stops_no_other_and_each_is_done_once():
    done = []

    async def act(one: str) -> None:
        if one == "b":
            raise NotFound("There is no b.")
        done.append(one)

    outcomes = await bulk.each(["a", "b", "a", "c"], act)
    assert done == ["a", "c"]
    assert outcomes == [Outcome("a"), Outcome("b", "There is no b."), Outcome("c")]


@pytest.mark.parametrize("count", [0, BULK_MAX + 1])
def test_how_many_may_be_selected(count: int):
    with pytest.raises(NothingSelected):
        bulk.selected([str(number) for number in range(count)])


def test_the_most_may_be_selected():
    assert len(bulk.selected([str(number) for number in range(BULK_MAX)])) == BULK_MAX
