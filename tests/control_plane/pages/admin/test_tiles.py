"""Tiles: lines and changes, and what they say of how fast answers were."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.control_plane.pages.admin import pulse, traffic
from gateway.control_plane.pages.admin.tiles import change, sparkline
from gateway.control_plane.status.traffic import AnswerSum


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


def test_a_day_that_is_faster_than_the_one_before_is_told_as_good():
    faster, slower = pulse._p95((150, 300)), pulse._p95((300, 150))
    assert (faster.value, faster.note, faster.tone) == ("150 ms", "-50%", "good")
    assert (slower.value, slower.note, slower.tone) == ("300 ms", "+100%", "bad")
    unknown = pulse._p95((None, 300))
    assert (unknown.note, unknown.tone) == ("", "")


def test_latencies_of_traffic_are_those_of_successes_beside_the_time_before():
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    before = now - timedelta(hours=1)
    answers = [
        AnswerSum(hour=hour, status_class=status_class, latency_ms=latency_ms, answers=number)
        for hour, status_class, latency_ms, number in (
            (now, 2, 100, 90), (now, 2, 400, 10), (now, 5, 9_000, 90),
            (before, 2, 200, 100), (before, 4, 9_000, 90),
        )
    ]  # fmt: skip
    *_, tile = traffic._tiles([], answers, now)
    assert (tile.name, tile.value) == ("p95, p50 100 ms", "400 ms")
    assert (tile.note, tile.tone) == ("+100% than before", "bad")
