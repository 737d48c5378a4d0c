"""`gateway receipts verify`: without a network, over one, and in the deployment's own database."""

import asyncio
from pathlib import Path

import httpx
import pytest
from sqlalchemy import delete, text

from gateway.data_plane.metering.receipts import ReceiptSigner
from gateway.storage.database import Database
from gateway.storage.tables import receipt_roots
from testing.gateways import MODEL, SECRET
from testing.ledger import add_customer, running
from tests.cli.test_cli import Shell

pytestmark = pytest.mark.sqlite


@pytest.fixture(scope="module")
def answer(served: tuple[str, str]) -> httpx.Response:
    url, secret = served
    body = {"model": MODEL, "input": "hello"}
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.post(f"{url}/v1/embeddings", json=body, headers=headers, timeout=60)


def test_a_file_of_keys_is_enough(answer: httpx.Response, served: tuple[str, str], tmp_path: Path):
    keys = tmp_path / "keys.json"
    keys.write_bytes(httpx.get(f"{served[0]}/v1/receipts/key", timeout=60).content)
    receipt = answer.headers["x-receipt"]
    shell = Shell.bare()
    told = shell.run("receipts", "verify", receipt, "--key", str(keys))
    assert f"Valid: 3 tokens of {MODEL} cost $0.000000024." in told
    assert answer.headers["x-request-id"] in told
    assert "which the log has" not in told
    altered = receipt[:40] + ("A" if receipt[40] != "A" else "B") + receipt[41:]
    assert "not valid" in shell.run("receipts", "verify", altered, "--key", str(keys), status=1)
    keys.write_text("{}")
    told = shell.run("receipts", "verify", receipt, "--key", str(keys), status=1)
    assert "no JWK set" in told


def test_over_the_network_the_log_is_asked_too(answer: httpx.Response, served: tuple[str, str]):
    shell, receipt = Shell.bare(), answer.headers["x-receipt"]
    for url in (served[0], f"{served[0]}/v1/"):  # as SDKs are given it
        assert "which the log has" in shell.run("receipts", "verify", receipt, "--url", url)
    told = shell.json("receipts", "verify", receipt, "--url", served[0])
    assert told["is_published"]
    assert told["receipt"]["cost_nanos"] == answer.headers["x-cost-nanos"]
    told = shell.run("receipts", "verify", receipt, "--url", f"{served[0]}/nowhere", status=1)
    assert "nowhere" in told


@pytest.fixture
def receipt(database_url: str, tmp_path: Path) -> str:
    """Return a receipt whose root is in the database."""

    async def made() -> str:
        database = Database(database_url)
        customer = await add_customer(database, 10)
        async with running(database, tmp_path, receipts=ReceiptSigner(SECRET)) as credit:
            charge = customer.charge(3)
            await credit.reserve(charge)
            receipt = await credit.settle(charge)
        await database.close()
        assert receipt is not None
        return receipt

    return asyncio.run(made())


def test_the_deployment_s_own_log_is_asked(receipt: str, database_url: str):
    shell = Shell(database_url)
    assert "which the log has" in shell.run("receipts", "verify", receipt)
    other = Shell(database_url)
    other.environment["GATEWAY_SECRET"] = "another secret, that was set since then"
    assert "which the log has" in other.run("receipts", "verify", receipt)  # its key is kept
    shell.tamper(text("DROP TRIGGER receipt_roots_no_update"))
    shell.tamper(text("UPDATE receipt_roots SET size = size + 1"))
    assert "another root" in shell.run("receipts", "verify", receipt, status=1)
    shell.tamper(text("DROP TRIGGER receipt_roots_no_delete"))
    shell.tamper(delete(receipt_roots))
    assert "no such root" in shell.run("receipts", "verify", receipt, status=1)
