"""Gateways whose machines' clocks are minutes apart serve, sign in, revoke and lease as one."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from gateway import wall
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.billing.audit import audit
from gateway.control_plane.trail import audits
from gateway.identifiers import made_at_ms, new_id
from gateway.keyring import Keyring
from gateway.storage.clock import clock, follow
from gateway.storage.database import Database
from gateway.storage.ledger import partitions
from gateway.storage.tables import usage_events
from testing.browsing import field
from testing.gateways import MODEL, SECRET, Ledger
from testing.processes import Process

SKEWS = (600, -600)
_SHIM = Path(__file__).parents[2] / "testing" / "skewed.c"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = tmp_path_factory.mktemp("shim") / "skewed.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", made, _SHIM, "-ldl"], check=True)
    return str(made)


@contextlib.contextmanager
def gateways(database_url: str, shim: str, worker: str, folder: Path) -> Iterator[list[Process]]:
    """Two gateways, of which one's clock is fast and one's is slow."""
    with contextlib.ExitStack() as stack:
        started = []
        for skew in SKEWS:
            process = Process(
                [sys.executable, "-m", "testing.serve"],
                {
                    **os.environ,
                    "LD_PRELOAD": shim,
                    "SKEW_SECONDS": str(skew),
                    "DATABASE_URL": database_url,
                    "GATEWAY_SECRET": SECRET,
                    "GATEWAY_WORKERS": f"{MODEL}={worker}",
                    "GATEWAY_DEV_MAIL": "1",
                    "GATEWAY_JOURNAL_DIR": str(folder / f"journal{skew}"),
                },
            )
            stack.callback(process.close)
            started.append(process)
        yield started


async def embed(gateway: Process, secret: str) -> int:
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.post(
            f"{gateway.url}/v1/embeddings",
            json={"model": MODEL, "input": new_id()},
            headers={"authorization": f"Bearer {secret}", "prefer": "wait=30"},
        )
    return answer.status_code


async def test_gateways_whose_clocks_differ_are_one_service(
    postgresql_database_url: list[str], shim: str, fake_worker: Process, tmp_path: Path
):
    database = Database(postgresql_database_url[0])
    ledger = await Ledger.create(database, 10**9)
    keys = ApiKeys(database, secret=Keyring(SECRET))
    now = datetime.now(UTC)
    soon = await keys.create(ledger.organization_id, "soon", expires_at=now + timedelta(minutes=5))
    with gateways(postgresql_database_url[0], shim, fake_worker.url, tmp_path) as both:
        for gateway in both:
            assert await embed(gateway, ledger.secret) == 200
            assert await embed(gateway, soon.secret) == 200  # though one clock says it is over
        await sign_in_across(*both)
        await sign_in_across(*reversed(both))

        await keys.revoke(soon.key.id)
        for gateway in both:
            async with asyncio.timeout(20):
                while await embed(gateway, soon.secret) != 401:
                    await asyncio.sleep(0.05)
            assert await embed(gateway, ledger.secret) == 200
        for gateway in both:
            gateway.kill(15)
    assert await audit(database)
    async with database.read() as connection:
        assert (await audits.latest(connection))["ledger"].breaches == {}
        assert sum((await partitions.strays(connection)).values()) == 0
        rows = (await connection.execute(select(usage_events))).all()
    assert len(rows) >= 6
    for row in rows:
        assert abs(made_at_ms(row.request_id) / 1000 - time.time()) < 120
    await database.close()


async def sign_in_across(asked: Process, entered: Process) -> None:
    """Ask for a link at one gateway, follow it at the other, and be known at both."""
    email = f"{new_id()}@example.org"
    async with httpx.AsyncClient(timeout=30, follow_redirects=True) as http:
        page = await http.get(f"{asked.url}/sign-in")
        form = {"csrf_token": field(page.text, "csrf_token"), "email": email, "next": ""}
        form["id"] = field(page.text, "id")
        assert (await http.post(f"{asked.url}/sign-in", data=form)).status_code == 200
        sent = (await http.get(f"{asked.url}/dev/mail")).text
        link = re.search(r"(/sign-in/link\S*?token=[\w.~-]+)", sent[sent.index(email) :])
        assert link
        page = await http.get(entered.url + link[1])
        form = {name: field(page.text, name) for name in ("csrf_token", "token")}
        await http.post(f"{entered.url}/sign-in/link", data=form)
        for gateway in (entered, asked):
            console = await http.get(f"{gateway.url}/console")
            assert (console.status_code, console.url.path) == (200, "/console")


async def test_a_process_goes_by_the_database_s_clock(
    postgresql_database_url: list[str], monkeypatch: pytest.MonkeyPatch
):
    database = Database(postgresql_database_url[0])
    monkeypatch.setattr(wall, "ahead_ns", wall.ahead_ns + 600 * 10**9)
    assert wall.now() - datetime.now(UTC) > timedelta(minutes=9)
    await follow(database)
    async with database.read() as connection:
        before = await connection.scalar(select(clock()))
        now = wall.now()
        after = await connection.scalar(select(clock()))
    assert before is not None
    assert after is not None
    slack = timedelta(milliseconds=50)
    assert before - slack < now < after + slack
    assert abs(made_at_ms(new_id()) / 1000 - after.timestamp()) < 1
    await database.close()
