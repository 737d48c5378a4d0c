"""Identifiers sort as they were made, and are UUIDv7."""

import itertools
import time
from uuid import RFC_4122, UUID

from gateway import wall
from gateway.identifiers import first_id, is_id, made_at_ms, new_id

SLEWED_MS = 100
"""How far this process's clock and the machine's, which is slewed, may be apart."""


def test_ids_of_one_millisecond_sort_in_the_order_in_which_they_were_made(monkeypatch):
    moments = itertools.count(0, 500)
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(moments))
    monkeypatch.setattr(wall, "ahead_ns", 1_750_000_000_000_000_000)
    made = [new_id() for _ in range(2_000)]
    assert made == sorted(made)
    assert {made_at_ms(one) for one in made} == {1_750_000_000_000}


def test_an_id_is_a_uuid_of_version_7_that_tells_its_time():
    before = time.time_ns() // 1_000_000 - SLEWED_MS
    made = new_id()
    assert is_id(made)
    assert (UUID(made).version, UUID(made).variant) == (7, RFC_4122)
    assert before <= made_at_ms(made) <= time.time_ns() // 1_000_000 + SLEWED_MS
    assert len({new_id() for _ in range(1_000)}) == 1_000


def test_the_first_id_of_a_moment_is_below_those_made_then():
    moment = wall.now()  # the clock that ids are made by: the machine's can be set meanwhile
    assert first_id(moment) <= new_id()
