"""The worker's server over an engine that the test holds in its hand."""

from collections.abc import Sequence

import httpx

from backends import hop
from backends.engine import Computed, EngineBroken
from backends.protocol import TokenRow, WorkerInfo
from backends.server import WorkerApp
from tests.data_plane.routing.world import INFO, answer, row


class Held:
    """An engine that counts its probes, and may be broken."""

    info: WorkerInfo = INFO

    def __init__(self) -> None:
        self.probes = 0
        self.broken = False

    async def embed(self, rows: Sequence[TokenRow], _deadline: float) -> Computed:
        if self.broken:
            raise EngineBroken("the device is lost")
        return Computed([bytes(one) for one in answer(rows)])

    async def probe(self) -> None:
        self.probes += 1


def client_of(app: WorkerApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://worker")


async def test_an_engine_is_probed_once():
    engine = Held()
    async with client_of(WorkerApp(engine)) as client:
        for _ in range(3):
            assert (await client.get("/ready")).status_code == 200
    assert engine.probes == 1


async def test_an_answer_tells_its_length():
    rows = [row(1), row(2)]
    async with client_of(WorkerApp(Held())) as client:
        told = await client.post("/embed", content=hop.encode_request(rows))
    assert told.status_code == 200
    assert int(told.headers["content-length"]) == len(told.content) > 0


async def test_a_broken_engine_is_told_once_and_refuses_all_that_follows():
    engine, told = Held(), []
    app = WorkerApp(engine)
    app.on_broken = lambda: told.append(app.broken)
    engine.broken = True
    async with client_of(app) as client:
        for _ in range(2):
            answered = await client.post("/embed", content=hop.encode_request([row(1)]))
            assert answered.status_code >= 500
        assert (await client.get("/ready")).status_code == 503
    assert told == ["the device is lost"]
