"""What waits for a retry, by account and by time."""

from gateway.data_plane.metering.waiting_holds import WaitingHolds


def test_those_of_an_account_are_found_whoever_pays_with_it():
    holds = WaitingHolds()
    holds.add("1", 10, ["organization", "budget"])
    holds.add("2", 10, ["organization"])
    holds.add("3", 10, ["another"])
    assert holds.of("organization") == ["1", "2"]
    assert holds.of("budget") == ["1"]
    assert holds.remove("1")
    assert not holds.remove("1")
    assert (holds.of("organization"), holds.of("budget"), list(holds)) == (["2"], [], ["2", "3"])


def test_the_first_to_end_are_found_without_a_look_at_the_others():
    holds = WaitingHolds()
    for number in range(4):
        holds.add(str(number), number, ["account"])
    assert holds.overdue(1) == ["0", "1"]
    holds.add("0", 9, ["account"])
    assert holds.overdue(1) == ["1"]
    assert holds.overdue(9) == ["1", "2", "3", "0"]


def test_nothing_is_left_of_what_waits_no_longer():
    holds = WaitingHolds()
    holds.add("1", 10, ["account"])
    holds.remove("1")
    assert (len(holds), holds._accounts, holds._of) == (0, {}, {})
