"""POST /webhooks/stripe through the whole application: one row, no call to Stripe, and refusals."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import event as sql_event
from sqlalchemy import select

from gateway.app import build
from gateway.app.process import Process
from gateway.control_plane.payments import api
from gateway.control_plane.payments.api import BODY_BYTES_MAX
from gateway.control_plane.payments.stripe_api import API_VERSION
from gateway.fake_stripe.events import signature, thin
from gateway.fake_stripe.fake import FakeStripe
from gateway.identifiers import new_id
from gateway.storage import tables
from testing.buying import WEBHOOK_SECRET, selling

pytestmark = pytest.mark.sqlite

PATH = "/webhooks/stripe"


@pytest.fixture
async def process(database_url: list[str] | str, fake: FakeStripe) -> AsyncIterator[Process]:
    """A process that is not started: no job takes what is stored."""
    made = build(selling(str(database_url), fake))
    yield made
    await made.core.database.close()


@pytest.fixture
async def http(process: Process) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(process.app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://g") as client:
        yield client


def said(**changes: Any) -> dict[str, Any]:
    about = {"object": "payment_intent", "id": "pi_1", "metadata": {"payment_id": new_id()}}
    return {
        "object": "event", "id": "evt_1", "type": "payment_intent.succeeded",
        "created": int(time.time()), "livemode": False, "api_version": API_VERSION,
        "data": {"object": about}, **changes,
    }  # fmt: skip


async def post(
    http: httpx.AsyncClient, event: Any, secret: str = WEBHOOK_SECRET, at: int | None = None
) -> httpx.Response:
    body = event if isinstance(event, str) else json.dumps(event)
    headers = {"stripe-signature": signature(body, secret, timestamp=at)}
    return await http.post(PATH, content=body, headers=headers)


async def stored(process: Process) -> list[Any]:
    async with process.core.database.read() as connection:
        return list((await connection.execute(select(tables.stripe_events))).all())


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_an_event_is_stored_once(http: httpx.AsyncClient, process: Process):
    for _ in range(3):
        answer = await post(http, said())
        assert answer.status_code == 200
    [row] = await stored(process)
    assert (row.id, row.type, row.object_id, row.intent_id) == (
        "evt_1", "payment_intent.succeeded", "pi_1", "pi_1"
    )  # fmt: skip
    assert row.due_at == row.received_at
    assert process.services.payments.wake.is_set()


async def test_a_thin_event_is_stored(http: httpx.AsyncClient, process: Process):
    assert (await post(http, thin(said()))).status_code == 200
    [row] = await stored(process)
    assert (row.id, row.type, row.object_id) == ("evt_1_thin", "payment_intent.succeeded", "pi_1")


@pytest.mark.postgresql
async def test_one_statement_and_no_call_to_stripe(
    http: httpx.AsyncClient, process: Process, fake: FakeStripe
):
    statements: list[str] = []
    engine = process.core.database.engine.sync_engine

    def note(_connection, _cursor, statement, *_more) -> None:
        statements.append(statement)

    await post(http, said(id="evt_first"))  # a new connection prepares itself
    sql_event.listen(engine, "before_cursor_execute", note)
    for number in range(3):
        statements.clear()
        await post(http, said(id=f"evt_{number}"))
        # SQLite's driver is told to begin; PostgreSQL's does it by itself
        asked = [one for one in statements if not one.startswith("BEGIN")]
        assert len(asked) == 1
        assert asked[0].startswith("INSERT INTO stripe_events")
    statements.clear()
    await post(http, said(), secret="whsec_other")
    await post(http, said(type="invoice.created"))
    assert statements == []
    assert len(fake.calls) == 0


async def test_a_type_that_we_do_not_act_on(http: httpx.AsyncClient, process: Process):
    before = count("gateway_stripe_events_total", type="other")
    assert (await post(http, said(type="invoice.created"))).status_code == 200
    assert await stored(process) == []
    assert count("gateway_stripe_events_total", type="other") == before + 1


async def test_refused(http: httpx.AsyncClient, process: Process):
    for event, options, reason in (
        (said(), {"secret": "whsec_other"}, "signature"),
        (said(), {"at": int(time.time()) - 400}, "timestamp"),
        (said(livemode=True), {}, "mode"),
        (said(account="acct_1"), {}, "account"),
        (said(api_version="2020-08-27"), {}, "version"),
        ("{", {}, "malformed"),
        ({"object": "event"}, {}, "malformed"),
    ):
        before = count("gateway_stripe_events_refused_total", reason=reason)
        answer = await post(http, event, **options)
        assert (answer.status_code, reason) == (400, reason)
        assert answer.json()["error"]["code"] == "event_refused"
        assert count("gateway_stripe_events_refused_total", reason=reason) == before + 1
    assert (await http.post(PATH, json=said())).status_code == 400
    assert await stored(process) == []
    assert not process.services.payments.wake.is_set()


async def test_too_large(http: httpx.AsyncClient, process: Process):
    before = count("gateway_stripe_events_refused_total", reason="size")
    answer = await post(http, said(padding="x" * BODY_BYTES_MAX))
    assert answer.status_code == 413
    assert await stored(process) == []
    assert count("gateway_stripe_events_refused_total", reason="size") == before + 1

    assert (await post(http, said(padding="x" * (BODY_BYTES_MAX - 1000)))).status_code == 200
    assert len(await stored(process)) == 1


@pytest.mark.parametrize("key", ["", "sk_test_fake"])
async def test_without_a_secret_there_is_no_route(sqlite_database_url, fake: FakeStripe, key: str):
    [url] = sqlite_database_url
    made = build(selling(url, fake, stripe_secret_key=key, stripe_webhook_secrets=""))
    transport = httpx.ASGITransport(made.app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://g") as client:
        assert (await post(client, said())).status_code == 404
    await made.core.database.close()


async def test_both_secrets_are_good_while_one_is_replaced(sqlite_database_url, fake: FakeStripe):
    [url] = sqlite_database_url
    made = build(selling(url, fake, stripe_webhook_secrets="whsec_old whsec_new"))
    transport = httpx.ASGITransport(made.app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://g") as client:
        assert (await post(client, said(id="evt_1"), "whsec_old")).status_code == 200
        assert (await post(client, said(id="evt_2"), "whsec_new")).status_code == 200
        assert (await post(client, said(id="evt_3"), "whsec_gone")).status_code == 400
    assert len(await stored(made)) == 2
    await made.core.database.close()


async def test_a_body_that_does_not_end_is_refused(
    http: httpx.AsyncClient, process: Process, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(api, "BODY_SECONDS", 0.05)
    left = asyncio.Event()
    before = count("gateway_stripe_events_refused_total", reason="slow")

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await left.wait()  # as a client that sends no more, and stays

    async with asyncio.timeout(30):
        answer = await http.post(PATH, content=body())
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "event_refused")
    assert await stored(process) == []
    assert count("gateway_stripe_events_refused_total", reason="slow") == before + 1
