"""Incidents: one for each outage, however many gateways there are and whatever each sees."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import delete, insert

from gateway.app.process import Process
from gateway.control_plane.catalog import catalog
from gateway.control_plane.status.incidents import Incident, Incidents
from gateway.identifiers import new_id
from gateway.snapshots import Catalog, WorkerState, WorkerView
from gateway.storage.database import Database
from gateway.storage.tables import worker_reports
from tests.control_plane.conftest import MINILM, STELLA

ONE, TWO = new_id(), new_id()


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases, for what is written and read here."""
    return database_url


class World:
    """Two gateways that watch, a clock, and what each gateway says of a worker."""

    def __init__(self, gateway: Process) -> None:
        self.gateway = gateway
        self.now = datetime.now(UTC)
        self.watchers = [self.watcher() for _ in range(2)]

    def watcher(self) -> Incidents:
        return Incidents(
            self.gateway.core.database,
            catalog=self.gateway.core.catalog,
            patience_seconds=15,
            clock=lambda: self.now,
        )

    async def say(self, **states: WorkerState) -> None:
        """Have each gateway (`one`, `two`) report its worker of MiniLM in a state."""
        async with self.gateway.core.database.write() as connection:
            await connection.execute(delete(worker_reports))
            for name, state in states.items():
                view = WorkerView(
                    url="http://worker:9000", state=state, reason="", revision="", history=(),
                    tokens_in_flight=0, calls_in_flight=0, slowdown=1.0, window_share=1.0,
                    limping=False, tokens_per_second=0.0, ejections=0, examinations=0,
                )  # fmt: skip
                await connection.execute(
                    insert(worker_reports).values(
                        gateway_id={"one": ONE, "two": TWO}[name], model_id=MINILM,
                        url=view.url, view=msgspec.json.encode(view).decode(),
                        seen_at=datetime.now(UTC),
                    )
                )  # fmt: skip

    async def look(self, seconds: float) -> list[Incident]:
        """Let time pass, a look of every gateway each five seconds; return the incidents."""
        for _ in range(max(1, round(seconds / 5))):
            self.now += timedelta(seconds=5)
            await asyncio.gather(*(watcher.watch() for watcher in self.watchers))
        return await self.watchers[0].recent(1)


async def test_an_outage_is_written_once_from_when_it_began(gateway: Process):
    world = World(gateway)
    await world.say(one=WorkerState.READY, two=WorkerState.READY)
    assert await world.look(60) == []
    await world.say(one=WorkerState.QUARANTINED, two=WorkerState.QUARANTINED)
    assert await world.look(15) == []
    began = world.now - timedelta(seconds=10)
    (incident,) = await world.look(60)
    assert incident.model_id == MINILM  # and Stella is not live, so nobody misses it
    assert incident.started_at == began
    assert incident.ended_at is None
    await world.say(one=WorkerState.QUARANTINED, two=WorkerState.READY)
    (incident,) = await world.look(5)
    assert incident.ended_at == world.now


async def test_gateways_that_see_different_things_agree(gateway: Process):
    world = World(gateway)
    await world.say(one=WorkerState.READY, two=WorkerState.QUARANTINED)
    assert await world.look(300) == []


async def test_a_live_model_without_any_worker_is_missed(gateway: Process):
    world = World(gateway)
    (incident,) = await world.look(60)
    assert incident.model_id == MINILM


async def test_a_start_is_no_outage(gateway: Process):
    world = World(gateway)
    await world.say(one=WorkerState.CALIBRATING)
    assert await world.look(15) == []
    await world.say(one=WorkerState.READY)
    assert await world.look(60) == []
    world.watchers = [world.watcher()]  # and neither is a gateway that starts again
    await world.say()
    assert await world.look(10) == []


async def test_an_outage_is_shown_while_any_of_it_is_in_the_days(gateway: Process):
    """Whenever it began: what lasts still, or ended just now, is what people come to see."""
    world = World(gateway)
    await world.say()
    await world.look(60)
    world.now += timedelta(days=3)
    (incident,) = await world.look(5)
    assert incident.ended_at is None
    await world.say(one=WorkerState.READY)
    (incident,) = await world.look(5)
    assert incident.ended_at == world.now
    world.now += timedelta(days=1)
    assert await world.look(5) == []
    assert await world.watchers[0].recent(5) == [incident]


async def test_nobody_misses_what_is_not_sold_any_more(gateway: Process):
    world = World(gateway)
    (incident,) = await world.look(60)
    assert incident.ended_at is None
    async with gateway.core.database.write() as connection:
        await catalog.set_state(connection, MINILM, "coming_soon")
    await gateway.core.catalog.refresh()
    (incident,) = await world.look(5)
    assert incident.ended_at is not None
    async with gateway.core.database.write() as connection:
        await catalog.set_state(connection, STELLA, "live")
    await gateway.core.catalog.refresh()
    assert {found.model_id for found in await world.look(60)} == {MINILM, STELLA}


async def test_a_crowd_asks_a_database_that_is_away_once():
    """Each would wait for its connection to fail, and all one after the other."""
    asked = 0

    def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        database = Database(f"postgresql://a:b@127.0.0.1:{port}/c?sslmode=disable")
        watcher = Incidents(database, catalog=Catalog, patience_seconds=15)
        assert await asyncio.gather(*(watcher.past(90) for _ in range(20))) == [None] * 20
        await database.close()
    assert asked == 1
