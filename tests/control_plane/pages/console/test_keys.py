"""Keys in the console: created, changed, bounded and revoked."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select

from gateway.app.process import Process
from gateway.data_plane.metering.port import BudgetExceeded, Charge
from gateway.dates import day_text
from gateway.identifiers import new_id
from gateway.storage.tables import api_keys
from testing.browsing import Browser, field, sign_in, squeezed
from testing.front_door import posted
from testing.gateways import settled
from tests.control_plane.conftest import MINILM, STELLA, rows
from tests.control_plane.pages.console.conftest import SECRET, use


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases, for what is written and read here."""
    return database_url


async def test_keys_expire_are_renamed_and_revoked(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    secret = SECRET.search(
        (await browser.submit("/console/keys", name="ci", expires_days="7", integers="model")).text
    )
    (key,) = await rows(gateway, select(api_keys))
    assert timedelta(days=6.9) < key.expires_at - datetime.now(UTC) < timedelta(days=7)
    assert key.token_ids_from == "model"
    await browser.get("/console/keys")
    hostile = '"><img src=x onerror=alert(1)>'
    await browser.submit(f"/console/keys/{key.id}", name=hostile)
    assert "<img" not in browser.page.text
    assert "&lt;img src=x" in browser.page.text
    await browser.submit(f"/console/keys/{key.id}/revoke")
    assert "Revoked:" in browser.page.text
    assert secret
    gateway.data.authenticator.forget(key.digest)
    headers = {"authorization": f"Bearer {secret[0]}"}
    assert (await browser.http.get("/v1/models", headers=headers)).status_code == 401


@pytest.mark.sqlite
async def test_a_key_brings_its_own_default_for_texts_that_are_too_long(
    gateway: Process, browser: Browser
):
    await sign_in(browser, gateway, "ada@example.org")
    statuses = {}
    for truncate in ("", "end"):
        await browser.get("/console/keys")
        page = await browser.submit("/console/keys", name="k", truncate=truncate)
        secret = SECRET.search(page.text)
        assert secret
        answer = await posted(
            gateway,
            "/v1/embeddings/estimate",
            json={"model": STELLA, "input": "word " * 600},
            headers={"authorization": f"Bearer {secret[0]}"},
        )
        statuses[truncate] = answer.status_code
    assert statuses == {"": 400, "end": 200}
    assert answer.json()["usage"]["total_tokens"] == 512


@pytest.mark.parametrize("options", [{"organization_keys_max": 1}])
@pytest.mark.sqlite
async def test_keys_are_bounded(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="a")
    await browser.get("/console/keys")
    assert (await browser.submit("/console/keys", name="b")).status_code == 400
    assert "at most 1 keys" in browser.page.text
    for wrong in ({"name": ""}, {"name": "x" * 201}, {"expires_days": "8"}, {"integers": "x"}):
        await browser.get("/console/keys")
        assert (await browser.submit("/console/keys", **wrong)).status_code == 400


async def test_a_key_with_a_budget_shows_what_is_spent_of_it(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="capped", budget="0.000000016")
    await browser.get("/console/keys")
    await browser.submit("/console/keys", name="for good", budget="$5", budget_period="total")
    await browser.get("/console/keys")
    await browser.submit("/console/keys", name="free")
    (key, *_) = await rows(gateway, select(api_keys).order_by(api_keys.c.id))
    snapshot = (await gateway.data.key_store.find([key.digest]))[key.digest]
    assert snapshot.budget == "month"

    def charge(tokens: int) -> Charge:
        return Charge(
            request_id=new_id(), organization_id=key.organization_id, key_id=key.id,
            model_id=MINILM, price_id=new_id(), inputs=1, tokens=tokens, cost_nanos=8 * tokens,
            budget=snapshot.budget,
        )  # fmt: skip

    held = charge(2)  # leases the whole budget: what is leased and not spent is not spent
    await gateway.data.credit.reserve(held)
    await gateway.data.credit.release(held)
    paid = charge(1)
    await gateway.data.credit.reserve(paid)
    await gateway.data.credit.settle(paid)
    await settled(gateway)
    page = (await browser.get("/console/keys")).text
    assert 'title="$0.000000008 of $0.000000016"' in page
    assert '<meter min="0" max="16" value="8"' in page
    assert 'title="$0.00 of $5.00"' in page
    assert [page.count(words) for words in ("this month</span>", "in total</span>")] == [1, 1]
    assert page.count(">none</span>") == 1
    assert "Used up" not in page
    with pytest.raises(BudgetExceeded):
        await gateway.data.credit.reserve(charge(2))


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("amount", "said"),
    [
        ("five", "is not an amount"),
        ("0", "To stop a key, revoke it"),
        ("-1", "is not an amount"),
        ("0.0000000001", "is not an amount"),
        ("1e3", "is not an amount"),
        ("9" * 5_000, "is not an amount"),
        ("9" * 12, "is too much"),
    ],
)
async def test_an_amount_that_is_no_budget_makes_no_key(
    gateway: Process, browser: Browser, amount: str, said: str
):
    await sign_in(browser, gateway, "ada@example.org")
    answer = await browser.submit("/console/keys", name="k", budget=amount)
    assert answer.status_code == 400
    assert said in answer.text
    assert await rows(gateway, select(api_keys)) == []


@pytest.mark.sqlite
async def test_new_keys_start_with_what_the_settings_say(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/keys", truncate="end", integers="model")
    assert '<option value="end" selected>' in browser.page.text
    await browser.get("/console")
    await browser.submit("/console/keys", name="first key")  # the button sends nothing but a name
    await browser.get("/console/keys/new")
    assert '<option value="end" selected>' in browser.page.text
    await browser.submit("/console/keys", name="strict", truncate="refuse", integers="refuse")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/keys", truncate="start", integers="refuse")
    keys = await rows(gateway, select(api_keys).order_by(api_keys.c.id))
    assert [(key.truncate, key.token_ids_from) for key in keys] == [("end", "model"), (None, None)]


async def test_a_form_sent_twice_makes_one_key(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    for path in ("/console", "/console/keys/new"):
        page = await browser.get(path)
        form = {"name": path, "id": field(page.text, "id"), "csrf_token": browser.token}
        made = await browser.http.post("/console/keys", data=form)
        assert SECRET.search(made.text)
        again = await browser.http.post("/console/keys", data=form)  # a reload of the answer
        assert again.status_code == 409
        assert not SECRET.search(again.text)
        assert "sent twice" in again.text
        assert field(again.text, "id") != form["id"]  # the next one is another
    assert len(await rows(gateway, select(api_keys))) == 2


@pytest.mark.sqlite
async def test_what_was_typed_is_still_there_beside_what_is_wrong(
    gateway: Process, browser: Browser
):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/keys")
    said = {"name": "my key", "budget": "1e3", "budget_period": "total", "truncate": "end"}
    page = await browser.submit("/console/keys", expires_days="90", **said)
    assert page.status_code == 400
    assert "is not an amount" in page.text
    for kept in ('value="my key"', 'value="1e3"', '"total" selected', '"end" selected'):
        assert kept in page.text
    assert '"90" selected' in page.text
    await browser.submit("/console/keys", **(said | {"budget": "1"}))
    (key,) = await rows(gateway, select(api_keys))
    await browser.get("/console/keys")
    wrong = await browser.submit(f"/console/keys/{key.id}", name=" ")
    assert wrong.status_code == 400
    assert "1 to 200 visible characters" in wrong.text
    assert (
        'value="1"' in (await browser.submit(f"/console/keys/{key.id}", name="", budget="1")).text
    )


async def test_a_key_is_changed_and_obeyed_at_once(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    page = await browser.submit("/console/keys", name="k", budget="5")
    secret = SECRET.search(page.text)
    assert secret
    (key,) = await rows(gateway, select(api_keys))
    call = {
        "path": "/v1/embeddings/estimate",
        "json": {"model": STELLA, "input": "word " * 600},
        "headers": {"authorization": f"Bearer {secret[0]}"},
    }
    assert (await posted(gateway, **call)).status_code == 400
    path = f"/console/keys/{key.id}"
    await browser.get(path)
    assert 'value="$5.00"' in browser.page.text
    await browser.submit(path, name="renamed", truncate="end", integers="refuse", budget="$1234.5")
    assert 'title="$0.00 of $1,234.50"' in browser.page.text
    assert (await posted(gateway, **call)).status_code == 200
    await browser.get(path)
    assert 'value="$1234.50"' in browser.page.text
    assert '<option value="end" selected>' in browser.page.text
    await browser.submit(path, name="renamed", truncate="refuse", integers="refuse")
    assert ">none</span>" in browser.page.text
    assert (await posted(gateway, **call)).status_code == 400
    await browser.submit(f"/console/keys/{key.id}/revoke")
    assert (await browser.submit(path, csrf=browser.token, name="back")).status_code == 404
    assert (await browser.get(path)).status_code == 404


async def test_a_tab_that_is_behind_replaces_nothing_unseen(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="k")
    (key,) = await rows(gateway, select(api_keys))
    path = f"/console/keys/{key.id}"
    await browser.get(path)
    seen = field(browser.page.text, "seen")
    saved = await browser.submit(path, name="k", budget="5", seen=seen)
    assert '<p class="notice good" role="status">Saved.</p>' in saved.text
    await browser.get(path)
    late = await browser.submit(path, name="other", budget="", seen=seen)
    assert late.status_code == 409
    assert "nothing was saved" in late.text
    assert "budget: $5.00 each month." in squeezed(late.text)  # what is there now
    assert 'value="other"' in late.text  # and what was typed
    assert 'title="$0.00 of $5.00"' in (await browser.get("/console/keys")).text
    token = field(late.text, "csrf_token")
    wrong = await browser.submit(path, csrf=token, name="", budget="", seen=seen)
    assert wrong.status_code == 400
    assert field(wrong.text, "seen") == seen  # an answer to something else hides no other change
    meant = field(late.text, "seen")
    assert meant != seen
    await browser.submit(path, name="other", budget="", seen=meant)
    assert "$5.00" not in browser.page.text
    for nonsense in ("yesterday", "2026-11-23T10:00:00"):
        await browser.get(path)
        assert (await browser.submit(path, name="x", seen=nonsense)).status_code == 400


async def test_of_many_revoked_keys_few_are_read(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="used")
    await use(gateway, 1_000, days_ago=20)
    await use(gateway, 1_000, days_ago=30)
    (used,) = await rows(gateway, select(api_keys))
    day = day_text(datetime.now(UTC) - timedelta(days=20))
    page = (await browser.get("/console/keys")).text
    assert re.search(f'"Last used">\\s*<time [^>]*>{day}</time>', page)
    now = datetime.now(UTC)
    async with gateway.core.database.write() as connection:
        await connection.execute(
            insert(api_keys),
            [
                {
                    "id": new_id(), "organization_id": used.organization_id, "name": f"old-{n}.",
                    "digest": bytes([n]), "last_four": "abcd", "created_at": now,
                    "changed_at": now, "revoked_at": now - timedelta(hours=n),
                }
                for n in range(25)
            ],
        )  # fmt: skip
    await gateway.services.keys.create(used.organization_id, "in use")
    await gateway.services.keys.revoke(used.id)
    page = (await browser.get("/console/keys")).text
    assert page.count("not in the last 90 days") == 1
    assert page.count("old-") == 19  # beside `used`, which was revoked last
    assert "old-18." in page
    assert "and 6 more" in page
    choice = (await browser.get("/console/usage")).text
    assert ">used</option>" in choice
    assert ">in use</option>" in choice
    assert "old-" not in choice
    assert '<th scope="row">used</th>' in choice
    assert ">used</option>" not in (await browser.get("/console/usage?days=7")).text
    assert used.last_four in (await browser.get("/console/usage.csv?by=key")).text
    assert "Create my first key" not in (await browser.get("/console")).text
    for key in await gateway.services.keys.listed(used.organization_id):
        await gateway.services.keys.revoke(key.id)
    assert "Create my first key" in (await browser.get("/console")).text
    assert "No keys yet" not in (await browser.get("/console/keys")).text
    assert "All keys are revoked" in browser.page.text


async def test_a_key_gets_a_new_secret(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    shown = (await browser.submit("/console/keys", name="ci", scopes="embed read")).text
    old = SECRET.search(shown)
    (key,) = await rows(gateway, select(api_keys))
    assert key.scopes == "embed read"
    await browser.get(f"/console/keys/{key.id}")
    shown = (await browser.submit(f"/console/keys/{key.id}/rotate", overlap_hours="1")).text
    new = SECRET.search(shown)
    assert "The previous secret works until" in shown
    assert old
    assert new
    assert old[0] != new[0]
    for secret in (old[0], new[0]):
        headers = {"authorization": f"Bearer {secret}"}
        assert (await browser.http.get("/v1/credits", headers=headers)).status_code == 200
    assert "The previous secret works until" in (
        await browser.get(f"/console/keys/{key.id}")
    ).text  # fmt: skip
    told = [mail.subject for mail in await gateway.services.outbox.listed()]
    assert told[0] == "A new secret for an API key in ada"
    assert "key.rotated" in (await browser.get("/console/trail")).text
    await browser.get(f"/console/keys/{key.id}")
    await browser.submit(f"/console/keys/{key.id}", name="ci", scopes="embed")
    gateway.data.authenticator.forget((await rows(gateway, select(api_keys)))[0].digest)
    headers = {"authorization": f"Bearer {new[0]}"}
    assert (await browser.http.get("/v1/credits", headers=headers)).status_code == 403
