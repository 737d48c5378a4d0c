"""Charts: the numbers that are drawn, and the words beside them."""

import pytest

from gateway.control_plane.web import charts


def days(*values: int) -> list[tuple[str, int, str]]:
    return [(f"11-{n:02}", value, f"day {n}: {value}") for n, value in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("value", "above"),
    [(0, 2), (1, 2), (2, 2), (3, 4), (9, 10), (11, 20), (21, 30), (50, 50), (51, 60), (81, 100)],
)
def test_the_axis_ends_at_a_round_number_that_has_a_half(value: int, above: int):
    assert charts.ceiling(value) == above


def test_bars_stand_under_the_axis_and_the_last_day_is_named():
    chart = charts.bars(days(*[0] * 28, 1, 40), written=str)
    assert chart.marks == ["40", "20", "0"]
    small, high = chart.bars
    assert high.height == chart.height
    assert high.y + high.height == pytest.approx(chart.height)
    assert small.height >= 2  # what is there is seen
    assert high.x + high.width <= chart.width
    assert high.title == "day 30: 40"
    assert chart.labels == [["11-01"], ["11-11"], ["11-21", "11-30"]]


def test_few_bars_are_all_named_and_none_is_no_chart():
    assert charts.bars(days(1, 2, 3)).labels == [["11-01"], ["11-02"], ["11-03"]]
    assert charts.bars(days(0, 0)).bars == []
    assert charts.bars([]).bars == []
