"""/admin/operators does what the commands do, after a fresh proof, and for owners alone."""

import re
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from gateway.app.process import Process
from gateway.control_plane.web.verification import FRESH
from gateway.storage.tables import trail_entries
from testing.browsing import Browser
from testing.enrolling import enroll, grow_old
from testing.operators import sign_in_operator
from tests.control_plane.conftest import rows

EVE, BOB = "eve@example.com", "bob@example.com"
PATH = "/admin/operators"


def actions_of(page: str, word: str) -> list[str]:
    return re.findall(rf'action="({PATH}/[0-9a-f-]+/{word})"', page)


async def test_from_added_to_removed(browser: Browser, gateway: Process):
    await enroll(browser, gateway, EVE)
    await browser.get(PATH)
    added = await browser.submit(PATH, email=BOB, role="read", reason="on call")
    assert re.search(r"http://127.0.0.1:8080/admin/enroll\?token=[\w-]{43}<", added.text)
    await browser.get(PATH)
    twice = await browser.submit(PATH, email=BOB, role="read", reason="x")
    assert (twice.status_code, "already" in twice.text) == (409, True)

    await browser.submit(actions_of(browser.page.text, "role")[1], role="finance", reason="x")
    assert ">Finance</td>" in browser.page.text
    reset = await browser.submit(actions_of(browser.page.text, "reset")[1], reason="lost")
    assert "/admin/enroll?token=" in reset.text
    page = await browser.get(PATH)
    await browser.submit(actions_of(page.text, "remove")[1], reason="x")
    last = await browser.submit(actions_of(browser.page.text, "remove")[0], reason="x")
    assert (last.status_code, "someone else an owner first" in last.text) == (400, True)

    told = trail_entries.c.action.like("operator.%")
    query = select(trail_entries.c.action).where(told).order_by(trail_entries.c.number)
    assert [row.action for row in await rows(gateway, query)] == [
        "operator.added", "operator.added", "operator.role_changed", "operator.reset",
        "operator.removed",
    ]  # fmt: skip


async def test_an_old_proof_is_renewed_and_the_form_goes_through(
    browser: Browser, gateway: Process
):
    phone = await enroll(browser, gateway, EVE)
    await browser.get(PATH)
    await grow_old(gateway, EVE, verified_at=datetime.now(UTC) - FRESH)
    typed = {"email": BOB, "role": "support", "reason": "on call"}
    asked = await browser.submit(PATH, **typed)
    assert (asked.status_code, "Confirm it's you" in asked.text) == (401, True)
    assert f'name="email" value="{BOB}"' in asked.text
    done = await browser.submit(
        "/admin/verify", factor_code=phone.code(), factor_next=PATH, factor_resend="yes", **typed
    )
    assert f"Send this link to {BOB}" in done.text


@pytest.mark.parametrize("role", ["read", "support", "finance", "operator"])
async def test_only_owners_manage_operators(browser: Browser, gateway: Process, role):
    await sign_in_operator(browser, gateway, EVE, role)
    page = await browser.get(PATH)
    assert page.status_code == 200
    assert "does not manage operators" in page.text
    refused = await browser.submit(PATH, email=BOB, role="owner")
    assert refused.status_code == 403
    assert len(actions_of((await browser.get(PATH)).text, "role")) == 0
