"""Requests in progress: an organization's own number holds instead of the usual one."""

import pytest

from gateway.data_plane.limits.concurrency import InFlight, TooManyInFlight

OWN, OTHER = "own", "other"


@pytest.fixture
def in_flight() -> InFlight:
    return InFlight(total_max=5, organization_max=2, bytes_max=100, organization_bytes_max=50)


def admitted(in_flight: InFlight, organization_id: str) -> int:
    """Take places until one is refused; return how many there were."""
    for taken in range(10):
        try:
            in_flight.admit(organization_id)
        except TooManyInFlight:
            return taken
    raise AssertionError("never refused")


def test_more_or_fewer_for_one_organization(in_flight: InFlight):
    in_flight.set_own({OWN: 3})
    assert in_flight.lines(OWN) == (
        b"x-ratelimit-limit-requests: 3\r\nx-ratelimit-remaining-requests: 3\r\n"
    )
    assert (admitted(in_flight, OWN), admitted(in_flight, OTHER)) == (3, 2)
    assert in_flight.lines(OTHER).endswith(b"remaining-requests: 0\r\n")


def test_a_number_that_falls_refuses_what_comes_next(in_flight: InFlight):
    in_flight.set_own({OWN: 4})
    places = [in_flight.admit(OWN) for _ in range(4)]
    in_flight.set_own({OWN: 1})
    with pytest.raises(TooManyInFlight, match="1 requests of this organization"):
        in_flight.admit(OWN)
    assert in_flight.lines(OWN).endswith(b"remaining-requests: 0\r\n")
    for place in places:
        with place:
            pass
    assert admitted(in_flight, OWN) == 1
    in_flight.set_own({})


def test_the_process_has_a_bound_whatever_is_set(in_flight: InFlight):
    in_flight.set_own({OWN: 100})
    assert in_flight.lines(OWN).startswith(b"x-ratelimit-limit-requests: 5\r\n")
    assert admitted(in_flight, OWN) == 5
