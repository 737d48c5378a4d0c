"""`gateway move`: from SQLite to PostgreSQL, whatever ends it on the way."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from gateway.control_plane.secrets.record import register
from gateway.keyring import Keyring
from gateway.storage.database import Database
from testing.gateways import SECRET
from tests.cli.test_cli import Shell

_HELD = 4711
_TRAP = f"""
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock({_HELD}); RETURN NEW; END $$;
CREATE TRIGGER wait BEFORE INSERT ON ledger_entries FOR EACH ROW EXECUTE FUNCTION wait()"""
_WAITING = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {_HELD} AND {{}}"


async def serve(url: str) -> None:
    database = Database(url)
    await register(database, Keyring(SECRET))
    await database.close()


@pytest.fixture
def before(sqlite_database_url: list[str]) -> Shell:
    """A deployment on SQLite with a customer, which a gateway served."""
    shell = Shell(sqlite_database_url[0])
    asyncio.run(serve(shell.environment["DATABASE_URL"]))
    shell.run("organizations", "create", "Acme")
    shell.run("credits", "grant", "Acme", "5", "--ref", "acme-1")
    return shell


@pytest.fixture
def after(postgresql_database_url: list[str]) -> Shell:
    return Shell(postgresql_database_url[0])


def test_a_deployment_goes_on_with_postgresql(before: Shell, after: Shell):
    source = before.environment["DATABASE_URL"]
    path = Path(str(make_url(source).database))
    after.environment["GATEWAY_SECRET"] = "another secret, which is long enough too"
    assert "is not the secret" in after.run("move", "--from", source, status=1)
    after.environment["GATEWAY_SECRET"] = SECRET
    said = after.run("move", "--from", source)
    assert "compared one by one" in said
    assert not path.exists()
    assert "$5.00 available" in after.run("credits", "balance", "Acme")
    after.run("audit")
    (last, *_) = after.run("trail", "list").splitlines()
    assert "database.moved" in last
    path.with_name(f"{path.name}.moved").rename(path)  # as if it had ended before this was done
    assert "already moved" in after.run("move", "--from", source)
    assert not path.exists()


def test_what_can_t_be_moved_is_told_in_a_line(before: Shell, after: Shell, tmp_path: Path):
    source = before.environment["DATABASE_URL"]
    after.run("organizations", "create", "Other")
    assert "not empty: organizations has rows" in after.run("move", "--from", source, status=1)
    missing = f"sqlite:///{tmp_path}/none.db"
    assert "no such database" in after.run("move", "--from", missing, status=1)
    assert "DATABASE_URL a PostgreSQL" in before.run("move", "--from", source, status=1)
    with sqlite3.connect(make_url(source).database) as reading:
        reading.execute("SELECT count(*) FROM users").fetchall()
        assert "a process has it open" in after.run("move", "--from", source, status=1)
    reading.close()


@pytest.mark.long
async def test_a_move_that_is_killed_is_started_again(before: Shell, after: Shell):
    url = after.environment["DATABASE_URL"]
    holder, looker = await asyncpg.connect(url), await asyncpg.connect(url)
    await holder.execute(_TRAP)
    await holder.execute(f"SELECT pg_advisory_lock({_HELD})")
    command = [
        sys.executable,
        "-m",
        "gateway",
        "move",
        "--from",
        before.environment["DATABASE_URL"],
    ]
    environment = {**os.environ, "GATEWAY_SECRET": SECRET, "DATABASE_URL": url}
    moving = await asyncio.create_subprocess_exec(*command, env=environment)
    while not await looker.fetchval(_WAITING.format("NOT granted")):
        assert moving.returncode is None
        await asyncio.sleep(0.02)
    moving.kill()
    await moving.wait()
    await holder.close()
    assert await looker.fetchval("SELECT count(*) FROM organizations") == 0
    await looker.execute("DROP TRIGGER wait ON ledger_entries")
    await looker.close()
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, stdout=subprocess.PIPE, check=True
    )
    assert b"compared one by one" in done.stdout
    assert "$5.00 available" in await asyncio.to_thread(after.run, "credits", "balance", "Acme")
