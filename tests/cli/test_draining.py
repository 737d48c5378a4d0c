"""What is restarted under load costs no client an answer, and the books are exact."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway.storage.database import Database
from gateway.storage.tables import leases
from testing import rolling
from testing.balancer import balancing
from testing.gateways import MODEL, SECRET, Ledger
from testing.load import Load


@pytest.fixture
async def postgresql_database(postgresql_database_url: list[str]) -> AsyncIterator[Database]:
    opened = Database(postgresql_database_url[0])
    yield opened
    await opened.close()


@pytest.mark.timeout(600)  # many processes start
@pytest.mark.parametrize(
    ("processes", "workers", "restarted", "rounds"),
    [
        pytest.param(["1", "1"], 2, 1, 1, id="one of each"),
        pytest.param(["2", "1"], 3, 3, 3, id="everything", marks=pytest.mark.long),
    ],
)
async def test_restarts_cost_no_client_an_answer(
    postgresql_database: Database,
    postgresql_database_url: list[str],
    tmp_path: Path,
    processes: list[str],
    workers: int,
    restarted: int,
    rounds: int,
):
    ledger = await Ledger.create(postgresql_database, 10**9)
    served = [rolling.worker(drain_seconds=0.2) for _ in range(workers)]
    environment = {
        "GATEWAY_SECRET": SECRET,
        "DATABASE_URL": postgresql_database_url[0],
        "GATEWAY_WORKERS": " ".join(f"{MODEL}={one.url}" for one in served),
        "GATEWAY_JOURNAL_PATH": str(tmp_path),
        "GATEWAY_GATEWAYS": "2",
        "GATEWAY_DRAIN_SECONDS": "60",  # `roll` ends it when the balancer has seen it
        "GATEWAY_ROLE": "data",
    }
    doors = [rolling.gateway(environment, "--processes", count) for count in processes]
    async with (
        rolling.started(*served, *doors),
        balancing([one.url for one in doors], every_seconds=0.05) as balancer,
    ):
        async with Load(balancer.url, ledger.secret).running(clients=4) as load:
            for _ in range(rounds):
                await load.more()
                await rolling.roll(doors[:restarted], served[:restarted], balancer)
                await load.more()
        for one in doors:
            await one.end()
        assert [target.lost + target.refused for target in balancer.targets] == [0, 0]
    assert not load.failed
    assert {status for one in (*doors, *served) for status in one.statuses} == {0}
    assert {event.request_id for event in await ledger.usage()} == load.answered
    balance = await ledger.balance()
    assert balance.reserved_nanos == 0
    assert await ledger.breaches() == []
    async with postgresql_database.read() as connection:
        states = await connection.scalars(select(leases.c.state))
        assert "open" not in set(states)
