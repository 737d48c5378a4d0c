"""`gateway billing` as an operator runs it, at the fake Stripe."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import gateway
from gateway.cli.payments import StripeUnread
from gateway.control_plane.payments.payments import NoSuchPayment
from gateway.errors import BadRequest, NotFound
from gateway.fake_stripe.fake import FakeStripe
from gateway.fake_stripe.store import SECRET_KEY
from gateway.settings import SettingsError
from testing.gateways import SECRET
from testing.stripe import fake_stripe


@pytest.fixture
async def fake() -> AsyncIterator[FakeStripe]:
    async with fake_stripe() as served:
        yield served


@pytest.fixture
def environment(sqlite_database_url: list[str], fake: FakeStripe) -> dict[str, str]:
    return {
        "GATEWAY_SECRET": SECRET,
        "DATABASE_URL": sqlite_database_url[0],
        "GATEWAY_STRIPE_SECRET_KEY": SECRET_KEY,
        "GATEWAY_STRIPE_API_URL": fake.url,
        "GATEWAY_STRIPE_TAX": "false",
        "GATEWAY_PUBLIC_URL": "https://g.example",
    }


async def ran(environment: dict[str, str], *words: str) -> Result:
    """Run a command in a thread: its loop is its own, and this one serves Stripe."""
    return await asyncio.to_thread(CliRunner().invoke, gateway, words, env=environment)


async def test_an_operator_buys_and_reconciles(environment: dict[str, str], fake: FakeStripe):
    assert (await ran(environment, "organizations", "create", "acme")).exit_code == 0
    done = await ran(environment, "billing", "checkout", "acme", "25")
    [session] = fake.all("checkout.session")
    assert (done.exit_code, done.stdout.strip()) == (0, session["url"])
    [payment] = said(await ran(environment, "billing", "payments", "acme", "--json"))
    assert (payment["state"], payment["amount_cents"]) == ("open", 2500)
    fake.pay(session["id"])
    done = await ran(environment, "billing", "reconcile", payment["id"])
    assert "is paid: $25.00 received, $0.00 of it back, $25.00 of $25.00 credited" in done.stdout
    balance = said(await ran(environment, "credits", "balance", "acme", "--json"))
    assert (balance["available_nanos"], balance["frozen"]) == (25 * 10**9, False)


async def test_mistakes(environment: dict[str, str], fake: FakeStripe):
    await ran(environment, "organizations", "create", "acme")
    fake.faults.add("error_before", "*", times=9)
    for words, more, kind, expected in (
        (("checkout", "acme", "25"), {}, StripeUnread, "Stripe failed (500)"),
        (("checkout", "acme", "4"), {}, BadRequest, "Choose whole dollars"),
        (("checkout", "nobody", "25"), {}, NotFound, "nobody"),
        (("reconcile", "nothing"), {}, NoSuchPayment, "There is no payment 'nothing'"),
        (
            ("checkout", "acme", "25"),
            {"GATEWAY_STRIPE_SECRET_KEY": ""},
            SettingsError,
            "nobody can buy",
        ),
    ):
        done = await ran(environment | more, "billing", *words)
        # `gateway.cli.main.run` prints these as one line
        assert isinstance(done.exception, kind)
        assert expected in str(done.exception)
        assert SECRET_KEY not in str(done.exception)


def said(done: Result) -> Any:
    """Read what a command printed as JSON."""
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)
