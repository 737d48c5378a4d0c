"""Forms that are refused: what was typed is kept through expiry and our own mistakes."""

import re
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from sqlalchemy import select

from gateway.app.process import Process
from gateway.control_plane.demand import votes
from gateway.control_plane.web import error_pages, forms
from gateway.storage.tables import demand_votes
from testing.browsing import Browser, field, sign_in
from tests.control_plane.conftest import STELLA, rows
from tests.control_plane.pages.conftest import PATH, SETTINGS, Fields

FROM_OUR_PAGE = {"sec-fetch-site": "same-origin"}


async def test_a_form_sent_twice_sends_one_mail(
    gateway: Process, browser: Browser, monkeypatch: pytest.MonkeyPatch
):
    now = [1_000_000.0]
    monkeypatch.setattr(forms, "wall", SimpleNamespace(unix_time=lambda: now[0]))

    async def mails() -> int:
        return len(await gateway.services.outbox.listed())

    async def twice(page: str, path: str, email: str, **more: str) -> None:
        form = more | {"id": field((await browser.get(page)).text, "id")}
        for to, seconds, expected in (
            (email, 0, 1), (email, 0, 1), (f"other-{email}", 0, 2), (email, 60, 3),
        ):  # fmt: skip
            now[0] += seconds
            await browser.get(page)
            assert (await browser.submit(path, email=to, **form)).status_code == 200
            assert await mails() == before + expected

    before = await mails()
    await twice("/sign-in", "/sign-in", "ada@example.org")
    before = await mails()
    await twice(PATH, "/waitlist", "bob@example.org", model=STELLA)
    await sign_in(browser, gateway, "eve@example.org")
    before = await mails()
    await twice(SETTINGS, f"{SETTINGS}/invite", "guest@example.org")


async def test_an_expired_form_keeps_what_was_typed(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    form = {"csrf_token": browser.token, "model": STELLA, "use_case": "<b>mine</b>", "volume": ""}
    browser.http.cookies.delete("session")  # it ended

    async def send() -> httpx.Response:
        browser.page = await browser.http.post("/vote", data=form, headers=FROM_OUR_PAGE)
        return browser.page

    page = await send()
    assert page.status_code == 403
    assert "expired" in page.text
    assert "sign in in another tab" in page.text
    assert Fields(page).values["use_case"].strip() == "<b>mine</b>"
    assert field(page.text, "model") == STELLA
    assert page.text.partition("<footer")[0].count('name="csrf_token"') == 1
    form["csrf_token"] = browser.token
    page = await send()  # it needs somebody, and leads nobody away from what they typed
    assert page.status_code == 401
    assert Fields(page).values["use_case"].strip() == "<b>mine</b>"
    form["csrf_token"] = browser.token

    await sign_in(browser, gateway, "ada@example.org")  # in another tab
    page = await send()
    assert page.status_code == 403
    assert "sent as <strong>ada@example.org</strong>" in page.text
    form["csrf_token"] = browser.token
    assert (await send()).url.path == PATH
    (vote,) = await rows(gateway, select(demand_votes))
    assert vote.use_case == "<b>mine</b>"


async def test_a_lost_cookie_keeps_what_was_typed(browser: Browser):
    await browser.get(PATH)
    form = {"csrf_token": browser.token, "model": STELLA, "email": "ada@example.org"}
    browser.http.cookies.clear()
    for expected in (403, 200):
        browser.page = await browser.http.post("/waitlist", data=form, headers=FROM_OUR_PAGE)
        assert browser.page.status_code == expected
        if expected == 403:
            form["csrf_token"] = browser.token
    assert "One more step" in browser.page.text


@pytest.mark.parametrize("header", [{}, {"sec-fetch-site": "cross-site"}])
async def test_what_another_site_sends_is_not_shown(browser: Browser, header: dict[str, str]):
    await browser.get(PATH)
    form = {"csrf_token": "0" * 64, "model": STELLA, "email": "call 555 now"}
    page = await browser.http.post("/waitlist", data=form, headers=header)
    assert page.status_code == 403
    assert "call 555" not in page.text
    assert "Go back, load the page again" in page.text


async def test_our_own_mistake_keeps_what_was_typed(
    gateway: Process, browser: Browser, monkeypatch: pytest.MonkeyPatch
):
    async def broken(*_: object) -> None:
        raise OSError("gone")

    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    with monkeypatch.context() as patch:
        patch.setattr(votes, "cast", broken)
        page = await browser.submit("/vote", model=STELLA, use_case="mine")
    assert page.status_code == 500
    assert Fields(page).values["use_case"].strip() == "mine"
    for form in (
        {"model": "no/such", "use_case": "mine", "csrf_token": browser.token},
        {"model": STELLA, "use_case": "", "csrf_token": "x"},
    ):  # what would be refused again, and where nothing was typed
        page = await browser.http.post("/vote", data=form, headers=FROM_OUR_PAGE)
        assert page.status_code in (403, 404)
        assert "still here" not in page.text


def test_whatever_is_typed_can_be_kept(pages_folder: Path):
    """A model's name is sent along; and the word that deletes an account is not sent once more."""
    typed = set()
    for template in pages_folder.rglob("templates/**/*.html"):
        for form in re.findall(
            r'<form[^>]*method="post".*?</form>', template.read_text(), re.DOTALL
        ):
            typed |= set(re.findall(r'<input[^>]*?name="(\w+)"[^>]*?type="(?:text|email)"', form))
            typed |= set(re.findall(r'<textarea[^>]*?name="(\w+)"', form))
    assert {"email", "use_case", "text"} < typed
    assert typed - set(error_pages._TYPED) == {"confirm", "model"}


def test_fields_say_what_goes_into_them(pages_folder: Path):
    """So that browsers offer the right thing, and cut nothing that would be read.

    Numbers are bounded by what they are, and a text that is too long is refused, never cut.
    """
    unbounded = set()
    for template in pages_folder.rglob("templates/**/*.html"):
        for tag in re.findall(r"<(?:input|textarea)(?:{{.*?}}|[^>])*>", template.read_text()):
            name = re.search(r' name="(\w+)"', tag)
            if not name or re.search(r'type="(hidden|radio|checkbox|search|date)"', tag):
                continue
            if "maxlength=" not in tag:
                unbounded.add(name[1])
            assert tag.startswith("<textarea") or "autocomplete=" in tag, (template.name, tag)
    assert unbounded == {
        "volume", "texts_month", "text", "sentences", "query", "passages", "model",
    }  # fmt: skip


async def test_a_page_of_an_error_of_the_api_leads_to_its_words(browser: Browser):
    page = await browser.get("/sign-out")  # which is for forms
    assert page.status_code == 405
    assert '<a href="/docs/errors#method_not_allowed">About this error</a>' in page.text
    assert 'id="method_not_allowed"' in (await browser.get("/docs/errors")).text
    for path in ("/no-such-page", "/models/no/such-model"):
        page = await browser.get(path)
        assert (page.status_code, "About this error" in page.text) == (404, False)
