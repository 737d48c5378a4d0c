"""Lookups: bounded for each organization, in time, and without harm to others."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from gateway.control_plane.accounts.users import User
from gateway.control_plane.alerts import lookups as module
from gateway.control_plane.alerts.addresses import Addresses, AddressRefused
from gateway.control_plane.alerts.deliverer import Deliverer
from gateway.control_plane.alerts.lookups import Lookups, LookupsBusy
from gateway.control_plane.alerts.transport import Transport
from gateway.storage.database import Database
from gateway.storage.tables import webhook_deliveries, webhook_endpoints
from testing.webhooks import Receiver
from tests.control_plane.alerts.conftest import SECRETS, add_endpoint, deliver, happen, rows

pytestmark = pytest.mark.sqlite


class NameServer:
    """Answers at once, but names that begin with `slow` only once it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.asked: list[str] = []

    def find(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        if host.startswith("slow"):
            self.released.wait()
        return ["127.0.0.1"]


@pytest.fixture
def server() -> Iterator[NameServer]:
    made = NameServer()
    yield made
    made.released.set()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.2)
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.1)


async def test_an_organizations_slow_names_delay_no_other(server: NameServer):
    lookups = Lookups(server.find)
    slow = [lookups.find("a", f"slow{number}", 443) for number in range(100)]
    ended = asyncio.gather(*slow, return_exceptions=True)
    await asyncio.sleep(0)
    assert await lookups.find("b", "good", 443) == ["127.0.0.1"]
    errors = [type(error) for error in await ended]
    assert errors.count(TimeoutError) == module.EACH_MAX
    assert errors.count(LookupsBusy) == 100 - module.EACH_MAX
    # a thread that nobody waits for any more still counts
    with pytest.raises(LookupsBusy):
        await lookups.find("a", "good", 443)
    assert server.asked == ["slow0", "slow1", "good"]
    server.released.set()
    async with asyncio.timeout(10):
        while True:
            try:
                assert await lookups.find("a", "good", 443) == ["127.0.0.1"]
                break
            except LookupsBusy:
                continue
    lookups.close()


async def test_what_ends_in_time_or_fails_gives_its_place_back(server: NameServer):
    def find(host: str, port: int) -> list[str]:
        if host == "unknown":
            raise OSError(host, port)
        return server.find(host, port)

    lookups = Lookups(find)
    for _ in range(2 * module.EACH_MAX):
        with pytest.raises(OSError, match="unknown"):
            await lookups.find("a", "unknown", 443)
        assert await lookups.find("a", "good", 443)
    assert len(lookups._each) <= 1
    lookups.close()


async def test_all_threads_are_in_use(server: NameServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "THREADS", 2)
    lookups = Lookups(server.find)
    for organization in "ab":
        with pytest.raises(TimeoutError):
            await lookups.find(organization, "slow", 443)
    with pytest.raises(LookupsBusy):
        await lookups.find("c", "good", 443)
    lookups.close()


async def test_a_name_server_that_is_too_slow_is_the_addresss_fault(server: NameServer):
    addresses = Addresses(find=server.find)
    with pytest.raises(AddressRefused, match="did not answer in time"):
        await addresses.resolve("o", addresses.parse("https://slow.example.com/"))
    addresses.close()


@pytest.mark.postgresql
async def test_a_message_without_a_place_here_counts_no_attempt(
    database: Database, owner: User, receiver: Receiver, server: NameServer
):
    port = receiver.url.rpartition(":")[2].partition("/")[0]
    addresses = Addresses(["good.test"], find=server.find)
    deliverer = Deliverer(database, SECRETS, Transport(addresses))
    slow = addresses.parse("https://slow.example.com/")
    for _ in range(module.EACH_MAX):
        with pytest.raises(AddressRefused):
            await addresses.resolve(owner.organization_id, slow)
    await add_endpoint(database, owner, receiver.url)
    async with database.write() as connection:
        url = f"http://good.test:{port}/"
        await connection.execute(webhook_endpoints.update().values(url=url))
    await happen(database, owner.organization_id)
    await deliver(deliverer)
    (row,) = await rows(database, select(webhook_deliveries))
    assert (row.state, row.attempts, row.error) == ("pending", 0, "")
    assert row.due_at > row.created_at
    (endpoint,) = await rows(database, select(webhook_endpoints))
    assert endpoint.failing_since is None
    assert receiver.messages == []
    await deliverer.stop()
