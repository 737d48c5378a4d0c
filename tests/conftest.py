"""Servers once a run, a fresh database for each test, and the gateway as a client sees it."""

import asyncio
import gc
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import uvloop
from hypothesis import HealthCheck, settings
from sqlalchemy import make_url

from gateway.control_plane.catalog import catalog, golden
from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from gateway.identifiers import new_id
from gateway.storage import migrate
from gateway.storage.database import Database
from testing import servers, shared
from testing.gateways import MODEL, SECRET, Api, Ledger, open_api
from testing.processes import Process, running
from testing.vouching import fake_golden

gc.set_threshold(100_000, 20, 100)
"""At the default of 700, half of the time to create an application was garbage collection."""
_freeze = gc.freeze
gc.freeze = gc.unfreeze = lambda: None
gc.set_threshold = lambda *_: None
"""A process calls them once, as it starts. Here each application would freeze others' garbage."""


settings.register_profile(
    "unhurried",
    settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("unhurried")
"""An example takes longer than 200 ms on a busy machine."""

shared.share()
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", servers.in_memory())

LONGEST_FIRST = (
    "tests/stories/test_looks.py",
    "tests/stories/test_admin_looks.py",
    "tests/benchmarks/",
    "tests/stories/admin/",
    "tests/guides/",
    "tests/deploy/test_chart_runs.py",
    "tests/deploy/test_compose_runs.py",
    "tests/deploy/test_alerts.py",
    "tests/control_plane/back_office/test_two_doors.py",
    "tests/control_plane/payments/test_state_machine.py",
    "tests/data_plane/metering/test_machine.py",
    "tests/stories/",
    "tests/cli/test_dev.py",
    "tests/cli/",
    "tests/test_readme.py",
    "tests/data_plane/api/embeddings/test_stella.py",
    "tests/backends/stella/",
    "tests/data_plane/api/test_openapi.py",
    "tests/data_plane/api/embeddings/test_faults.py",
    "tests/control_plane/web/test_forms.py",
    "tests/storage/test_migrate.py",
    "tests/data_plane/routing/test_properties.py",
    "tests/control_plane/pages/",
    "tests/control_plane/payments/",
)
"""A long file that begins last leaves a core idle, so these begin first."""
BOTH = ["sqlite", "postgresql"]
_HOUR_LEFT_SECONDS = 30
"""More than a test takes that asks for `now`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        begins = (item.nodeid.startswith(path) for path in LONGEST_FIRST)
        return next((at for at, it_does in enumerate(begins) if it_does), len(LONGEST_FIRST))

    items.sort(key=place)  # which keeps the order of the others


def pytest_collection_finish() -> None:
    """Keep what was imported out of the collections below: it stays, and takes 0.2 s to visit."""
    gc.collect()
    _freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a database on both, unless the file or the test is marked otherwise."""
    marks = list(metafunc.definition.iter_markers("parametrize"))
    if "database_url" in metafunc.fixturenames and not any(
        "database_url" in mark.args[0] for mark in marks
    ):
        names = {mark.name for mark in metafunc.definition.iter_markers()}
        kinds = ["sqlite"] if names & {"sqlite", "postgresql"} == {"sqlite"} else BOTH
        metafunc.parametrize("database_url", kinds, indirect=True)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every async test runs on the loop that production runs on."""
    return {"uvloop": _loop}


def _loop() -> asyncio.AbstractEventLoop:
    loop = uvloop.new_event_loop()
    loop.set_exception_handler(_stop_on_timeout)
    return loop


def _stop_on_timeout(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """End a test that pytest-timeout gives up: uvloop keeps what a signal's handler raises."""
    loop.default_exception_handler(context)
    if isinstance(context.get("exception"), pytest.fail.Exception):
        loop.stop()


@pytest.fixture(scope="module", autouse=True)
def nothing_left_over() -> None:
    """Free what earlier files left, so that no collection happens while a test measures time.

    Applications are cycles of objects, which only the collector finds. What is alive then stays:
    it is what a run computes once, and to visit it again for each file took 0.2 s.
    """
    gc.collect()
    _freeze()


@pytest.fixture
def now() -> datetime:
    """The time, for what depends on the hour, the day or the month: none of them ends meanwhile."""
    left = 3600 - time.time() % 3600
    if left < _HOUR_LEFT_SECONDS:
        time.sleep(left)
    return datetime.now(UTC)


@pytest.fixture
def hour(now: datetime) -> datetime:
    """When the hour began that lasts as long as the test."""
    return now.replace(minute=0, second=0, microsecond=0)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with servers.postgresql(is_durable=False) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with servers.valkey() as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "gateway.db"
    asyncio.run(_migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[str]:
    name = f"template_{new_id().replace('-', '')}"
    asyncio.run(_execute(postgres_url, f"CREATE DATABASE {name}"))
    asyncio.run(_migrate(_at(postgres_url, name)))
    yield name
    asyncio.run(_execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a fresh, migrated database of each kind; see `pytest_generate_tests`."""
    yield from request.getfixturevalue(f"{request.param}_database_url")


@pytest.fixture
def sqlite_database_url(sqlite_template: Path, tmp_path: Path) -> list[str]:
    return [f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'gateway.db')}"]


@pytest.fixture
def postgresql_database_url(postgres_url: str, postgres_template: str) -> Iterator[list[str]]:
    name = f"test_{new_id().replace('-', '')}"
    create = f"CREATE DATABASE {name} TEMPLATE {postgres_template} STRATEGY FILE_COPY"
    asyncio.run(_execute(postgres_url, create))
    yield [_at(postgres_url, name)]
    asyncio.run(_execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def ledger(database: Database) -> Ledger:
    """An organization with a key and no credit, and the money around it."""
    return await Ledger.create(database)


@pytest.fixture
async def sqlite_ledger(sqlite_database_url: list[str]) -> AsyncIterator[Ledger]:
    opened = Database(sqlite_database_url[0])
    yield await Ledger.create(opened)
    await opened.close()


@pytest.fixture(scope="session")
def fake_worker() -> Iterator[Process]:
    with running(
        "backends.fake",
        "--model",
        MODEL,
        "--dimensions",
        "384",
        "--vocabulary-sha256",
        BERT_UNCASED_SHA256,
    ) as process:
        yield process


@pytest.fixture
async def api(sqlite_database_url: list[str], fake_worker: Process) -> AsyncIterator[Api]:
    """The gateway in front of a fake worker, on SQLite, with a funded key."""
    async with open_api(sqlite_database_url[0], f"{MODEL}={fake_worker.url}") as opened:
        yield opened


@pytest.fixture(scope="session")
def served(
    fake_worker: Process, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """The gateway as a process of its own: its address, and a key with credit."""
    path = shutil.copy(sqlite_template, tmp_path_factory.mktemp("served") / "gateway.db")
    environment = {
        **os.environ,
        "GATEWAY_SECRET": SECRET,
        "DATABASE_URL": f"sqlite:///{path}",
        "GATEWAY_WORKERS": f"{MODEL}={fake_worker.url}",
        "GATEWAY_KEY_WAIT_SECONDS": "60",
    }
    secret = asyncio.run(_fund(environment["DATABASE_URL"]))
    process = Process([sys.executable, "-m", "testing.serve"], environment)
    yield process.url, secret
    process.close()


async def _fund(url: str) -> str:
    opened = Database(url)
    ledger = await Ledger.create(opened, 10**12)
    await opened.close()
    return ledger.secret


async def _migrate(url: str) -> None:
    opened = Database(url)
    await migrate.upgrade(opened)
    async with opened.write() as connection:
        await catalog.seed(connection)
        await golden.pin(connection, MODEL, "fake", fake_golden())
    await opened.close()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


def _at(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)
