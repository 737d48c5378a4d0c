"""Answers that reached nobody wait for the ledger: one organization leaves room for the others."""

from msgspec.structs import replace

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.leases import LeaseRules, Undelivered
from gateway.data_plane.metering.misses import Misses
from gateway.data_plane.metering.port import Charge
from gateway.identifiers import new_id

RULES = LeaseRules(undelivered_max=4, undelivered_own_max=2)
CHARGE = Charge(
    request_id="", organization_id="", key_id="key", model_id="model", price_id="price",
    inputs=1, tokens=1, cost_nanos=8, budget=None, print="bytes",
)  # fmt: skip


def missed(organization_id: str) -> Undelivered:
    return Undelivered(replace(CHARGE, request_id=new_id(), organization_id=organization_id), 60)


def test_one_organization_has_its_share_and_all_have_a_bound():
    book = LeaseBook(RULES, lambda: 0.0)
    for organization_id in ("a", "a", "a", "b", "b", "c"):
        book.miss(missed(organization_id).charge, 60)
    told = book.undelivered.take(10)
    assert [one.charge.organization_id for one in told] == ["a", "a", "b", "b"]


def test_what_was_taken_makes_room_and_comes_back_once():
    misses = Misses(RULES)
    first = missed("a")
    assert misses.add(first)
    assert misses.add(missed("a"))
    assert not misses.add(missed("a"))
    assert misses.take(1) == [first]
    assert misses.add(missed("a"))
    for _ in range(2):
        misses.put_back(first)  # its tick failed: it is told again, though the share is full
    assert len(misses) == 3
    assert len(misses.take(10)) == 3
    assert misses.add(first)
