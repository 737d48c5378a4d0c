"""What the console's tests share: its pages, and usage without calls."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from gateway.app.process import Process
from gateway.fake_stripe.fake import FakeStripe
from gateway.fake_stripe.store import SECRET_KEY
from gateway.storage.tables import (
    api_keys,
    usage_hours,
)
from testing.browsing import Browser, accept_invitation, sign_in
from testing.stripe import fake_stripe
from tests.control_plane.conftest import MINILM, rows

PAGES = [
    "/console", "/console/usage", "/console/keys", "/console/billing", "/console/billing/payments",
    "/console/ledger", "/console/requests", "/console/errors", "/console/alerts",
    "/console/webhooks", "/console/votes", "/console/trail", "/console/settings",
    "/console/organizations",
]  # fmt: skip
SECRET = re.compile(r"sk-[0-9A-Za-z]{46}")


async def use(gateway: Process, tokens: int, *, days_ago: int = 0, model: str = MINILM) -> None:
    """Write an hourly sum of usage, as the ledger does."""
    (key, *_) = await rows(gateway, select(api_keys))
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=days_ago)
    taken = await rows(gateway, select(usage_hours.c.shard).order_by(usage_hours.c.shard.desc()))
    async with gateway.core.database.write() as connection:
        await connection.execute(
            insert(usage_hours).values(
                organization_id=key.organization_id, key_id=key.id, model_id=model, hour=hour,
                shard=taken[0].shard + 1 if taken else 0,
                requests=1, inputs=1, tokens=tokens, charged_nanos=8 * tokens,
            )
        )  # fmt: skip


@pytest.fixture
async def fake() -> AsyncIterator[FakeStripe]:
    """Stripe, for gateways with the settings of `selling`."""
    async with fake_stripe() as served:
        yield served
        await served.events.close()


def selling(fake: FakeStripe, **changes: Any) -> dict[str, Any]:
    """Return the settings with which credit can be bought."""
    return {
        "stripe_secret_key": SECRET_KEY,
        "stripe_api_url": fake.url,
        "stripe_tax": False,
        "support": "help@gateway.example",
        **changes,
    }


async def member_of(owner: Browser, gateway: Process, email: str) -> Browser:
    """Invite somebody to the organization of an owner, and return their browser."""
    await owner.get("/console/settings")
    await owner.submit("/console/settings/invite", email=email)
    member = Browser(gateway.app, address="203.0.113.8")
    await accept_invitation(member, gateway, email)
    return member


async def stranger_to(gateway: Process, email: str = "eve@example.org") -> Browser:
    """Return the browser of somebody with an organization of their own."""
    stranger = Browser(gateway.app, address="203.0.113.9")
    await sign_in(stranger, gateway, email)
    return stranger


async def sent(browser: Browser, path: str, **fields: str) -> Any:
    """Send a form of the page that is open, and return the answer itself, wherever it leads."""
    fields["csrf_token"] = browser.token
    return await browser.http.post(path, data=fields, follow_redirects=False)
