"""The gateway in this process, as a client sees it, and the money behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import msgspec
from litestar import Litestar
from sqlalchemy import select

from gateway.app import build
from gateway.app.process import Process
from gateway.control_plane.accounts import organizations
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.billing import credit
from gateway.control_plane.catalog import catalog
from gateway.data_plane.metering.port import Charge
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.settings import Settings
from gateway.snapshots import SCOPES
from gateway.storage.database import Database
from gateway.storage.ledger import invariants
from gateway.storage.tables import usage_events
from testing.front_door import Client, DoorTransport, post

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
STELLA = "NovaSearch/stella_en_400M_v5"
SECRET = "a secret for tests, long enough to pass"
METRICS_TOKEN = "a-token-of-monitoring"
MONITORING = {"authorization": f"Bearer {METRICS_TOKEN}"}
PRICE_NANOS = 8


@dataclass
class Ledger:
    """An organization with a key, and the tables that its money lives in."""

    database: Database
    organization_id: str
    key_id: str
    secret: str
    price_id: str

    @classmethod
    async def create(cls, database: Database, credit_nanos: int = 0) -> "Ledger":
        async with database.write() as connection:
            owner = await organizations.create(connection, "acme")
            if credit_nanos:
                await credit.grant(connection, owner.id, credit_nanos)
            price = (await catalog.snapshot(connection)).models[MODEL].price
        made = await ApiKeys(database, secret=Keyring(SECRET)).create(
            owner.id, "tests", scopes=SCOPES
        )
        return cls(database, owner.id, made.key.id, made.secret, price.id)

    def charge(self, cost_nanos: int) -> Charge:
        tokens, rest = divmod(cost_nanos, PRICE_NANOS)
        assert not rest, "tests charge whole tokens"
        return Charge(
            request_id=new_id(),
            organization_id=self.organization_id,
            key_id=self.key_id,
            model_id=MODEL,
            price_id=self.price_id,
            inputs=1,
            tokens=tokens,
            cost_nanos=cost_nanos,
        )

    async def grant(self, amount_nanos: int, **options: Any) -> bool:
        async with self.database.write() as connection:
            return await credit.grant(connection, self.organization_id, amount_nanos, **options)

    async def balance(self) -> credit.Balance:
        async with self.database.read() as connection:
            return await credit.balance(connection, self.organization_id)

    async def available(self) -> int:
        return (await self.balance()).available_nanos

    async def usage(self) -> list[Any]:
        async with self.database.read() as connection:
            return list((await connection.execute(select(usage_events))).all())

    async def breaches(self) -> list[str]:
        async with self.database.read() as connection:
            return [breach.invariant.name for breach in await invariants.audit(connection)]


async def settled(gateway: Process) -> None:
    """Wait until the ledger has everything that was acknowledged."""
    async with asyncio.timeout(30):
        while gateway.data.credit.book.unconfirmed:
            await asyncio.sleep(0.005)


@dataclass
class Api:
    """A running gateway and a client with a good key."""

    gateway: Process
    http: httpx.AsyncClient
    ledger: Ledger
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> ApiKeys:
        """What makes and revokes keys, which a process of the data plane alone does not run."""
        announce = self.gateway.data.key_changed
        return ApiKeys(self.ledger.database, secret=Keyring(SECRET), announce=announce)

    @property
    def app(self) -> Litestar:
        return self.gateway.app

    async def embed(self, body: Any = None, **fields: Any) -> httpx.Response:
        """POST /v1/embeddings: a whole body, or fields over a good default."""
        if body is None:
            body = {"model": MODEL, "input": "hello world", **fields}
        if not isinstance(body, bytes):
            body = msgspec.json.encode(body)
        return await self.http.post("/v1/embeddings", content=body, headers=self.headers)

    async def monitored(self, path: str) -> httpx.Response:
        """GET as monitoring does."""
        return await self.http.get(path, headers=MONITORING)

    def connect(self) -> Client:
        """Open a connection of one's own, for clients that write bytes, wait and leave."""
        return Client(self.gateway)

    def request(self, body: bytes, **headers: str) -> bytes:
        """Return the bytes of POST /v1/embeddings."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return post("/v1/embeddings", body, self.headers | named)

    async def ready(self, model: str = MODEL, *, workers: int = 1) -> None:
        """Wait until so many workers of the model have proven themselves."""
        pool = self.gateway.core.router.pools[model]
        async with asyncio.timeout(60):
            while sum(worker.ready for worker in pool.core.workers.values()) < workers:
                await asyncio.sleep(0.005)

    async def settled(self) -> Ledger:
        """Wait until the ledger has everything that was acknowledged, and return it."""
        await settled(self.gateway)
        return self.ledger

    async def assert_untouched(self) -> None:
        """Assert that nothing was charged or is held, and that the invariants hold."""
        balance = await self.ledger.balance()
        assert balance.available_nanos == sum(lot.amount_nanos for lot in balance.lots)
        assert not self.gateway.data.credit.book.held
        assert await self.ledger.usage() == []
        assert await self.ledger.breaches() == []


def settings(database_url: str, workers: str = "", **changes: Any) -> Settings:
    # patient with keys, so that a slow machine is no database that hangs
    chosen = Settings(
        secret=SECRET,
        database_url=database_url,
        workers=workers,
        key_wait_seconds=60.0,
        metrics_token=METRICS_TOKEN,
    )
    return replace(chosen, **changes)


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    """Run the lifespan in one task, as Litestar requires and pytest's fixtures don't guarantee."""
    started, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            started.set()
            await stop.wait()

    life = asyncio.create_task(live())
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait([life, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not started.is_set():
        await life  # raises what kept it from starting
    try:
        yield
    finally:
        stop.set()
        await life


@asynccontextmanager
async def open_api(
    database_url: str, workers: str = "", *, credit_nanos: int = 10**9, **changes: Any
) -> AsyncIterator[Api]:
    """Open the API alone, which takes a tenth of the time that pages and jobs take too."""
    gateway = build(settings(database_url, workers, **{"role": "data", **changes}))
    async with _lifespan(gateway.app):
        ledger = await Ledger.create(gateway.core.database, credit_nanos)
        headers = {
            "authorization": f"Bearer {ledger.secret}",
            "content-type": "application/json",
        }
        transport = DoorTransport(gateway)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            yield Api(gateway, http, ledger, headers)
