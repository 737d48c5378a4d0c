"""Forms: none is taken from another site, from a mail, or from a page of somebody else."""

from litestar import Litestar
from litestar.routes import HTTPRoute

from gateway.app import Gateway
from gateway.control_plane.site.csrf import EXEMPT
from tests.support.browsing import Browser, sign_in


async def test_every_form_needs_its_token(gateway: Gateway, browser: Browser, app: Litestar):
    """All POST routes of the application, found by asking it: a new one is tested at once."""
    await sign_in(browser, gateway, "ada@example.org", next_path="/models")
    checked, exempt = [], []
    for route in app.routes:
        if not isinstance(route, HTTPRoute) or "POST" not in route.methods:
            continue
        if route.path.startswith("/v1/"):
            continue  # called with a key, never with a cookie
        handler, _ = route.route_handler_map["POST"]
        if handler.opt.get(EXEMPT):
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
    gateway: Gateway, browser: Browser, app: Litestar
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


async def test_a_form_without_cookies_is_refused(browser: Browser):
    await browser.get("/sign-in")
    token = browser.token
    browser.http.cookies.clear()
    assert (await browser.submit("/sign-in", email="a@b.org", csrf=token)).status_code == 403
