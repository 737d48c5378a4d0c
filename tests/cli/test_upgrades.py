"""Versions follow one another under load, and go back, without an error; the books stay exact."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from gateway.storage import schema
from gateway.storage.database import Database
from gateway.storage.ledger import invariants
from testing import first_release, rolling, versions
from testing.balancer import Balancer, balancing
from testing.first_release import FirstRelease, key_of
from testing.gateways import MODEL
from testing.load import Load
from testing.processes import Process
from testing.rolling import Rolling, gateway, replace

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]  # a dozen processes start


@pytest.fixture
def url(postgresql_database_url: list[str]) -> str:
    return postgresql_database_url[0]


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """A database that 0.1.0 left."""
    opened = Database(url)
    async with opened.engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await first_release.restore(url)
    yield opened
    await opened.close()


@pytest.fixture
def options(fake_worker: Process, tmp_path: Path) -> Mapping[str, str]:
    return {
        "GATEWAY_WORKERS": f"{MODEL}={fake_worker.url}",
        "GATEWAY_JOURNAL_PATH": str(tmp_path / "journals"),
        "GATEWAY_DRAIN_SECONDS": "60",  # ended once the balancer has seen it
        "GATEWAY_GATEWAYS": "2",
    }


@asynccontextmanager
async def under_load(
    database: Database, *gateways: Rolling
) -> AsyncIterator[tuple[Balancer, Load]]:
    """Start gateways behind a balancer, and let no client see an error.

    What runs when the block ends is ended too. What was answered is charged then, once each.
    """
    before, key = await _charged(database), key_of("postgresql")
    async with (
        rolling.started(*gateways),
        balancing([one.url for one in gateways], every_seconds=0.05) as balancer,
    ):
        async with Load(balancer.url, key).running(clients=3) as load:
            await load.more()
            yield balancer, load
            await load.more()
        assert not load.failed
        assert [target.lost + target.refused for target in balancer.targets] == [0, 0]
        for one in gateways:
            await one.end()
    assert await _charged(database) - before == load.answered


async def assert_exact(database: Database) -> None:
    """Assert that no lease holds anything, and that the books are right."""
    async with database.read() as connection:
        held = text("SELECT coalesce(sum(leased_nanos), 0) FROM accounts")
        assert await connection.scalar(held) == 0
    async with database.read() as connection:
        assert await invariants.audit(connection) == []


async def _charged(database: Database) -> set[str]:
    async with database.read() as connection:
        found = await connection.scalars(text("SELECT request_id FROM usage_events"))
        return {str(one) for one in found}


async def test_from_0_1_0_to_this_version_and_back_to_what_still_runs(
    database: Database, url: str, options: Mapping[str, str], tmp_path: Path
):
    release = FirstRelease(tmp_path / "0.1.0")
    old = [gateway(release.environment(url, **options)) for _ in range(2)]
    ours = versions.environment(versions.ROOT, url, **options)
    new = [gateway(ours) for _ in range(2)]
    async with rolling.closing(*new), under_load(database, *old) as (balancer, load):
        assert "up to date" in await versions.migrate(ours)  # beside the old ones
        await load.more()
        await asyncio.gather(*(one.start() for one in new))
        await replace(balancer, 0, new[0])
        await load.more()
        await replace(balancer, 0, old[0])  # it still runs, and serves on the new schema
        await load.more()
        for number, one in enumerate(new):
            await replace(balancer, number, one)
        await load.more()
        refused = await asyncio.to_thread(release.said, url, "models", "list", status=1)
        assert "run the newer version" in refused  # so no process of it starts any more
        for number, one in enumerate(old):  # out of the balancer, or their connections would end
            await replace(balancer, number, one)
        await load.more()
        for one in new:
            await one.end()
    await assert_exact(database)


async def test_to_the_next_version_and_back(
    database: Database, url: str, options: Mapping[str, str], tmp_path: Path
):
    head = schema.revisions()[-1]
    ours = versions.environment(versions.ROOT, url, **options)
    theirs = versions.environment(versions.make_next(tmp_path / "next", head), url, **options)
    await versions.migrate(ours)
    mine, other = [gateway(ours) for _ in range(2)], gateway(theirs)
    async with rolling.closing(other), under_load(database, *mine) as (balancer, load):
        await versions.migrate(theirs)
        assert (await schema.read(database)).is_newer
        await other.start()
        await replace(balancer, 0, other)
        await load.more()
        await mine[0].end()
        await mine[0].start()  # on the newer schema
        assert "this one runs on it" in await versions.migrate(ours)
        await replace(balancer, 0, mine[0])
        await load.more()
        await other.end()
        said = await versions.migrate(theirs, "--to", head)  # beside this version
        assert f"The database is at {head}." in said
        await load.more()
    await assert_exact(database)


async def test_down_to_0_1_0_with_a_stop(
    database: Database, url: str, options: Mapping[str, str], tmp_path: Path
):
    release = FirstRelease(tmp_path / "0.1.0")
    ours = versions.environment(versions.ROOT, url, **options)
    await versions.migrate(ours)
    said = await versions.migrate(ours, "--to", first_release.REVISION)
    assert f"The database is at {first_release.REVISION}." in said
    old = [gateway(release.environment(url, **options)) for _ in range(2)]
    async with under_load(database, *old):
        pass
    assert "broken" not in release.said(url, "audit")
    await versions.migrate(ours)
    await assert_exact(database)
