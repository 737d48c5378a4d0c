"""Pages while the deployment's secret is rotated: what a process makes, all others take."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from gateway.app import build
from gateway.app.process import Process
from gateway.control_plane.accounts.codes import SignInCodes
from gateway.control_plane.accounts.github import GithubRefused
from gateway.control_plane.mail.unsubscribe import Unsubscriptions
from gateway.control_plane.web.oauth_state import Journey, OAuthState
from gateway.keyring import Keyring
from gateway.settings import Settings
from testing.browsing import Browser, field, mailed_link

OLD, NEW = "0123456789abcdef" * 4, "fedcba9876543210" * 4
ADDRESS = "ada@example.org"


@asynccontextmanager
async def started(url: str, *secrets: str) -> AsyncIterator[Process]:
    settings = Settings(secret="\n".join(secrets), database_url=url, dev_mail=True, role="control")
    process = build(settings)
    async with process.running():
        yield process


def go(browser: Browser, to: Process) -> None:
    """Let a load balancer send the browser to another process."""
    browser.http._transport = httpx.ASGITransport(to.app, client=(browser.address, 4242))


@pytest.mark.parametrize("begins", [0, 1])
async def test_a_person_goes_from_one_process_to_another(
    sqlite_database_url: list[str], begins: int
):
    (url,) = sqlite_database_url
    async with started(url, OLD):
        pass
    async with started(url, OLD, NEW) as behind, started(url, NEW, OLD) as ahead:
        first, second = (behind, ahead)[:: -1 if begins else 1]
        browser = Browser(first.app)
        await browser.get("/sign-in")
        go(browser, second)
        await browser.submit("/sign-in", email=ADDRESS, next="/console")
        assert browser.page.status_code == 200
        await browser.get(await mailed_link(second, ADDRESS))
        token = field(browser.page.text, "token")
        go(browser, first)
        await browser.submit("/sign-in/link", token=token)
        assert "Sign out" in browser.page.text
        for process in (second, first):
            go(browser, process)
            await browser.get("/console")
            assert "Sign out" in browser.page.text
        await browser.close()


async def test_a_process_without_the_secret_that_made_a_cookie_knows_nobody(
    sqlite_database_url: list[str],
):
    (url,) = sqlite_database_url
    async with started(url, OLD) as old, started(url, NEW, OLD) as ahead:
        browser = Browser(ahead.app)
        await browser.get("/sign-in")
        await browser.submit("/sign-in", email=ADDRESS, next="/console")
        await browser.get(await mailed_link(ahead, ADDRESS))
        await browser.submit("/sign-in/link", token=field(browser.page.text, "token"))
        assert "Sign out" in (await browser.get("/")).text
        go(browser, old)
        assert "Sign out" not in (await browser.get("/")).text
        await browser.close()


def test_links_to_unsubscribe_and_the_way_back_from_github():
    old, both, new = (Keyring(*all_) for all_ in ((OLD,), (NEW, OLD), (NEW,)))
    token = Unsubscriptions(secret=old, public_url="").token(ADDRESS)
    assert Unsubscriptions(secret=both, public_url="").read(token) == ADDRESS
    assert Unsubscriptions(secret=new, public_url="").read(token) is None
    state, cookie = OAuthState(secret=old, secure=False).begin(Journey("/models"))
    assert cookie.value
    assert OAuthState(secret=both, secure=False).end(cookie.value, state) == Journey("/models")
    with pytest.raises(GithubRefused):
        OAuthState(secret=new, secure=False).end(cookie.value, state)


def test_a_code_is_taken_by_processes_of_both_secrets():
    code = SignInCodes(Keyring(OLD, NEW)).written("a link")
    assert SignInCodes(Keyring(NEW, OLD))._is_of("a link", code)
    assert not SignInCodes(Keyring(NEW, OLD))._is_of("another link", code)
