"""Tiles: lines and changes."""

import pytest

from gateway.control_plane.pages.admin.tiles import change, sparkline


def test_a_line_goes_from_edge_to_edge_and_its_top_is_the_highest():
    assert sparkline([0, 5, 10]) == "0.0,20.0 50.0,10.0 100.0,0.0"
    assert sparkline([0, 0]) == "0.0,20.0 100.0,20.0"
    assert sparkline([4]) == ""


@pytest.mark.parametrize(
    ("now", "before", "told"),
    [(112, 100, ("+12%", "good")), (50, 100, ("-50%", "bad")), (5, 0, ("", "")), (5, 5, ("", ""))],
)
def test_a_change_is_told_in_percent(now: int, before: int, told: tuple[str, str]):
    assert change(now, before, more="good") == told
