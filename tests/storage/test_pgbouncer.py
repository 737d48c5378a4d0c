"""PgBouncer between the gateway and PostgreSQL, in session mode: docs/connections.md."""

import asyncio
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from gateway.storage import migrate
from gateway.storage.database import Database
from gateway.storage.keys import open_key_store
from gateway.storage.ledger.postgres import PostgresLedger
from gateway.storage.own_connection import OwnConnection
from testing import servers
from testing.gateways import MODEL, open_api, settled
from testing.processes import Process

pytestmark = pytest.mark.long
_CONNECTIONS = text(
    "SELECT application_name FROM pg_stat_activity "
    "WHERE datname = current_database() AND backend_type = 'client backend'"
)


@pytest.fixture
def pooled(postgresql_database_url: list[str], tmp_path: Path) -> Iterator[str]:
    """The address of a pooler before a database of a test's own."""
    if shutil.which("pgbouncer") is None:
        if os.environ.get("CI"):
            pytest.fail("PgBouncer is missing: apt-get install pgbouncer")
        pytest.skip("PgBouncer is missing: apt-get install pgbouncer")
    at, port, ini = make_url(postgresql_database_url[0]), servers.free_port(), tmp_path / "ini"
    ini.write_text(
        f"""
[databases]
{at.database} = host={at.host} port={at.port} user={at.username}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = session
log_connections = 0
log_disconnections = 0
{"user = nobody" if os.getuid() == 0 else ""}
"""
    )
    pooler = subprocess.Popen(["pgbouncer", str(ini)], stderr=subprocess.PIPE, text=True)
    assert pooler.stderr
    try:
        said = ""
        while "process up" not in said:
            said = pooler.stderr.readline()
            assert said, "it ended"
        yield at.set(port=port).render_as_string(hide_password=False)
    finally:
        pooler.terminate()
        pooler.wait(timeout=30)
        pooler.stderr.close()


async def test_requests_are_charged(pooled: str, fake_worker: Process):
    async with open_api(pooled, f"{MODEL}={fake_worker.url}") as api:
        await api.ready()
        answers = await asyncio.gather(*[api.embed(input=f"text {n}") for n in range(50)])
        assert [answer.status_code for answer in answers] == [200] * 50
        await settled(api.gateway)
        assert sum(row.cost_nanos for row in await api.ledger.usage()) == sum(
            int(answer.headers["x-cost-nanos"]) for answer in answers
        )
        assert await api.ledger.breaches() == []
        async with api.ledger.database.read() as connection:
            found = await connection.execute(_CONNECTIONS)
        names = Counter(found.scalars())
        own = {name: count for name, count in names.items() if name.startswith("gateway-")}
        assert own == {"gateway-ledger": 1, "gateway-keys": 1}
        assert names.total() <= api.gateway.core.settings.database_connections_max + 2


async def test_the_limits_of_a_connection_of_its_own_hold(pooled: str):
    """A pooler refuses them where a connection is opened: they are said afterwards."""
    database = Database(pooled)
    for part, limit in ((PostgresLedger(database), "4s"), (open_key_store(database), "2s")):
        assert isinstance(part._own, OwnConnection)
        shown = await part._own.prepared("SELECT current_setting('statement_timeout')")
        assert await shown.fetchval() == limit
        await part.close()
    await database.close()


async def test_a_migration_takes_its_lock(pooled: str):
    database = Database(pooled)
    await migrate.upgrade(database)
    await migrate.check(database)
    await database.close()
