"""What a reader of the guides has: a gateway with a real model behind it, keys, a database."""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.control_plane.accounts.keys import ApiKeys
from gateway.keyring import Keyring
from gateway.storage.database import Database
from gateway.storage.ledger.budgets import Budget
from testing import servers
from testing.gateways import MODEL, SECRET, Ledger
from testing.processes import Process, running


class Reader(NamedTuple):
    """Somebody who follows the guides."""

    environment: dict[str, str]
    poor_key: str
    """A key whose budget is less than any request costs."""

    def having(self, **variables: str) -> "Reader":
        return self._replace(environment=self.environment | variables)


@pytest.fixture(scope="session")
def served_reader(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reader]:
    """A reader without a database, whose gateway serves MiniLM and whose key has $1,000."""
    path = shutil.copy(sqlite_template, tmp_path_factory.mktemp("guides") / "gateway.db")
    url = f"sqlite:///{path}"
    with running("backends.minilm") as worker:
        settings = {
            "GATEWAY_SECRET": SECRET, "DATABASE_URL": url,
            "GATEWAY_WORKERS": f"{MODEL}={worker.url}", "GATEWAY_HOLD_SECONDS": "30",
            "GATEWAY_KEY_WAIT_SECONDS": "60",
        }  # fmt: skip
        key, poor_key = asyncio.run(_keys(url))
        process = Process([sys.executable, "-m", "testing.serve"], os.environ | settings)
        programs = [Path(sys.executable).parent, servers.programs()[0].parent]
        yield Reader(
            os.environ | {
                "OPENAI_BASE_URL": f"{process.url}/v1",
                "OPENAI_API_KEY": key,
                "PATH": ":".join([*map(str, programs), os.environ["PATH"]]),
            },
            poor_key,
        )  # fmt: skip
        process.close()


@pytest.fixture
def reader(served_reader: Reader, postgresql_database_url: list[str]) -> Reader:
    return served_reader.having(DATABASE_URL=postgresql_database_url[0])


async def _keys(url: str) -> tuple[str, str]:
    database = Database(url)
    ledger = await Ledger.create(database, 10**12)
    budget = Budget(limit_nanos=1, period="month")
    keys = ApiKeys(database, secret=Keyring(SECRET))
    poor = await keys.create(ledger.organization_id, "poor", budget=budget)
    await database.close()
    return ledger.secret, poor.secret
