"""A pool for each model of the catalog, its workers held to what the catalog says."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from gateway.data_plane.routing.discovery.dns import DnsName
from gateway.data_plane.routing.discovery.listed import parse_workers, provider
from gateway.data_plane.routing.discovery.provider import News, StaticList
from gateway.data_plane.routing.fleet import Fleet, spec_of
from gateway.data_plane.routing.router import Router
from gateway.snapshots import Catalog, ModelSnapshot, PriceSnapshot, WorkerState
from tests.data_plane.routing.test_pool import SETTINGS, Standin, ready, settled
from tests.data_plane.routing.world import DIMENSIONS, INFO

MODEL = ModelSnapshot(
    id=INFO.model,
    state="live",
    price=PriceSnapshot("p", 1),
    dimensions=(DIMENSIONS,),
    dimensions_default=DIMENSIONS,
    tokens_max=INFO.tokens_max,
    vocabulary_sha256=INFO.vocabulary_sha256,
)


class Shelf:
    """A catalog that a test changes."""

    def __init__(self) -> None:
        self.models = [MODEL]

    def __call__(self) -> Catalog:
        return Catalog({model.id: model for model in self.models})

    def change(self, **fields) -> None:
        self.models = [msgspec.structs.replace(MODEL, **fields)]


class Watched(StaticList):
    """Workers that may change: the watch doesn't end by itself."""

    async def watch(self) -> AsyncIterator[News]:
        async for news in super().watch():
            yield news
        await asyncio.Event().wait()


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
async def fleet(shelf):
    router = Router(Standin, settings=SETTINGS)
    made = Fleet(router, shelf, lambda _: [Watched(["a"])])
    made.router = router
    await made.refresh()
    yield made
    await made.stop()
    assert len(asyncio.all_tasks()) == 1


async def test_each_model_of_the_catalog_has_a_pool_with_its_workers(fleet):
    await ready(fleet.router.pools[MODEL.id])


async def test_a_model_that_retires_loses_its_pool_and_may_come_back(fleet, shelf):
    shelf.change(state="retired")
    await fleet.refresh()
    assert not fleet.router.pools
    shelf.change(state="coming_soon")
    await fleet.refresh()
    await ready(fleet.router.pools[MODEL.id])


async def test_workers_are_held_to_a_catalog_that_changed(fleet, shelf):
    pool = fleet.router.pools[MODEL.id]
    await ready(pool)
    shelf.change(dimensions=(DIMENSIONS, 99))
    await fleet.refresh()
    assert fleet.router.pools[MODEL.id] is pool
    await settled(pool, WorkerState.QUARANTINED, "[99]")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": "another"}, "serves"),
        ({"vocabulary_sha256": "feed"}, "vocabulary"),
        ({"dimensions": (DIMENSIONS, 99)}, "[99]"),
        ({"tokens_max": INFO.tokens_max + 1}, "tokens"),
    ],
)
def test_what_does_not_belong(change, reason):
    assert spec_of(MODEL).mismatch(INFO) is None
    wrong = spec_of(msgspec.structs.replace(MODEL, **change)).mismatch(INFO)
    assert wrong
    assert reason in wrong


def test_workers_are_written_as_documented():
    assert parse_workers(" a=http://h:1  b/c=unix:/x a=http://h:2") == {
        "a": ["http://h:1", "http://h:2"],
        "b/c": ["unix:/x"],
    }
    for wrong in ("a", "=http://h", "a="):
        with pytest.raises(ValueError, match="is not MODEL=URL"):
            parse_workers(wrong)


def test_a_name_is_looked_up_and_an_address_taken_as_it_is():
    assert isinstance(provider("unix:/x"), StaticList)
    assert isinstance(provider("dns+http://workers.stella.svc:9000"), DnsName)
    with pytest.raises(ValueError, match="needs a host and a port"):
        provider("dns+http://workers")
