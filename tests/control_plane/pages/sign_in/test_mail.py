"""Signing in: who can, how long a link lives, and what strangers learn (nothing)."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest
from litestar import Litestar
from sqlalchemy import select, text, update

from gateway.app.process import Process
from gateway.control_plane.web.forms import safe_path
from gateway.storage.tables import credit_lots, mail_links, outbox, sessions, users
from testing.browsing import Browser, field, mailed_link, sign_in_by_mail, squeezed
from tests.control_plane.conftest import rows


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases, for what is written and read here."""
    return database_url


async def test_a_mailed_link_signs_in_and_the_account_has_credit_once(
    gateway: Process, browser: Browser
):
    await sign_in_by_mail(browser, gateway, "Ada@Example.org", next_path="/models")
    assert browser.page.url.path == "/models"
    assert "Sign out" in browser.page.text
    (lot,) = await rows(gateway, select(credit_lots))
    assert (lot.kind, lot.amount_nanos) == ("promo", 250_000_000)
    assert lot.source_ref.startswith("signup:")
    assert "ada" not in lot.source_ref  # the books are kept for ever, and name nobody
    assert lot.expires_at - lot.created_at > timedelta(days=29)
    await browser.submit("/sign-out")
    assert "Sign in" in browser.page.text
    await sign_in_by_mail(browser, gateway, "ada@example.org")
    assert len(await rows(gateway, select(credit_lots))) == 1
    assert len(await rows(gateway, select(users))) == 1


async def test_other_spellings_of_a_mailbox_get_no_second_credit(
    gateway: Process, browser: Browser, app: Litestar
):
    await sign_in_by_mail(browser, gateway, "ada.l@gmail.com")
    other = Browser(app)
    await sign_in_by_mail(other, gateway, "adal+2@googlemail.com")
    await other.close()
    assert len(await rows(gateway, select(credit_lots))) == 1
    assert {row.welcome for row in await rows(gateway, select(users))} == {
        "granted", "granted_before",
    }  # fmt: skip


@pytest.mark.sqlite
async def test_throw_away_mailboxes_may_sign_in_without_credit(gateway: Process, browser: Browser):
    await sign_in_by_mail(browser, gateway, "x@mailinator.com")
    assert "Sign out" in browser.page.text
    assert "no free credit for disposable mailboxes" in browser.page.text
    assert await rows(gateway, select(credit_lots)) == []


@pytest.mark.parametrize("options", [{"promotion_nanos_per_day": 499_999_999}])
@pytest.mark.usefixtures("now")
async def test_a_day_has_a_budget(gateway: Process, app: Litestar):
    browsers = [Browser(app) for _ in range(3)]
    await asyncio.gather(
        *(sign_in_by_mail(b, gateway, f"p{n}@example.org") for n, b in enumerate(browsers))
    )
    for browser in browsers:
        await browser.close()
    assert len(await rows(gateway, select(credit_lots))) == 1
    welcomes = sorted(row.welcome for row in await rows(gateway, select(users)))
    assert welcomes == ["budget", "budget", "granted"]


async def test_a_link_works_once_and_only_by_its_button(
    gateway: Process, browser: Browser, app: Litestar
):
    await browser.get("/sign-in")
    await browser.submit("/sign-in", email="ada@example.org")
    link = await mailed_link(gateway, "ada@example.org")
    for _ in range(3):  # mail scanners open links; that uses nothing up and signs nobody in
        assert (await browser.get(link)).status_code == 200
    assert await rows(gateway, select(users)) == []
    form, token = browser.token, field(browser.page.text, "token")
    await browser.submit("/sign-in/link", token=token)
    assert browser.page.status_code == 200
    again = await browser.http.post("/sign-in/link", data={"token": token, "csrf_token": form})
    assert again.status_code in {400, 403}
    stranger = Browser(app)
    assert "no longer works" in (await stranger.get(link)).text
    await stranger.close()
    assert (await browser.get(link)).url.path == "/console"  # it did what it was opened for


async def test_two_at_once_use_a_link_once(gateway: Process, browser: Browser):
    await browser.get("/sign-in")
    await browser.submit("/sign-in", email="ada@example.org")
    await browser.get(await mailed_link(gateway, "ada@example.org"))
    data = {"token": field(browser.page.text, "token"), "csrf_token": browser.token}
    browser.http.follow_redirects = False
    answers = await asyncio.gather(
        *(browser.http.post("/sign-in/link", data=data) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [303, 400, 400, 400, 400]
    assert len(await rows(gateway, select(sessions))) == 1


async def test_a_form_sent_again_uses_up_one_link(gateway: Process, browser: Browser):
    await browser.get("/sign-in")
    sent = {"id": field(browser.page.text, "id"), "csrf": browser.token}
    for _ in range(9):
        await browser.submit("/sign-in", email="ada@example.org", **sent)
    mails = await rows(gateway, select(outbox.c.id))
    assert 1 <= len(mails) <= 2  # a minute may have ended in between
    assert len(await rows(gateway, select(mail_links.c.id))) == len(mails)


async def test_a_link_expires(gateway: Process, browser: Browser):
    await browser.get("/sign-in")
    await browser.submit("/sign-in", email="ada@example.org")
    link = await mailed_link(gateway, "ada@example.org")
    async with gateway.core.database.write() as connection:
        await connection.execute(update(mail_links).values(expires_at=datetime.now(UTC)))
    assert (await browser.get(link)).status_code == 400


async def test_a_forged_or_borrowed_token_is_no_link(gateway: Process, browser: Browser):
    await browser.get("/sign-in")
    await browser.submit("/sign-in", email="ada@example.org")
    link = await mailed_link(gateway, "ada@example.org")
    for forged in (link[:-1] + ("0" if link[-1] != "0" else "1"), link + "&purpose=invitation"):
        assert (await browser.get(forged)).status_code == 400
    for nonsense in ("", "x", "%00.%ff", "💥.💥", "'; drop table users; --." + "0" * 64):
        answer = await browser.get("/sign-in/link", params={"token": nonsense})
        assert answer.status_code == 400


@pytest.mark.sqlite
async def test_nobody_learns_who_has_an_account(gateway: Process, browser: Browser, app: Litestar):
    await sign_in_by_mail(browser, gateway, "ada@example.org")
    stranger = Browser(app)
    answers = []
    for email in ("ada@example.org", "eve@example.org"):
        await stranger.get("/sign-in")
        answer = await stranger.submit("/sign-in", email=email)
        body = re.sub(r'value="[0-9a-f]{64}"|x-csrf-token": "[0-9a-f]{64}', "", answer.text)
        body = body.replace(field(body, "id"), "")
        answers.append((answer.status_code, body.replace(email, "")))
    await stranger.close()
    assert answers[0] == answers[1]


@pytest.mark.parametrize("options", [{"mail_links_per_hour": 2}])
@pytest.mark.sqlite
async def test_an_address_is_mailed_so_often_and_told_nothing(gateway: Process, browser: Browser):
    for _ in range(4):
        await browser.get("/sign-in")
        assert (await browser.submit("/sign-in", email="ada@example.org")).status_code == 200
        assert "on their way" in browser.page.text
    assert len(await gateway.services.outbox.listed()) == 2


@pytest.mark.parametrize("options", [{"sign_ins_per_hour": 2}])
@pytest.mark.sqlite
async def test_a_visitor_asks_so_often(browser: Browser, app: Litestar):
    await browser.get("/sign-in")
    token = browser.token
    statuses = []
    for n in range(3):
        answer = await browser.submit("/sign-in", email=f"p{n}@example.org", csrf=token)
        statuses.append(answer.status_code)
    assert statuses == [200, 200, 429]
    neighbour = Browser(app, address="203.0.113.8")
    await neighbour.get("/sign-in")
    assert (await neighbour.submit("/sign-in", email="n@example.org")).status_code == 200
    await neighbour.close()


@pytest.mark.sqlite
async def test_what_is_no_address_is_said_beside_the_field(browser: Browser):
    for email in ("", "ada", "a@b", "a b@example.org", "a@example.org\nBcc: x@y.org", "x" * 300):
        await browser.get("/sign-in")
        answer = await browser.submit("/sign-in", email=email)
        assert answer.status_code == 400
        assert "not a valid email address" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example",
        "//[", "//a]b", "//evil℀.com", "/" + "x" * 1_000, "/a\0b",
        "javascript:alert(1)", "/\tevil", "/a\r\nset-cookie: x", "", "evil", "///evil.example",
    ],
)  # fmt: skip
def test_nobody_is_led_to_another_site(path: str):
    assert safe_path(path) == "/console"


def test_paths_of_ours_are_kept():
    assert safe_path("/models/a/b?x=1#y") == "/models/a/b?x=1#y"


@pytest.mark.sqlite
async def test_a_link_leads_nowhere_else_either(gateway: Process, browser: Browser):
    await browser.get("/sign-in", params={"next": "//evil.example/x"})
    await browser.submit("/sign-in", email="ada@example.org", next="//evil.example/x")
    await browser.get(await mailed_link(gateway, "ada@example.org"))
    browser.http.follow_redirects = False
    answer = await browser.submit("/sign-in/link", token=field(browser.page.text, "token"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")


@pytest.mark.sqlite
async def test_the_session_begins_with_the_sign_in(gateway: Process, browser: Browser):
    """Fixation: whatever cookie was there before, signing in makes a new session."""
    browser.http.cookies.set("session", "planted", domain="127.0.0.1")
    await sign_in_by_mail(browser, gateway, "ada@example.org", next_path="/models")
    first = [c.value for c in browser.http.cookies.jar if c.name == "session"]
    assert "planted" not in first[-1:]
    await browser.submit("/sign-out")
    await sign_in_by_mail(browser, gateway, "ada@example.org", next_path="/models")
    ids = await rows(gateway, select(sessions.c.id))
    assert len(set(ids)) == 2


@pytest.mark.sqlite
async def test_signing_out_ends_copies_of_the_cookie(
    gateway: Process, browser: Browser, app: Litestar
):
    await sign_in_by_mail(browser, gateway, "ada@example.org", next_path="/models")
    copy = Browser(app)
    copy.http.cookies.update(browser.http.cookies)
    assert "Sign out" in (await copy.get("/models")).text
    await browser.get("/models")
    await browser.submit("/sign-out")
    assert "Sign out" not in (await copy.get("/models")).text
    await copy.close()


async def age(gateway: Process, seconds: float) -> None:
    async with gateway.core.database.write() as connection:
        rotated = datetime.now(UTC) - timedelta(seconds=seconds)
        await connection.execute(update(sessions).values(rotated_at=rotated))


async def test_cookies_are_replaced_and_an_old_one_ends_the_session(
    gateway: Process, browser: Browser, app: Litestar
):
    await sign_in_by_mail(browser, gateway, "ada@example.org", next_path="/models")
    thief = Browser(app)
    thief.http.cookies.update(browser.http.cookies)
    old = browser.http.cookies["session"]
    await age(gateway, 3601)
    await browser.get("/models")
    assert browser.http.cookies["session"] != old
    await browser.get("/models")
    assert "Sign out" in (await thief.get("/models")).text  # a request that was under way
    await age(gateway, 61)
    assert "Sign out" not in (await thief.get("/models")).text
    assert "Sign out" not in (await browser.get("/models")).text
    await thief.close()


async def test_a_lost_answer_with_the_new_cookie_signs_nobody_out(
    gateway: Process, browser: Browser
):
    await sign_in_by_mail(browser, gateway, "ada@example.org", next_path="/models")
    for _ in range(2):  # and the next one may be lost too
        old = browser.http.cookies["session"]
        await age(gateway, 3601)
        await browser.get("/models")
        for cookie in browser.http.cookies.jar:
            if cookie.name == "session":
                cookie.value = old
        assert "Sign out" in (await browser.get("/models")).text
        assert browser.http.cookies["session"] == old  # a request that was under way gets none
    await age(gateway, 61)
    assert "Sign out" in (await browser.get("/models")).text
    assert browser.http.cookies["session"] != old
    await age(gateway, 61)
    assert "Sign out" in (await browser.get("/models")).text


@pytest.mark.sqlite
async def test_a_request_under_way_when_a_lost_cookie_was_made_up_for_ends_nothing(
    gateway: Process, browser: Browser, app: Litestar
):
    await sign_in_by_mail(browser, gateway, "ada@example.org", next_path="/models")
    other_tab = Browser(app)
    other_tab.http.cookies.update(browser.http.cookies)
    await age(gateway, 3601)
    lost = Browser(app)
    lost.http.cookies.update(browser.http.cookies)
    await lost.get("/models")  # its answer never came
    await age(gateway, 61)
    await browser.get("/models")
    await browser.get("/models")
    await other_tab.get("/models")  # sent with the cookie from before it all
    assert "Sign out" in (await browser.get("/models")).text
    await lost.close()
    await other_tab.close()


@pytest.mark.sqlite
async def test_of_two_who_both_go_on_from_a_lost_answer_one_stays(
    gateway: Process, browser: Browser, app: Litestar
):
    await sign_in_by_mail(browser, gateway, "ada@example.org", next_path="/models")
    thief = Browser(app)
    thief.http.cookies.update(browser.http.cookies)
    await age(gateway, 3601)
    await browser.get("/models")  # and she leaves for a while
    await age(gateway, 61)
    await thief.get("/models")
    assert "Sign out" in (await thief.get("/models")).text
    await age(gateway, 61)
    assert "Sign out" not in (await browser.get("/models")).text
    assert "Sign out" not in (await thief.get("/models")).text
    await thief.close()


@pytest.mark.sqlite
async def test_a_cookie_of_another_making_is_nobody(gateway: Process, browser: Browser):
    await sign_in_by_mail(browser, gateway, "ada@example.org", next_path="/models")
    head, body, signature = browser.http.cookies["session"].split(".")
    for forged in (
        f"{head}.{body}.",
        f"eyJhbGciOiJub25lIn0.{body}.",
        f"{head}.{body}.{signature[::-1]}",
    ):
        browser.http.cookies.clear()
        browser.http.cookies.set("session", forged)
        assert "Sign out" not in (await browser.get("/models")).text
    browser.http.cookies.clear()
    answer = await browser.get(
        "/models", headers={"authorization": f"Bearer {head}.{body}.{signature}"}
    )
    assert "Sign out" not in answer.text


@pytest.mark.parametrize("options", [{"public_url": "https://gateway.example"}])
@pytest.mark.sqlite
async def test_cookies_are_locked_down_over_https(app: Litestar):
    import httpx

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://gateway.example") as client:
        answer = await client.get("/sign-in")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "Secure" in cookie
    assert "SameSite=lax" in cookie
    assert "max-age" in answer.headers["strict-transport-security"]


@pytest.mark.sqlite
async def test_the_database_keeps_no_token(gateway: Process, browser: Browser):
    await browser.get("/sign-in")
    await browser.submit("/sign-in", email="ada@example.org")
    proof = (await mailed_link(gateway, "ada@example.org")).rpartition(".")[2]
    (row,) = await rows(gateway, text("SELECT * FROM mail_links"))
    assert proof not in str(row)


async def test_nobody_agrees_to_pages_that_are_not_there(browser: Browser):
    assert "By continuing" not in (await browser.get("/sign-in")).text


@pytest.mark.parametrize(
    "options", [{"terms": "https://example.com/t", "privacy": "https://example.com/p"}]
)
async def test_what_one_agrees_to_is_linked(browser: Browser):
    page = squeezed((await browser.get("/sign-in")).text)
    assert (
        'By continuing, you agree to the <a href="https://example.com/t">terms of service</a> '
        'and the <a href="https://example.com/p">privacy policy</a>.'
    ) in page
