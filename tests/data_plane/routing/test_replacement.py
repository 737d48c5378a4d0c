"""A real worker that is killed and is back at once, at its address, as another model."""

import sys
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from backends.adapters import connections
from backends.fake import vector
from backends.registry import connect
from gateway.data_plane.routing.admission import Offer
from gateway.data_plane.routing.examination import PoolSpec
from gateway.data_plane.routing.outcomes import RoutingError
from gateway.data_plane.routing.router import Router
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.snapshots import GoldenRow
from testing.processes import Process
from testing.servers import free_port
from tests.data_plane.routing.test_pool import ready
from tests.data_plane.routing.world import DIMENSIONS, row

GOLDEN = GoldenRow(ids=row(0).ids, vectors={DIMENSIONS: vector(row(0).ids, DIMENSIONS)})
SETTINGS = RoutingSettings(check_seconds=60, warming_seconds=0.02, quarantine_seconds_min=0.02)
"""No look by the clock finds out what happened."""


class Address:
    """Where one worker after the other is."""

    def __init__(self) -> None:
        self.port = free_port()
        self.process = self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *options: str) -> Process:
        fake = (*("--port", str(self.port)), *("--dimensions", str(DIMENSIONS)))
        self.process = Process([sys.executable, "-m", "backends.fake", *fake, *options])
        return self.process

    def replace(self, *options: str) -> None:
        self.process.kill()
        self.process.close()
        self.start(*options)


@pytest.fixture
def address() -> Iterator[Address]:
    made = Address()
    yield made
    made.process.close()


@pytest.fixture
async def router(address: Address) -> AsyncIterator[Router]:
    made = Router(connect, settings=SETTINGS)
    pool = made.serve(PoolSpec(model="fake", golden={"fake": (GOLDEN,)}))
    pool.add(address.url)
    await ready(pool)
    yield made
    await made.close()


async def embed(router: Router, number: int, seconds: float) -> bool:
    """Whether a row got its vector; one of another model must never come."""
    asked = row(number)
    offer = Offer("org", asked.tokens, time.monotonic() + seconds, hold_seconds=seconds)
    try:
        (found,) = await router.dispatch("fake", [asked], offer)
    except RoutingError:
        return False
    assert bytes(found) == vector(asked.ids, DIMENSIONS), "the vector of another model"
    return True


@pytest.mark.parametrize("seen", [True, False], ids=["seen to end", "long idle"])
async def test_no_vector_of_another_model_is_delivered(
    address: Address, router: Router, monkeypatch: pytest.MonkeyPatch, seen: bool
):
    if not seen:
        monkeypatch.setattr(connections, "_KEEPALIVE_SECONDS", 0.0)
    assert await embed(router, 1, 10)
    address.replace("--salt", "of another model")
    assert not await embed(router, 2, 1)
    address.replace()
    assert await embed(router, 3, 10)


async def test_the_same_model_in_another_process_serves_without_an_error(
    address: Address, router: Router
):
    assert await embed(router, 1, 10)
    address.replace()
    assert await embed(router, 2, 10)
    (worker,) = router.pools["fake"].workers()
    assert worker.ejections == 0
