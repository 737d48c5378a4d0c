"""The power is cut while the ledger is away: what was answered is charged all the same."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway.storage.database import Database
from gateway.storage.tables import usage_events
from testing import lossy_disk
from testing.ledger import assert_sound, running

pytestmark = pytest.mark.sqlite
ANSWERS = 20


def answered_until_the_cut(folder: Path, url: str, ignored: str) -> list[str]:
    """Return the requests that a process answered before its power was cut."""
    module = "tests.data_plane.metering.unplugged"
    command = (sys.executable, "-m", module, folder / "data/journal", folder / "platter", url)
    (folder / "data").mkdir()
    with subprocess.Popen([*command, ignored], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(ANSWERS)]
        process.kill()
        told += process.stdout.read().splitlines(keepends=True)  # what it said meanwhile
    answers = [line.split()[1] for line in told if re.fullmatch(r"answered \S+\n", line)]
    assert len(answers) > ANSWERS // 2, told
    return answers


@pytest.mark.parametrize("ignored", ["nothing", "fdatasync", "fsync"])
async def test_what_was_answered_outlives_a_power_cut(
    ignored: str, tmp_path: Path, sqlite_database_url: list[str]
):
    (url,) = sqlite_database_url
    answered = await asyncio.to_thread(answered_until_the_cut, tmp_path, url, ignored)
    left = lossy_disk.power_cut(tmp_path / "data", tmp_path / "platter", tmp_path / "left")
    database = Database(url)
    async with running(database, left / "journal"):
        async with asyncio.timeout(30):
            while list((left / "journal").glob("*/*.journal")):
                await asyncio.sleep(0.01)
    async with database.read() as connection:
        charged = set(await connection.scalars(select(usage_events.c.request_id)))
    await assert_sound(database)
    await database.close()
    lost = [request for request in answered if request not in charged]
    # the lab itself: without either of the two nothing of the journal is there
    assert lost == ([] if ignored == "nothing" else answered)
