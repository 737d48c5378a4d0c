"""The console: one's own things, and nobody else's."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from litestar import Litestar
from sqlalchemy import insert, select, update

from gateway.app import Gateway
from gateway.control_plane.billing import usage
from gateway.control_plane.billing.usage import Filter
from gateway.control_plane.mail import unsubscribe
from gateway.data_plane.metering.port import BudgetExceeded, Charge
from gateway.identifiers import new_id
from gateway.storage.tables import (
    api_keys,
    memberships,
    metadata,
    models,
    organizations,
    usage_hours,
    users,
    waitlist_entries,
)
from testing.browsing import Browser, field, mailed_link, sign_in
from testing.gateways import settled
from tests.control_plane.conftest import MINILM, STELLA

SECRET = re.compile(r"sk-[0-9A-Za-z]{46}")
PAGES = [
    "/console", "/console/usage", "/console/keys", "/console/ledger", "/console/votes",
    "/console/settings",
]  # fmt: skip


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases, for what is written and read here."""
    return database_url


async def rows(gateway: Gateway, query):
    async with gateway.database.read() as connection:
        return (await connection.execute(query)).all()


async def use(gateway: Gateway, tokens: int, *, days_ago: int = 0, model: str = MINILM) -> None:
    """Write an hourly sum of usage, as the ledger does."""
    (key, *_) = await rows(gateway, select(api_keys))
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=days_ago)
    taken = await rows(gateway, select(usage_hours.c.shard).order_by(usage_hours.c.shard.desc()))
    async with gateway.database.write() as connection:
        await connection.execute(
            insert(usage_hours).values(
                organization_id=key.organization_id, key_id=key.id, model_id=model, hour=hour,
                shard=taken[0].shard + 1 if taken else 0,
                requests=1, inputs=1, tokens=tokens, charged_nanos=8 * tokens,
            )
        )  # fmt: skip


async def test_strangers_are_led_to_the_sign_in_and_back(browser: Browser):
    for path in [*PAGES, "/console/usage.csv", "/console/settings/export"]:
        answer = await browser.get(path)
        assert answer.url.path == "/sign-in", path
        assert answer.url.params["next"] == path


async def test_the_first_run_is_three_clicks(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")  # lands on the overview
    assert "Create my first key" in browser.page.text
    assert "$0.25" in browser.page.text
    page = await browser.submit("/console/keys", name="first key")
    secret = SECRET.search(page.text)
    assert secret
    assert f"Authorization: Bearer {secret[0]}" in page.text
    assert page.headers["cache-control"] == "private, no-store"
    answer = await browser.http.get("/v1/models", headers={"authorization": f"Bearer {secret[0]}"})
    assert answer.status_code == 200
    for path in PAGES:
        assert secret[0] not in (await browser.get(path)).text


async def test_signing_in_leads_to_the_page_that_was_asked_for(gateway: Gateway, browser: Browser):
    asked = await browser.get("/console/usage?days=7&by=model")
    assert asked.url.path == "/sign-in"
    await sign_in(browser, gateway, "ada@example.org", next_path=field(asked.text, "next"))
    assert str(browser.page.url).endswith("/console/usage?days=7&by=model")


async def test_keys_expire_are_renamed_and_revoked(gateway: Gateway, browser: Browser):
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
    gateway.authenticator.forget(key.digest)
    headers = {"authorization": f"Bearer {secret[0]}"}
    assert (await browser.http.get("/v1/models", headers=headers)).status_code == 401


async def test_a_key_brings_its_own_default_for_texts_that_are_too_long(
    gateway: Gateway, browser: Browser
):
    await sign_in(browser, gateway, "ada@example.org")
    statuses = {}
    for truncate in ("", "end"):
        await browser.get("/console/keys")
        page = await browser.submit("/console/keys", name="k", truncate=truncate)
        secret = SECRET.search(page.text)
        assert secret
        answer = await browser.http.post(
            "/v1/embeddings/estimate",
            json={"model": STELLA, "input": "word " * 600},
            headers={"authorization": f"Bearer {secret[0]}"},
        )
        statuses[truncate] = answer.status_code
    assert statuses == {"": 400, "end": 200}
    assert answer.json()["usage"]["total_tokens"] == 512


@pytest.mark.parametrize("options", [{"organization_keys_max": 1}])
async def test_keys_are_bounded(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="a")
    await browser.get("/console/keys")
    assert (await browser.submit("/console/keys", name="b")).status_code == 400
    assert "at most 1 keys" in browser.page.text
    for wrong in ({"name": ""}, {"name": "x" * 201}, {"expires_days": "8"}, {"integers": "x"}):
        await browser.get("/console/keys")
        assert (await browser.submit("/console/keys", **wrong)).status_code == 400


async def test_a_key_with_a_budget_shows_what_is_spent_of_it(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="capped", budget="0.000000016")
    await browser.get("/console/keys")
    await browser.submit("/console/keys", name="for good", budget="$5", budget_period="total")
    await browser.get("/console/keys")
    await browser.submit("/console/keys", name="free")
    (key, *_) = await rows(gateway, select(api_keys).order_by(api_keys.c.id))
    snapshot = await gateway.keys.find(key.digest)
    assert snapshot is not None
    assert snapshot.budget == "month"

    def charge(tokens: int) -> Charge:
        return Charge(
            request_id=new_id(), organization_id=key.organization_id, key_id=key.id,
            model_id=MINILM, price_id=new_id(), inputs=1, tokens=tokens, cost_nanos=8 * tokens,
            budget=snapshot.budget,
        )  # fmt: skip

    held = charge(2)  # leases the whole budget: what is leased and not spent is not spent
    await gateway.credit.reserve(held)
    await gateway.credit.release(held)
    paid = charge(1)
    await gateway.credit.reserve(paid)
    await gateway.credit.settle(paid)
    await settled(gateway)
    page = (await browser.get("/console/keys")).text
    assert ">$0.000000008 of $0.000000016 this month</td>" in page
    assert ">$0.00 of $5.00 in total</td>" in page
    assert page.count(">none</td>") == 1
    with pytest.raises(BudgetExceeded):
        await gateway.credit.reserve(charge(2))


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
    gateway: Gateway, browser: Browser, amount: str, said: str
):
    await sign_in(browser, gateway, "ada@example.org")
    answer = await browser.submit("/console/keys", name="k", budget=amount)
    assert answer.status_code == 400
    assert said in answer.text
    assert await rows(gateway, select(api_keys)) == []


async def test_what_belongs_to_others_is_not_there(
    gateway: Gateway, browser: Browser, app: Litestar
):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="hers")
    (key,) = await rows(gateway, select(api_keys))
    await use(gateway, 1_000)
    eve = Browser(app)
    await sign_in(eve, gateway, "eve@example.org")
    (ada,) = await rows(gateway, select(users).where(users.c.email == "ada@example.org"))
    home = "/console/settings"
    await eve.get(home)
    token = eve.token
    attempts = [
        (f"/console/keys/{key.id}", {"name": "mine"}),
        (f"/console/keys/{key.id}/revoke", {}),
        (f"{home}/members/{ada.id}/role", {"role": "member"}),
        (f"{home}/members/{ada.id}/remove", {}),
        (f"{home}/organization", {"organization": key.organization_id}),
        ("/console/keys/nonsense/revoke", {}),
        (f"{home}/members/%00/remove", {}),
    ]
    for path, fields in attempts:
        answer = await eve.submit(path, csrf=token, **fields)
        assert answer.status_code == 404, path
    assert (await eve.get(f"/console/keys/{key.id}")).status_code == 404
    assert "hers" not in (await eve.get("/console/keys")).text
    assert (await eve.get(f"/console/usage?key={key.id}")).text.count("1,000") == 0
    assert key.id not in (await eve.get(f"/console/usage.csv?by=key&key={key.id}")).text
    (kept,) = await rows(gateway, select(api_keys))
    assert (kept.name, kept.revoked_at) == ("hers", None)
    await eve.close()


async def test_usage_is_summed_by_day_key_and_model(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="prod")
    await use(gateway, 500)
    await use(gateway, 1_500)
    await use(gateway, 4_000, days_ago=3, model=STELLA)
    await use(gateway, 9_999, days_ago=45)
    page = (await browser.get("/console/usage")).text
    assert page.count('class="bar"') == 2
    assert "$0.000016" in page  # 2,000 tokens of today
    assert "2 requests, 2,000 tokens" in page
    assert "9,999" not in page
    assert "9,999" in (await browser.get("/console/usage?days=90")).text

    async def table(query: str) -> list[dict[str, str]]:
        answer = await browser.get(f"/console/usage.csv?{query}")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        return list(csv.DictReader(io.StringIO(answer.text)))

    days = await table("by=day")
    assert [(d["requests"], d["tokens"], d["cost_nanos"]) for d in days] == [
        ("1", "4000", "32000"), ("2", "2000", "16000"),
    ]  # fmt: skip
    assert [(m["model"], m["tokens"]) for m in await table("by=model")] == [
        (STELLA, "4000"), (MINILM, "2000"),
    ]  # fmt: skip
    (used,) = await table(f"by=key&model={MINILM}")
    (key, *_) = await rows(gateway, select(api_keys))
    assert (used["key"], used["ends_with"], used["tokens"]) == (key.id, key.last_four, "2000")
    since = Filter(since=datetime.now(UTC).date() - timedelta(days=60))
    (organization, *_) = await rows(gateway, select(organizations.c.id))
    async with gateway.database.read() as connection:
        every = await usage.every_sum(connection, organization.id, since)
        for by, at_once in every.items():
            assert at_once == await usage.sums(connection, organization.id, since, by=by)
    assert [len(some) for some in every.values()] == [3, 1, 2]
    assert await table("by=day&key=nonsense") == []
    assert (await browser.get("/console/usage.csv?by=organization")).status_code == 400
    overview = (await browser.get("/console")).text
    assert "under $0.01" not in overview
    assert '<p class="value">$0.000016</p>' in overview


async def test_the_overview_shows_errors_and_latency(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    assert '<p class="value">–</p>' in browser.page.text  # noqa: RUF001 a dash is meant
    assert "No usage in this period." in browser.page.text
    secret = SECRET.search((await browser.submit("/console/keys", name="k")).text)
    assert secret
    headers = {"authorization": f"Bearer {secret[0]}"}
    body = {"model": STELLA, "input": "hello"}
    answer = await browser.http.post("/v1/embeddings", json=body, headers=headers)
    assert answer.status_code == 404  # coming soon
    ((organization,),) = await rows(gateway, select(organizations.c.id))
    for seconds in (0.04, 0.04, 1.2):
        gateway.answers.answered(organization, 200, seconds)
    await gateway.marketplace.answered.flush()
    page = (await browser.get("/console")).text
    assert page.count("of 4 responses") == 2
    for value in ("1", "50 ms", "1.5 s"):
        assert f'<p class="value">{value}</p>' in page


async def test_the_ledger_is_read_page_by_page(gateway: Gateway, browser: Browser):
    from gateway.control_plane.billing import credit

    await sign_in(browser, gateway, "ada@example.org")
    ((organization,),) = await rows(gateway, select(organizations.c.id))
    async with gateway.database.write() as connection:
        for n in range(60):
            await credit.grant(connection, organization, 1, source_ref=f"t:{n}")
        perk = f"launch:{STELLA}:{organization}"
        await credit.grant(connection, organization, 1, source_ref=perk)
    page = (await browser.get("/console/ledger")).text
    assert page.count("<td>Free credit: Stella EN 400M V5 is live</td>") == 1
    assert page.count("<td>Credit</td>") == 49
    older = re.search(r'href="(/console/ledger\?before=\d+)"', page)
    assert older
    assert (await browser.get(older[1])).text.count("<td>Credit</td>") == 11
    assert browser.page.text.count("<td>Free credit: welcome</td>") == 1
    for nonsense in ("0", "-1", "x", "9" * 20):
        assert (await browser.get(f"/console/ledger?before={nonsense}")).status_code == 400


async def test_members_are_invited_change_roles_and_leave(
    gateway: Gateway, browser: Browser, app: Litestar
):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/name", name="<script>acme</script>")
    assert "<script>acme" not in browser.page.text
    await browser.submit("/console/settings/invite", email="bob@example.org")
    assert "on its way" in browser.page.text
    bob = Browser(app)
    await bob.get(await mailed_link(gateway, "bob@example.org"))
    await bob.submit("/sign-in/invitation", token=field(bob.page.text, "token"))
    assert "acme" in bob.page.text
    await bob.get("/console/settings")
    for path, fields in [("name", {"name": "bobs"}), ("invite", {"email": "c@example.org"})]:
        answer = await bob.submit(f"/console/settings/{path}", **fields)
        assert answer.status_code == 404  # he is no owner
        await bob.get("/console/settings")
    (member,) = await rows(gateway, select(memberships).where(memberships.c.role == "member"))
    asked = (await browser.get("/console/settings")).text.partition("Make an owner</summary>")[2]
    assert f"members/{member.user_id}/role" in asked.partition("</details>")[0]
    (ada,) = await rows(gateway, select(users).where(users.c.email == "ada@example.org"))
    await browser.get("/console/settings")
    assert f"members/{ada.id}/remove" not in browser.page.text  # so it is not offered either
    alone = await browser.submit(f"/console/settings/members/{ada.id}/role", role="member")
    assert alone.status_code == 400  # the last owner stays one
    await browser.get("/console/settings")
    await browser.submit(f"/console/settings/members/{member.user_id}/remove")
    assert "bob@example.org" not in browser.page.text
    assert '<p class="eyebrow">bob</p>' in (await bob.get("/console")).text  # he has his own
    await bob.close()


async def invited(gateway: Gateway, browser: Browser, guest: Browser, email: str) -> None:
    """Have the owner in one browser invite whoever sits before the other."""
    await browser.get("/console/settings")
    await browser.submit("/console/settings/invite", email=email)
    await guest.get(await mailed_link(gateway, email))


async def test_who_is_invited_has_credit_and_waits_for_what_they_waited_for(
    gateway: Gateway, browser: Browser, app: Litestar
):
    bob = Browser(app)
    await bob.get(f"/models/{STELLA}")
    await bob.submit("/waitlist", model=STELLA, email="bob@example.org")
    await bob.get(await mailed_link(gateway, "bob@example.org"))
    await bob.submit("/waitlist/confirm", token=field(bob.page.text, "token"))
    await sign_in(browser, gateway, "ada@example.org")
    await invited(gateway, browser, bob, "bob@example.org")
    assert "Join ada" in bob.page.text
    await bob.submit("/sign-in/invitation", token=field(bob.page.text, "token"))
    assert '<p class="eyebrow">ada</p>' in bob.page.text
    await bob.close()
    people = await rows(gateway, select(users.c.email, users.c.welcome, users.c.id))
    assert {row.email: row.welcome for row in people} == {
        "ada@example.org": "granted", "bob@example.org": "granted",
    }  # fmt: skip
    ((waiting,),) = await rows(gateway, select(waitlist_entries.c.user_id))
    assert waiting == {row.email: row.id for row in people}["bob@example.org"]


async def test_an_invitation_ends_with_its_organization(
    gateway: Gateway, browser: Browser, app: Litestar
):
    bob = Browser(app)
    await sign_in(browser, gateway, "ada@example.org")
    await invited(gateway, browser, bob, "bob@example.org")
    token = field(bob.page.text, "token")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/delete", confirm="ada@example.org")
    assert (await bob.submit("/sign-in/invitation", token=token)).status_code == 400
    await bob.close()
    assert await rows(gateway, select(users).where(users.c.email.is_not(None))) == []


@pytest.mark.parametrize("options", [{"invitations_per_hour": 1}])
async def test_invitations_are_no_way_to_write_to_strangers(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/name", name="Win at https://evil.example/x now")
    await browser.submit("/console/settings/invite", email="bob@example.org")
    (mail, *_) = await gateway.marketplace.outbox.listed()
    assert "Win at https evil example x now" in mail.text
    await browser.get("/console/settings")
    more = await browser.submit("/console/settings/invite", email="carol@example.org")
    assert more.status_code == 429


async def test_a_member_leaves_and_the_last_owner_stays(
    gateway: Gateway, browser: Browser, app: Litestar
):
    bob = Browser(app)
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/settings")
    assert "Leave this organization" not in browser.page.text
    await invited(gateway, browser, bob, "bob@example.org")
    await bob.submit("/sign-in/invitation", token=field(bob.page.text, "token"))
    await bob.get("/console/settings")
    assert "Leave ada" in bob.page.text
    await bob.submit("/console/settings/leave")
    assert bob.page.url.path == "/console"
    assert '<p class="eyebrow">bob</p>' in bob.page.text
    await bob.close()
    await browser.get("/console/settings")
    assert (await browser.submit("/console/settings/leave")).status_code == 400


async def joined(gateway: Gateway, browser: Browser, app: Litestar, email: str) -> Browser:
    """Have somebody join the organization of the owner in a browser, and return theirs."""
    guest = Browser(app)
    await invited(gateway, browser, guest, email)
    await guest.submit("/sign-in/invitation", token=field(guest.page.text, "token"))
    return guest


async def test_keys_say_who_made_them(gateway: Gateway, browser: Browser, app: Litestar):
    await sign_in(browser, gateway, "ada@example.org")
    bob = await joined(gateway, browser, app, "bob@example.org")
    await bob.get("/console/keys")
    await bob.submit("/console/keys", name="bobs")
    (key,) = await rows(gateway, select(api_keys))
    await gateway.keys.create(key.organization_id, "by an operator")
    page = (await browser.get("/console/keys")).text
    assert ">by bob<wbr>@example.org</span>" in page
    assert page.count(">by somebody not known</span>") == 1
    await bob.get("/console/settings")
    held = (await bob.get("/console/settings/export")).json()
    assert [made["name"] for made in held["keys"]] == ["bobs"]
    await bob.get("/console/settings")
    await bob.submit("/console/settings/leave")
    assert ">by bob<wbr>@example.org (left)</span>" in (await browser.get("/console/keys")).text
    await bob.get("/console/settings")
    await bob.submit("/console/settings/delete", confirm="bob@example.org")
    assert (await browser.get("/console/keys")).text.count(">by somebody not known</span>") == 2
    assert await rows(gateway, select(api_keys).where(api_keys.c.created_by.is_not(None))) == []
    await bob.close()


async def test_who_is_removed_goes_on_in_their_own_organization(
    gateway: Gateway, browser: Browser, app: Litestar
):
    bob = Browser(app)
    await sign_in(bob, gateway, "bob@example.org")
    await sign_in(browser, gateway, "ada@example.org")
    await invited(gateway, browser, bob, "bob@example.org")
    await bob.submit("/sign-in/invitation", token=field(bob.page.text, "token"))
    await bob.get("/console/keys")
    assert '<p class="eyebrow">ada</p>' in bob.page.text
    open_form = bob.token
    (bobs,) = await rows(gateway, select(users).where(users.c.email == "bob@example.org"))
    await browser.get("/console/settings")
    await browser.submit(f"/console/settings/members/{bobs.id}/remove")
    late = await bob.http.post(
        "/console/keys",
        data={"csrf_token": open_form, "name": "for ada"},
        headers={"sec-fetch-site": "same-origin"},
    )
    assert late.status_code == 403
    told = "You no longer belong to <strong>ada</strong>. From here on you act for bob."
    for path in PAGES:
        page = await bob.get(path)
        assert page.url.path == path
        assert '<p class="eyebrow">bob</p>' in page.text
        assert told in page.text
    await bob.submit("/console/settings/moved")
    assert bob.page.url.path == "/console"
    assert told not in bob.page.text
    await bob.close()


@pytest.mark.parametrize("way", ["removed", "left", "removed without"])
async def test_the_keys_of_who_goes_end_where_that_is_asked_for(
    gateway: Gateway, browser: Browser, app: Litestar, way: str
):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/keys")
    await browser.submit("/console/keys", name="adas")
    bob = await joined(gateway, browser, app, "bob@example.org")
    secrets = []
    for name in ("first", "second"):
        await bob.get("/console/keys")
        made = SECRET.search((await bob.submit("/console/keys", name=name)).text)
        assert made
        secrets.append({"authorization": f"Bearer {made[0]}"})
    for headers in secrets:  # known to this process from here on
        assert (await browser.http.get("/v1/credits", headers=headers)).status_code == 200
    (bobs,) = await rows(gateway, select(users).where(users.c.email == "bob@example.org"))
    leaver = bob if way == "left" else browser
    page = (await leaver.get("/console/settings")).text
    says = "You made 2 keys" if way == "left" else "They made 2 keys"
    assert says in page
    assert "adas" not in page.partition(says)[2].partition("</form>")[0]
    assert 'name="revoke" value="yes" checked' in page
    fields = {} if way == "removed without" else {"revoke": "yes"}
    if way == "left":
        await bob.submit("/console/settings/leave", **fields)
    else:
        await browser.submit(f"/console/settings/members/{bobs.id}/remove", **fields)
    expected = 200 if way == "removed without" else 401
    for headers in secrets:
        assert (await browser.http.get("/v1/credits", headers=headers)).status_code == expected
    kept = await rows(gateway, select(api_keys.c.name).where(api_keys.c.revoked_at.is_(None)))
    assert ("adas",) in kept
    assert len(kept) == (3 if way == "removed without" else 1)
    await bob.close()


async def test_new_keys_start_with_what_the_settings_say(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/keys", truncate="end", integers="model")
    assert '<option value="end" selected>' in browser.page.text
    await browser.get("/console")
    await browser.submit("/console/keys", name="first key")  # the button sends nothing but a name
    await browser.get("/console/keys")
    assert '<option value="end" selected>' in browser.page.text
    await browser.submit("/console/keys", name="strict", truncate="refuse", integers="refuse")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/keys", truncate="start", integers="refuse")
    keys = await rows(gateway, select(api_keys).order_by(api_keys.c.id))
    assert [(key.truncate, key.token_ids_from) for key in keys] == [("end", "model"), (None, None)]


async def test_a_form_sent_twice_makes_one_key(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    for path in ("/console", "/console/keys"):
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


async def test_what_was_typed_is_still_there_beside_what_is_wrong(
    gateway: Gateway, browser: Browser
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
    assert "1 to 200 characters that can be seen" in wrong.text
    assert (
        'value="1"' in (await browser.submit(f"/console/keys/{key.id}", name="", budget="1")).text
    )


async def test_a_key_is_changed_and_obeyed_at_once(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    page = await browser.submit("/console/keys", name="k", budget="5")
    secret = SECRET.search(page.text)
    assert secret
    (key,) = await rows(gateway, select(api_keys))
    call = {
        "url": "/v1/embeddings/estimate",
        "json": {"model": STELLA, "input": "word " * 600},
        "headers": {"authorization": f"Bearer {secret[0]}"},
    }
    assert (await browser.http.post(**call)).status_code == 400
    path = f"/console/keys/{key.id}"
    await browser.get(path)
    assert 'value="$5.00"' in browser.page.text
    await browser.submit(path, name="renamed", truncate="end", integers="refuse", budget="$1234.5")
    assert "of $1,234.50 this month" in browser.page.text
    assert (await browser.http.post(**call)).status_code == 200
    await browser.get(path)
    assert 'value="$1234.50"' in browser.page.text
    assert '<option value="end" selected>' in browser.page.text
    await browser.submit(path, name="renamed", truncate="refuse", integers="refuse")
    assert ">none</td>" in browser.page.text
    assert (await browser.http.post(**call)).status_code == 400
    await browser.submit(f"/console/keys/{key.id}/revoke")
    assert (await browser.submit(path, csrf=browser.token, name="back")).status_code == 404
    assert (await browser.get(path)).status_code == 404


async def test_a_tab_that_is_behind_replaces_nothing_unseen(gateway: Gateway, browser: Browser):
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
    assert "budget: $5.00 each month." in late.text  # what is there now
    assert 'value="other"' in late.text  # and what was typed
    assert ">$0.00 of $5.00 this month</td>" in (await browser.get("/console/keys")).text
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


async def test_settings_say_that_they_are_saved(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    for path, fields in (
        ("name", {"name": "acme"}),
        ("keys", {"truncate": "end", "integers": "refuse"}),
    ):
        await browser.get("/console/settings")
        assert "Saved." not in browser.page.text
        await browser.submit(f"/console/settings/{path}", **fields)
        assert "Saved." in browser.page.text


async def test_somebody_of_two_organizations_switches(
    gateway: Gateway, browser: Browser, app: Litestar
):
    bob = Browser(app)
    await sign_in(bob, gateway, "bob@example.org")
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/invite", email="bob@example.org")
    await bob.get(await mailed_link(gateway, "bob@example.org"))
    await bob.submit("/sign-in/invitation", token=field(bob.page.text, "token"))
    names = {row.name: row.id for row in await rows(gateway, select(organizations))}
    await bob.get("/console/settings")
    assert '<p class="eyebrow">ada</p>' in bob.page.text
    other_tab = bob.token
    await bob.submit("/console/settings/organization", organization=names["bob"])
    assert '<p class="eyebrow">bob</p>' in bob.page.text
    late = await bob.http.post(
        "/console/keys",
        data={"csrf_token": other_tab, "name": "for ada's"},
        headers={"sec-fetch-site": "same-origin"},
    )
    assert late.status_code == 403
    assert "for bob." in late.text  # what it would do now is said, and the name still stands there
    assert "for ada&#39;s" in late.text
    assert await rows(gateway, select(api_keys)) == []
    await bob.close()


async def test_signing_out_everywhere_ends_a_session_that_was_left_behind(
    gateway: Gateway, browser: Browser, app: Litestar
):
    laptop, eve = Browser(app), Browser(app)
    await sign_in(laptop, gateway, "ada@example.org")
    await sign_in(eve, gateway, "eve@example.org")
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/sessions/end")
    for signed_out in (browser, laptop):
        assert "/sign-in" in str((await signed_out.get("/console")).url)
    assert (await eve.get("/console")).url.path == "/console"
    await laptop.close()
    await eve.close()


async def test_of_many_revoked_keys_few_are_read(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="used")
    await use(gateway, 1_000, days_ago=20)
    await use(gateway, 1_000, days_ago=30)
    (used,) = await rows(gateway, select(api_keys))
    day = (datetime.now(UTC) - timedelta(days=20)).strftime("%-d %b %Y")
    assert f"last used {day}" in (await browser.get("/console/keys")).text
    now = datetime.now(UTC)
    async with gateway.database.write() as connection:
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
    await gateway.keys.create(used.organization_id, "in use")
    await gateway.keys.revoke(used.id)
    page = (await browser.get("/console/keys")).text
    assert page.count("not used for 90 days") == 1
    assert page.count("old-") == 19  # beside `used`, which was revoked last
    assert "old-18." in page
    assert "and 6 more" in page
    choice = (await browser.get("/console/usage")).text
    assert ">used</option>" in choice
    assert ">in use</option>" in choice
    assert "old-" not in choice
    assert "<td>used</td>" in choice
    assert ">used</option>" not in (await browser.get("/console/usage?days=7")).text
    assert used.last_four in (await browser.get("/console/usage.csv?by=key")).text
    assert "Create my first key" not in (await browser.get("/console")).text
    for key in await gateway.keys.listed(used.organization_id):
        await gateway.keys.revoke(key.id)
    assert "Create my first key" in (await browser.get("/console")).text
    assert "No keys yet" not in (await browser.get("/console/keys")).text
    assert "All keys are revoked" in browser.page.text


BOB = "bob@example.org"


async def test_invitations_are_listed_and_taken_back(
    gateway: Gateway, browser: Browser, app: Litestar
):
    await sign_in(browser, gateway, "ada@example.org")
    bob = await joined(gateway, browser, app, "bob@example.org")
    carol = Browser(app)
    for _ in range(2):  # two mails, one line
        await invited(gateway, browser, carol, "carol@example.org")
    await browser.get("/console/settings")
    await browser.submit("/console/settings/invite", email="dora@example.org")
    page = (await browser.get("/console/settings")).text
    assert page.count('<th scope="row">carol@example.org</th>') == 1
    assert "bob@example.org" not in page.partition('aria-label="Invitations"')[2]
    assert 'aria-label="Invitations"' not in (await bob.get("/console/settings")).text
    token = bob.token
    path, theirs = "/console/settings/invitations/withdraw", {"email": "carol@example.org"}
    assert (await bob.submit(path, csrf=token, **theirs)).status_code == 404  # he is no owner
    eve = Browser(app)
    await sign_in(eve, gateway, "eve@example.org")
    await eve.get("/console/settings")
    await eve.submit(path, **theirs)  # takes back what she invited, which is nobody
    await carol.get(str(carol.page.url))
    assert "Join ada" in carol.page.text
    link = field(carol.page.text, "token")
    await browser.get("/console/settings")
    await browser.submit(path, **theirs)
    assert "carol@example.org" not in browser.page.text
    assert '<th scope="row">dora@example.org</th>' in browser.page.text
    assert (await carol.submit("/sign-in/invitation", token=link)).status_code == 400
    for email, says in (("Ada@example.org", "You belong"), (BOB, f"{BOB} belongs")):
        await browser.get("/console/settings")
        again = await browser.submit("/console/settings/invite", email=email)
        assert again.status_code == 400
        assert f"{says} to this organization already." in again.text
        assert f'value="{email}"' in again.text
    for visitor in (bob, carol, eve):
        await visitor.close()


async def test_what_is_live_is_waited_for_no_more(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    for path in ("/vote", "/waitlist"):
        await browser.get(f"/models/{STELLA}")
        await browser.submit(path, model=STELLA, email="ada@example.org")
    page = (await browser.get("/console/votes")).text
    assert "We will mail you when these are live" in page
    assert "Leave the waitlist" in page
    assert "Withdraw" in page
    assert "Live now" not in page
    async with gateway.database.write() as connection:
        await connection.execute(update(models).where(models.c.id == STELLA).values(state="live"))
    await gateway.catalog.refresh()
    page = (await browser.get("/console/votes")).text
    assert "We will mail you" not in page
    assert "Leave the waitlist" not in page
    assert "Withdraw" not in page
    live = page.partition("Live now")[2]
    assert live.count(f'href="/models/{STELLA}"') == 1


async def test_ones_data_is_given_and_forgotten(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org", next_path=f"/models/{STELLA}")
    await browser.submit("/vote", model=STELLA, use_case="search")
    await browser.get("/console")
    secret = SECRET.search((await browser.submit("/console/keys", name="k")).text)
    held: dict[str, Any] = (await browser.get("/console/settings/export")).json()
    assert held["email"] == "ada@example.org"
    assert held["votes"][0]["use_case"] == "search"
    assert held["free_credit"] == "granted"
    assert [mail["kind"] for mail in held["mails"]] == ["sign_in"]
    assert len(held["sessions"]) == 1
    async with gateway.database.write() as connection:
        await unsubscribe.add(connection, "ada@example.org")
    await browser.get("/console/settings")
    wrong = await browser.submit("/console/settings/delete", confirm="eve@example.org")
    assert wrong.status_code == 400
    await browser.get("/console/settings")
    await browser.submit("/console/settings/delete", confirm="ada@example.org")
    assert "Your account is deleted" in browser.page.text
    assert "Sign out" not in browser.page.text
    (user,) = await rows(gateway, select(users))
    assert (user.email, user.address_key) == (None, None)
    for table in metadata.sorted_tables:  # nowhere, under no name
        left = await rows(gateway, select(table))
        # as a word of its own: an id in hexadecimal may well have these letters in it
        assert not [row for row in left if re.search(r"\bada\b", str(row))], table.name
    (key,) = await rows(gateway, select(api_keys))
    assert key.revoked_at is not None
    assert secret
    await sign_in(browser, gateway, "ada@example.org")  # may come back, without a second credit
    assert "$0.00" in browser.page.text
