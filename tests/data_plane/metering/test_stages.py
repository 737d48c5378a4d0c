"""Which leases the next ticks speak of."""

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.leases import Lease
from gateway.data_plane.metering.port import Charge
from gateway.data_plane.metering.stages import LeaseStages
from gateway.identifiers import new_id
from tests.data_plane.metering.machine import RULES


def test_of_one_set_apart_nothing_is_said_when_what_waits_for_a_retry_ends():
    apart: set[str] = set()
    book = LeaseBook(RULES, lambda: 0.0)
    stages = LeaseStages(book, apart)
    kept = {organization: keep(book, stages, organization) for organization in ("apart", "other")}
    stages.keeping.clear()  # as after a tick
    apart.add("apart")
    assert all(stages.give_up_kept(organization) for organization in kept)
    assert list(stages.keeping) == [kept["other"].id]
    assert kept["apart"].free == 8  # here it is free all the same


def keep(book: LeaseBook, stages: LeaseStages, organization_id: str) -> Lease:
    """Keep a request's reservation on a lease that is drained, and return the lease."""
    charge = Charge(
        request_id=new_id(), organization_id=organization_id, key_id="key", model_id="model",
        price_id="price", inputs=1, tokens=1, cost_nanos=8, budget=None,
    )  # fmt: skip
    purse = book.purse(organization_id)
    purse.lease = lease = Lease(new_id(), purse, open=True, free=8, deadline=60)
    assert book.reserve(charge) is not None
    book.keep(charge, 30)
    stages.drain(lease)
    return lease
