"""Signing in by GitHub: who it lets in, who gets credit, and what an attacker does not get."""

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import select

from gateway.app.process import Process
from gateway.control_plane.pages.sign_in.github import make_github
from gateway.settings import Settings, SettingsError
from gateway.storage.tables import credit_lots, identities, sessions, trail_entries, users
from testing.browsing import Browser, sign_in_by_mail
from testing.github import Github, person
from tests.control_plane.conftest import rows

CALLBACK = "/sign-in/github/callback"


@pytest.fixture
def github() -> Iterator[Github]:
    with Github(f"http://127.0.0.1:8080{CALLBACK}") as server:
        yield server


@pytest.fixture
def options(github: Github) -> dict[str, Any]:
    return dict(github.settings)


async def leave(browser: Browser, path: str = "/sign-in/github") -> str:
    """Go to GitHub and say yes there; return where it sends back, not gone there yet."""
    browser.http.follow_redirects = False
    out = await browser.get(path)
    browser.http.follow_redirects = True
    assert out.status_code == 303, out.text
    async with httpx.AsyncClient() as client:
        back = await client.get(out.headers["location"])
    assert back.status_code == 302, back.text
    return back.headers["location"].removeprefix("http://127.0.0.1:8080")


async def by_github(browser: Browser, path: str = "/sign-in/github") -> httpx.Response:
    return await browser.get(await leave(browser, path))


async def done(gateway: Process) -> list[str]:
    """What the audit trail has of it."""
    query = select(trail_entries.c.action).order_by(trail_entries.c.number)
    return [row.action for row in await rows(gateway, query)]


async def test_github_signs_in_with_credit_once(gateway: Process, browser: Browser):
    await browser.get("/sign-in", params={"next": "/models"})
    assert 'href="/sign-in/github?next=/models"' in browser.page.text
    page = await by_github(browser, "/sign-in/github?next=/models")
    assert page.url.path == "/models"
    assert "Sign out" in page.text
    assert "github" not in {cookie.name for cookie in browser.http.cookies.jar}
    (user,) = await rows(gateway, select(users))
    assert (user.email, user.welcome) == ("ada@example.org", "granted")
    await browser.submit("/sign-out")
    await by_github(browser)
    assert len(await rows(gateway, select(credit_lots))) == 1
    assert len(await rows(gateway, select(users))) == 1


async def test_the_mailed_link_and_github_are_one_account(
    gateway: Process, browser: Browser, app: Litestar
):
    await sign_in_by_mail(browser, gateway, "ada@example.org")
    other = Browser(app)
    assert (await by_github(other)).url.path == "/console"
    await other.close()
    (user,) = await rows(gateway, select(users))
    (identity,) = await rows(gateway, select(identities))
    assert identity.user_id == user.id
    assert len(await rows(gateway, select(credit_lots))) == 1
    assert await done(gateway) == ["sign_in_method.added"]
    newest = (await gateway.services.outbox.listed())[0]
    assert (newest.kind, newest.recipient) == ("security", "ada@example.org")
    assert "GitHub was added to your account from 203.0.113.7" in newest.text


async def test_the_account_stays_when_the_address_at_github_changes(
    gateway: Process, browser: Browser, github: Github, app: Litestar
):
    await by_github(browser)
    github.person = person(1, "ada@elsewhere.example")
    other = Browser(app)
    await by_github(other)
    await other.close()
    (user,) = await rows(gateway, select(users))
    assert user.email == "ada@example.org"


async def test_who_comes_back_under_another_address_has_had_the_credit(
    gateway: Process, browser: Browser, github: Github
):
    await by_github(browser)
    await browser.get("/console/settings")
    await browser.submit("/console/settings/delete", confirm="ada@example.org")
    (identity,) = await rows(gateway, select(identities))
    assert identity.user_id is None
    github.person = person(1, "countess@example.net")
    await by_github(browser)
    assert "Sign out" in browser.page.text
    welcomes = [row.welcome for row in await rows(gateway, select(users).order_by(users.c.id))]
    assert welcomes == ["granted", "granted_before"]
    assert len(await rows(gateway, select(credit_lots))) == 1


async def test_another_person_is_another_account(
    gateway: Process, browser: Browser, github: Github, app: Litestar
):
    await by_github(browser)
    github.person = person(2, "bob@example.org")
    other = Browser(app)
    await by_github(other)
    await other.close()
    assert {row.email for row in await rows(gateway, select(users))} == {
        "ada@example.org", "bob@example.org",
    }  # fmt: skip


@pytest.mark.parametrize("fault", ["denied", "unverified", "no address", "no mail of ours"])
async def test_without_a_verified_address_nobody_is_signed_in(
    gateway: Process, browser: Browser, github: Github, fault: str
):
    match fault:
        case "denied":
            github.denied = True
        case "unverified":
            github.person = person(1, "ada@example.org", verified=False)
        case "no address":
            github.person = person(1, "ada@example.org")
            github.person.emails.clear()
        case _:
            github.person = person(1, "ada@no-dot")
    page = await by_github(browser)
    assert page.status_code == 400
    assert "Sign in another way" in page.text
    assert await rows(gateway, select(users)) == []
    assert await rows(gateway, select(sessions)) == []


@pytest.mark.parametrize("path", ["/login/oauth/access_token", "/user", "/user/emails"])
@pytest.mark.parametrize(
    "answer",
    [
        (500, b"{}"), (401, b'{"message": "Bad credentials"}'), (200, b"<html>"), (200, b"{}"),
        (200, b'[{"email": 1}]'), (302, b""),
    ],
    ids=["500", "401", "no json", "nothing", "other json", "elsewhere"],
)  # fmt: skip
async def test_what_github_should_not_answer_signs_nobody_in(
    gateway: Process, browser: Browser, github: Github, path: str, answer: tuple[int, bytes]
):
    github.instead[path] = answer
    page = await by_github(browser)
    assert page.status_code in {400, 503}
    assert "GitHub did not sign you in" in page.text
    assert await rows(gateway, select(users)) == []
    github.instead.clear()
    await by_github(browser)  # the next time goes well
    assert "Sign out" in browser.page.text


async def test_an_answer_without_end_is_not_read(
    gateway: Process, browser: Browser, github: Github
):
    github.instead["/user"] = (200, b'{"id": 1}' + b" " * 1_000_000)
    assert (await by_github(browser)).status_code == 503
    assert await rows(gateway, select(users)) == []


async def test_github_that_is_away_is_said(gateway: Process, browser: Browser):
    back = await leave(browser)
    gateway.services.github._url = "http://127.0.0.1:9"
    page = await browser.get(back)
    assert page.status_code == 503
    assert 10 <= int(page.headers["retry-after"]) <= 15
    assert "mailed link" in page.text


async def test_an_answer_counts_once(gateway: Process, browser: Browser):
    back = await leave(browser)
    cookies = httpx.Cookies(browser.http.cookies)
    await browser.get(back)
    await browser.submit("/sign-out")
    assert (await browser.get(back)).status_code == 400  # the cookie is gone
    browser.http.cookies = cookies
    assert (await browser.get(back)).status_code == 400  # GitHub knows the code no more
    assert len(await rows(gateway, select(sessions))) == 1


async def test_two_at_once_sign_in_once(gateway: Process, browser: Browser):
    back = await leave(browser)
    browser.http.follow_redirects = False
    answers = await asyncio.gather(*(browser.http.get(back) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [303, 400, 400, 400]
    assert len(await rows(gateway, select(sessions))) == 1


async def test_nobody_is_signed_in_by_the_link_of_another(
    gateway: Process, browser: Browser, github: Github, app: Litestar
):
    """Login CSRF: the attacker's own answer of GitHub, opened by somebody else."""
    attackers = await leave(browser)
    victim = Browser(app)
    assert (await victim.get(attackers)).status_code == 400  # nothing begun in this browser
    await leave(victim)
    assert (await victim.get(attackers)).status_code == 400  # something else begun in it
    await victim.close()
    assert github.exchanges == 0  # the code was not even tried
    assert await rows(gateway, select(sessions)) == []


async def test_a_code_caught_on_its_way_is_of_no_use(
    gateway: Process, browser: Browser, app: Litestar
):
    """The thief's own state and cookie do not go with the proof that belongs to the code."""
    caught = parse_qs(urlsplit(await leave(browser)).query)["code"][0]
    thief = Browser(app)
    own = parse_qs(urlsplit(await leave(thief)).query)
    page = await thief.get(CALLBACK, params={"code": caught, "state": own["state"][0]})
    await thief.close()
    assert page.status_code == 400
    assert await rows(gateway, select(users)) == []


@pytest.mark.parametrize("query", ["", "?code=x", "?state=x", "?code=%00&state=%F0%9F", "?error=y"])
async def test_nonsense_is_refused(browser: Browser, query: str):
    assert (await browser.get(CALLBACK + query)).status_code == 400
    browser.http.cookies.set("github", "no.to.ken")
    assert (await browser.get(CALLBACK + query)).status_code == 400


async def test_github_leads_nowhere_else(browser: Browser):
    page = await by_github(browser, "/sign-in/github?next=https://evil.example/")
    assert str(page.url) == "http://127.0.0.1:8080/console"
    browser.http.cookies.clear()
    long = await by_github(browser, "/sign-in/github?next=/models?q=" + "x" * 5_000)
    assert long.url.path == "/console"


async def test_somebody_signed_in_connects_github_and_disconnects_it(
    gateway: Process, browser: Browser, app: Litestar
):
    await sign_in_by_mail(browser, gateway, "work@example.org")
    await browser.get("/console/settings")
    assert "Connect GitHub" in browser.page.text
    await by_github(browser, "/sign-in/github?next=/console/settings")
    assert "sign in with GitHub" in browser.page.text
    other = Browser(app)
    assert (
        "work@example.org"
        in (await by_github(other, "/sign-in/github?next=/console/settings")).text
    )
    held = (await browser.get("/console/settings/export")).json()
    assert [item["provider"] for item in held["identities"]] == ["github"]
    await browser.get("/console/settings")
    await browser.submit("/console/settings/github/disconnect")
    assert "Connect GitHub" in browser.page.text
    assert await done(gateway) == ["sign_in_method.added", "sign_in_method.removed"]
    mails = [mail.kind for mail in await gateway.services.outbox.listed()]
    assert mails.count("security") == 1
    await other.http.aclose()
    stranger = Browser(app)
    await by_github(stranger)
    await stranger.close()
    accounts = {row.email: row.welcome for row in await rows(gateway, select(users))}
    assert accounts == {"work@example.org": "granted", "ada@example.org": "granted_before"}


async def test_an_identity_is_not_taken_from_another_account(
    gateway: Process, browser: Browser, app: Litestar
):
    await by_github(browser)
    other = Browser(app)
    await sign_in_by_mail(other, gateway, "work@example.org")
    page = await by_github(other)
    await other.close()
    assert page.status_code == 400
    assert "is connected to another account" in page.text
    (identity,) = await rows(gateway, select(identities))
    (ada,) = await rows(gateway, select(users.c.id).where(users.c.email == "ada@example.org"))
    assert identity.user_id == ada.id


async def test_what_was_begun_signed_in_does_not_sign_in(gateway: Process, browser: Browser):
    await sign_in_by_mail(browser, gateway, "work@example.org")
    back = await leave(browser)
    await browser.get("/models")
    await browser.submit("/sign-out")
    page = await browser.get(back)
    assert page.status_code == 400
    assert await rows(gateway, select(identities)) == []


def test_half_a_configuration_is_said():
    for half in ({"github_client_id": "x"}, {"github_client_secret": "x"}):
        with pytest.raises(SettingsError, match="go together"):
            make_github(Settings(secret="s" * 32, **half))


@pytest.mark.parametrize("options", [{}])
async def test_unconfigured_github_is_nowhere(gateway: Process, browser: Browser):
    assert "GitHub" not in (await browser.get("/sign-in")).text
    await sign_in_by_mail(browser, gateway, "ada@example.org")
    assert "GitHub" not in (await browser.get("/console/settings")).text
    for path in ("/sign-in/github", CALLBACK):
        assert (await browser.get(path)).status_code == 404
