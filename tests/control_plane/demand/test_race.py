"""The race of models that are coming soon: who is in it, in which order, and how far behind."""

from pathlib import Path

import pytest

from gateway.control_plane.catalog.listings import Shelf, Shelves
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.demand.economics import GpuTerms
from gateway.control_plane.demand.race import LEAD_VOTES_MIN, LEADERS_MAX, LaunchNeed, Race
from gateway.data_plane.tallies import DemandTally
from gateway.snapshots import Catalog, ModelSnapshot, PriceSnapshot
from gateway.storage.database import Database

NAMES = "abcdefgh"


def catalog() -> Catalog:
    """The first is live, the others are coming soon."""
    found = [
        ModelSnapshot(
            id=f"lab/{name}", state="coming_soon" if name > "a" else "live", dimensions=(8,),
            price=PriceSnapshot("p", 8), dimensions_default=8, tokens_max=8,
        )
        for name in NAMES
    ]  # fmt: skip
    return Catalog({model.id: model for model in found})


@pytest.fixture
def shelf() -> Shelf:
    known = catalog()
    return Shelves(lambda: known, {})()


def race(tmp_path: Path, **votes: int) -> Race:
    database = Database(f"sqlite:///{tmp_path}/never-opened.db")
    counts = DemandCounts(database, DemandTally(entries_max=1))
    counts._votes = {f"lab/{name}": count for name, count in votes.items()}
    return Race(database, counts, GpuTerms(nanos_per_hour=1, launch_credit_nanos=1), catalog)


def test_the_most_voted_for_lead(shelf: Shelf, tmp_path: Path):
    found = race(tmp_path, a=99, b=2, c=0, e=3, d=3, gone=50).leaders(shelf)
    assert [(one.listing.name, one.votes, one.percent, one.behind) for one in found] == [
        ("d", 3, 100, 0), ("e", 3, 100, 0), ("b", 2, 66, 1),
    ]  # fmt: skip
    assert race(tmp_path).leaders(shelf) == []


def test_few_votes_are_no_race_and_many_models_are_not_all_shown(shelf: Shelf, tmp_path: Path):
    for votes, is_race in ((LEAD_VOTES_MIN - 1, False), (LEAD_VOTES_MIN, True)):
        every = dict.fromkeys(NAMES, 1) | {"h": votes}
        found = race(tmp_path, **every).leaders(shelf)
        assert found[0].listing.name == "h"
        assert [one.is_race for one in found] == [is_race] * LEADERS_MAX


def test_a_need_is_met_by_just_as_much():
    needs = [LaunchNeed(expected_tokens=expected, needed_tokens=10) for expected in (9, 10, 11)]
    assert [need.is_met for need in needs] == [False, True, True]
    assert [need.missing_tokens for need in needs] == [1, 0, 0]
