"""Forms: none is taken from another site, from a mail, or from a page of somebody else."""

import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from gateway.app.process import Process
from gateway.control_plane.web import forms
from gateway.control_plane.web.csrf import ANYBODYS, EXEMPT
from testing import lazy_routes
from testing.browsing import Browser, sign_in
from testing.operators import sign_in_operator
from tests.control_plane.conftest import STELLA


def posted(route: HTTPRoute) -> HTTPRouteHandler:
    """Return what handles the forms of a route."""
    (found,) = [handler for handler in route.route_handlers if "POST" in handler.http_methods]
    return found


async def test_every_form_needs_its_token(gateway: Process, browser: Browser, app: Litestar):
    """All POST routes of the application, found by asking it: a new one is tested at once."""
    await sign_in_operator(browser, gateway, "ada@example.org")  # others find no back office
    checked, exempt = [], []
    lazy_routes.register(app)
    for route in app.routes:
        if not isinstance(route, HTTPRoute) or "POST" not in route.methods:
            continue
        if route.path.startswith("/v1/"):
            continue  # called with a key, never with a cookie
        if posted(route).opt.get(EXEMPT):
            exempt.append(route.path)
            continue
        path = "/".join("x" if "{" in part else part for part in route.path.split("/"))
        for token in ("", "0" * 64):
            answer = await browser.http.post(path, data={"csrf_token": token})
            assert answer.status_code == 403, path
            assert "expired" in answer.text
        assert (await browser.http.post(path, json={})).status_code == 403
        checked.append(path)
    assert "/sign-in" in checked
    assert exempt == ["/mail/unsubscribe/{token:str}"]


async def test_a_token_is_of_no_use_to_somebody_else(
    gateway: Process, browser: Browser, app: Litestar
):
    await browser.get("/sign-in")
    before = browser.token
    other = Browser(app)
    await other.get("/sign-in")
    assert (await other.submit("/sign-in", email="a@b.org", csrf=before)).status_code == 403
    await other.close()
    await sign_in(browser, gateway, "ada@example.org", next_path="/models")
    # the same browser, but a token from before the session: a planted cookie gains nothing
    assert (await browser.submit("/sign-out", csrf=before)).status_code == 403


async def test_what_anybody_may_send_lives_on_when_one_signs_in_elsewhere(
    gateway: Process, browser: Browser, app: Litestar
):
    await browser.get("/calculator")
    before = browser.token
    await sign_in(browser, gateway, "ada@example.org", next_path="/models")

    async def send(path: str, site: str, **fields: str) -> int:
        headers = {"sec-fetch-site": site}
        data = {"csrf_token": before, **fields}
        return (await browser.http.post(path, data=data, headers=headers)).status_code

    for site, status in (("same-origin", 200), ("same-site", 403), ("cross-site", 403)):
        assert await send("/calculator", site, model=STELLA, text="hi") == status
    assert await send("/vote", "same-origin", model=STELLA) == 403
    assert await send("/console/keys", "same-origin", name="k") == 403
    assert await send("/sign-out", "same-origin") == 200
    assert await send("/sign-out", "same-origin") == 200  # in a tab that is still open
    lazy_routes.register(app)
    own = sorted(
        route.path
        for route in app.routes
        if isinstance(route, HTTPRoute) and "POST" in route.methods
        if posted(route).opt.get(ANYBODYS)
    )
    assert own == [
        "/calculator", "/playground/{owner:str}/{name:str}", "/sign-in", "/sign-in/code",
        "/sign-out", "/theme",
    ]  # fmt: skip


async def test_the_answer_to_one_click_from_a_mail_has_forms_that_work(
    gateway: Process, browser: Browser
):
    await sign_in(browser, gateway, "ada@example.org", next_path="/models")
    url = gateway.services.unsubscriptions.url("ada@example.org")
    browser.page = await browser.http.post(url.removeprefix("http://127.0.0.1:8080"))
    assert (await browser.submit("/sign-out")).status_code == 200
    assert "Sign out" not in browser.page.text


async def test_a_form_in_another_encoding_is_refused(browser: Browser):
    await browser.get("/sign-in")
    files = {"csrf_token": (None, browser.token), "email": (None, b"\xff\xfe")}
    answer = await browser.http.post("/sign-in", files=files)
    assert answer.status_code == 400
    answer = await browser.http.post(
        "/sign-in",
        content=b"csrf_token=" + browser.token.encode() + b"&email=\xff",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 400


async def test_a_form_without_cookies_is_refused(browser: Browser):
    await browser.get("/sign-in")
    token = browser.token
    browser.http.cookies.clear()
    assert (await browser.submit("/sign-in", email="a@b.org", csrf=token)).status_code == 403


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("1000", 1000), ("1,000", 1000), (" 1 000 000 ", 1_000_000), ("1\u00a0000", 1000),
        ("1\u202f000", 1000), ("0", 0), ("007", 7), ("1,5", None), ("1 5", None), ("1,0000", None),
        ("1000,000", None), (",100", None), ("1,,000", None), ("1.5", None), ("\u0663", None),
        ("10,000,001", None), ("-1", None), ("9" * 5_000, None),
    ],
)  # fmt: skip
def test_whole_numbers_are_parted_in_thousands_or_not_at_all(typed: str, read: int | None):
    assert forms.whole(typed, 10_000_000) == read
