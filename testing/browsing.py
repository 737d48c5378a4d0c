"""A browser without a screen: follows redirects, keeps cookies, fills in forms."""

import html
import re
from typing import Any

import httpx

from gateway.control_plane.accounts import addresses
from gateway.control_plane.accounts.sessions import Device
from gateway.control_plane.pages.sign_in.entering import Entering
from gateway.control_plane.web.devices import browser_of

_TOKEN = re.compile(r'name="csrf_token" value="([0-9a-f]{64})"')


class Browser:
    """Visits pages of an application in this process."""

    def __init__(self, app: Any, *, address: str = "203.0.113.7") -> None:
        self.address = address
        transport = httpx.ASGITransport(app, client=(address, 4242))
        self.http = httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8080", follow_redirects=True
        )
        self.page = httpx.Response(204)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """Open a page."""
        self.page = await self.http.get(path, **options)
        return self.page

    async def submit(self, path: str, *, csrf: str | None = None, **fields: str) -> httpx.Response:
        """Send a form of the page that is open."""
        fields["csrf_token"] = self.token if csrf is None else csrf
        self.page = await self.http.post(path, data=fields)
        return self.page

    @property
    def token(self) -> str:
        """The form token of the page that is open."""
        found = _TOKEN.search(self.page.text)
        assert found, f"no form on {self.page.url}"
        return found[1]

    async def close(self) -> None:
        """Close it."""
        await self.http.aclose()


async def sign_in(
    browser: Browser, gateway: Any, email: str, *, next_path: str = "/console"
) -> None:
    """Sign in, and open a page, as `sign_in_by_mail` does in six requests."""
    services = gateway.services
    entering = Entering(services.welcome, services.sessions, services.security_mails)
    device = Device(browser_of(browser.http.headers["user-agent"]), browser.address)
    async with gateway.core.database.write() as connection:
        session = await entering.enter(connection, addresses.parse(email), device)
    browser.http.cookies.set(gateway.web.cookie.name, session, domain="127.0.0.1")
    await browser.get(next_path)
    assert browser.page.status_code == 200, browser.page.text


async def sign_in_by_mail(
    browser: Browser, gateway: Any, email: str, *, next_path: str = ""
) -> None:
    """Sign in the way people do: ask, read the mail, open the link, press the button."""
    await browser.get("/sign-in", params={"next": next_path})
    asked = await browser.submit("/sign-in", email=email, next=next_path)
    assert asked.status_code == 200, asked.text
    await browser.get(await mailed_link(gateway, email))
    await browser.submit("/sign-in/link", token=field(browser.page.text, "token"))
    assert browser.page.status_code == 200, browser.page.text


async def accept_invitation(browser: Browser, gateway: Any, email: str) -> None:
    """Sign in as the invited address, open the invitation in its newest mail, and join."""
    await sign_in(browser, gateway, email, next_path=await mailed_link(gateway, email))
    await browser.submit("/sign-in/invitation", token=field(browser.page.text, "token"))


async def mailed_link(gateway: Any, email: str) -> str:
    """Return the link of the newest mail to an address."""
    mails = [m for m in await gateway.services.outbox.listed() if m.recipient == email.lower()]
    found = re.search(r"http://127\.0\.0\.1:8080(\S+)", mails[0].text)
    assert found
    return found[1]


def field(page: str, name: str) -> str:
    """Return the value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, f"no field {name}"
    return html.unescape(found[1])


def squeezed(html: str) -> str:
    """Return a page with each run of white space as one space, as a browser shows it."""
    return " ".join(html.split())
