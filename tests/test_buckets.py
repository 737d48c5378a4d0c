"""Token buckets: they fill again, know each name apart, and are bounded in number."""

import pytest

from gateway import buckets
from gateway.buckets import Buckets


def test_a_bucket_fills_again_and_no_further():
    now = [0.0]
    taken = Buckets(2, 60, clock=lambda: now[0])
    assert [taken.take("a") for _ in range(3)] == [0.0, 0.0, 30.0]
    assert taken.take("b") == 0.0
    now[0] += 30
    assert [taken.take("a"), taken.take("a")] == [0.0, 30.0]
    now[0] += 6_000
    assert [taken.take("a") for _ in range(3)] == [0.0, 0.0, 30.0]


def test_some_uses_take_more_but_never_more_than_there_can_be():
    taken = Buckets(4, 60, clock=lambda: 0.0)
    assert taken.take("a", 3) == 0.0
    assert taken.take("a", 3) == 30.0
    assert taken.take("a", 1) == 0.0
    assert taken.take("b", 10) == 0.0


def test_what_is_given_back_can_be_taken_again():
    taken = Buckets(1, 60, clock=lambda: 0.0)
    taken.take("a")
    taken.give_back("a")
    taken.give_back("a")
    assert [taken.take("a"), taken.take("a")] == [0.0, 60.0]


def test_names_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(buckets, "_NAMES_MAX", 2)
    taken = Buckets(1, 60, clock=lambda: 0.0)
    for name in ("a", "b", "c"):
        taken.take(name)
    assert [taken.take(name) for name in ("b", "c", "a")] == [60.0, 60.0, 0.0]
