"""Requests are kept in memory within bounds, and what did not fit is counted."""

import pytest

from gateway.data_plane.recent_requests import RecentRequests, RequestEntry, Rooms


def entry(name: str, organization: str = "o", status: int = 200) -> RequestEntry:
    code = "" if status == 200 else "rate_limit_exceeded"
    return RequestEntry(name, organization, "k", "m", status, code, 0.01, 5, None)


def held(rooms: Rooms) -> dict[tuple[str, bool], tuple[list[str], int]]:
    return {
        name: ([one.request_id for one in room.entries], room.missed)
        for name, room in rooms.items()
    }


def drained(recent: RecentRequests) -> dict[tuple[str, bool], tuple[list[str], int]]:
    with recent.draining() as rooms:
        return held(rooms)


def test_a_full_room_keeps_the_newest_and_counts_the_others():
    recent = RecentRequests(entries_max=100, organization_entries_max=2)
    for name in "abcde":
        recent.keep(entry(name))
    recent.keep(entry("refused", status=400))
    recent.keep(entry("of another", "p"))
    assert drained(recent) == {
        ("o", False): (["d", "e"], 3),
        ("o", True): (["refused"], 0),
        ("p", False): (["of another"], 0),
    }
    assert drained(recent) == {}


def test_all_rooms_together_are_bounded_but_each_has_its_newest():
    recent = RecentRequests(entries_max=3, organization_entries_max=9)
    for name in "abcd":
        recent.keep(entry(name))
    for organization in "pqr":  # more rooms than there may be
        recent.keep(entry("first", organization))
        recent.keep(entry("last", organization))
    assert drained(recent) == {
        ("o", False): (["b", "c", "d"], 1),
        ("p", False): (["last"], 1),
        ("q", False): (["last"], 1),
    }
    for name in "efg":  # once they are drained, there is all the room again
        recent.keep(entry(name))
    assert drained(recent) == {("o", False): (["e", "f", "g"], 0)}


def test_what_could_not_be_written_is_kept_before_what_came_since():
    recent = RecentRequests(entries_max=9, organization_entries_max=3)
    for name in "abcd":
        recent.keep(entry(name))

    def write() -> None:
        with recent.draining() as rooms:
            assert held(rooms) == {("o", False): (["b", "c", "d"], 1)}
            for name in "efghi":
                recent.keep(entry(name))
            recent.keep(entry("new", "p"))
            raise OSError("away")

    with pytest.raises(OSError, match="away"):
        write()
    assert drained(recent) == {("o", False): (["g", "h", "i"], 6), ("p", False): (["new"], 0)}
