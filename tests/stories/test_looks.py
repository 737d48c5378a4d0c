"""Every page, in light, dark and on a phone: nothing serious for axe, nothing too wide.

Screenshots are kept under build/screenshots, for people to look at.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from litestar.routes import HTTPRoute
from playwright.sync_api import Browser, Page, expect

from gateway.app import create_app
from gateway.control_plane.mail.unsubscribe import Unsubscriptions
from gateway.control_plane.pages.docs.docs import PAGES as DOCS
from gateway.settings import Settings, derive
from testing.mailbox import Mailbox
from tests.stories.conftest import MINILM, SECRET, STELLA, Service, link_in, sign_in

UNSUBSCRIBE = Unsubscriptions(secret=derive(SECRET, "unsubscribe"), public_url="")
PUBLIC = {
    "home": "/",
    "models": "/models",
    "models-refused": "/models?price=cheap",
    "models-none": "/models?q=nothing+of+that+name",
    "model-coming-soon": f"/models/{STELLA}",
    "model-live": f"/models/{MINILM}",
    "compare": "/compare",
    "compare-two": f"/compare?model={STELLA}&model={MINILM}",
    "calculator": "/calculator",
    "playground": f"/playground/{MINILM}",
    "docs": "/docs",
    **{f"docs-{slug}": f"/docs/{slug}" for slug in DOCS},
    "status": "/status",
    "sign-in": "/sign-in",
    "sign-in-used-up": "/sign-in/link?token=x",
    "github-refused": "/sign-in/github/callback",
    "waitlist-used-up": "/waitlist/confirm?token=x",
    "unsubscribe": UNSUBSCRIBE.url("looks@example.org"),
    "not-found": "/nothing-here",
}
PRIVATE = {
    "overview": "/console",
    "usage": "/console/usage",
    "keys": "/console/keys",
    "billing": "/console/billing",
    "payments": "/console/billing/payments",
    "ledger": "/console/ledger",
    "alerts": "/console/alerts",
    "webhooks": "/console/webhooks",
    "votes": "/console/votes",
    "settings": "/console/settings",
    "model-signed-in": f"/models/{STELLA}",
}
NO_PAGES = {
    "programs read it": [
        "/health/live", "/health/ready", "/metrics", "/openapi.json", "/robots.txt", "/sitemap.xml",
        "/v1/credits", "/v1/models", "/v1/models/{model_id:path}", "/v1/receipts/key", "/v1/usage",
    ],
    "a file": [
        "/console/settings/export", "/console/usage.csv", "/favicon.ico", "/static/{name:str}",
    ],
    "leads to GitHub": ["/sign-in/github"],
}  # fmt: skip
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"

Look = Literal["light", "dark", "phone"]


@dataclass
class Scene:
    """Two browsers in one look, of a stranger and of an owner, and what they need."""

    look: Look
    stranger: Page
    owner: Page
    mailbox: Mailbox
    dev_url: str

    def address(self, name: str) -> str:
        """Return an address of this look alone: each mailbox gets only so many links."""
        return f"{name}-{self.look}@example.org"

    def asks_for_a_link(self, name: str, url: str = "") -> Page:
        self.stranger.goto(f"{url}/sign-in")
        self.stranger.get_by_label("Email", exact=True).fill(self.address(name))
        self.stranger.get_by_role("button", name="Mail me a link").click()
        return self.stranger

    def follows_the_link(self, name: str, subject: str) -> Page:
        self.stranger.goto(link_in(self.mailbox, self.address(name), subject))
        return self.stranger

    # pages that more than an address leads to

    def sign_in_refused(self) -> Page:
        self.stranger.goto("/sign-in")
        self.stranger.get_by_label("Email", exact=True).fill("ada@localhost")
        self.stranger.get_by_role("button", name="Mail me a link").click()
        return self.stranger

    def sign_in_sent(self) -> Page:
        return self.asks_for_a_link("ada")

    def sign_in_link(self) -> Page:
        return self.follows_the_link("ada", "Sign in")

    def waitlist_sent(self) -> Page:
        self.stranger.goto(f"/models/{STELLA}")
        self.stranger.get_by_label("Or get one mail").fill(self.address("bob"))
        self.stranger.get_by_role("button", name="Notify me").click()
        return self.stranger

    def waitlist_confirm(self) -> Page:
        return self.follows_the_link("bob", "Confirm")

    def waitlist_done(self) -> Page:
        self.stranger.get_by_role("button", name="Join the waitlist").click()
        return self.stranger

    def invited(self) -> Page:
        self.owner.goto("/console/settings")
        self.owner.get_by_label("Invite by mail").fill(self.address("carol"))
        self.owner.get_by_role("button", name="Invite").click()
        return self.owner

    def invitation(self) -> Page:
        return self.follows_the_link("carol", "An invitation")

    def unsubscribed(self) -> Page:
        self.stranger.goto(UNSUBSCRIBE.url(self.address("ada")))
        self.stranger.get_by_role("button", name="Unsubscribe").click()
        return self.stranger

    def key_made(self) -> Page:
        self.owner.goto("/console/keys")
        self.owner.get_by_label("Name").fill(self.look)
        self.owner.get_by_label("Budget").first.fill("5")
        self.owner.get_by_role("button", name="Create").click()
        return self.owner

    def key(self) -> Page:
        self.owner.goto("/console/keys")
        row = self.owner.get_by_role("row").filter(has_text=self.look)
        row.get_by_role("link", name="Change").click()
        return self.owner

    def buying_refused(self) -> Page:
        self.owner.goto("/console/billing")
        self.owner.get_by_role("radio", name="Other").check()
        self.owner.get_by_role("textbox", name="Other amount").fill("1")
        self.owner.get_by_role("button", name="Continue to payment").click()
        return self.owner

    def payment_left(self) -> Page:
        self.owner.goto("/console/billing")
        self.owner.get_by_label("Save this card").check()
        self.owner.get_by_role("button", name="Continue to payment").click()
        self.owner.get_by_role("button", name="Cancel").click()
        return self.owner

    def payment_credited(self) -> Page:
        self.owner.get_by_role("link", name="Go to the payment page").click()
        self.owner.get_by_role("button", name="Pay with a good card").click()
        self.owner.get_by_text("Credited", exact=True).wait_for()
        return self.owner

    def auto_top_up_refused(self) -> Page:
        self.owner.goto("/console/billing")
        self.owner.get_by_label("Monthly limit").fill("1")
        self.owner.locator("#auto-top-up").get_by_role("button", name="Save").click()
        return self.owner

    def webhook_secret(self) -> Page:
        self.owner.goto("/console/webhooks")
        self.owner.get_by_label("Address").fill("http://127.0.0.1:1/a-hook-that-nobody-answers")
        self.owner.get_by_role("button", name="Add").click()
        return self.owner

    def webhook(self) -> Page:
        self.owner.get_by_role("link", name="I have saved it").click()
        self.owner.get_by_role("button", name="Send a test event").click()
        self.owner.get_by_text("A test event is on its way").wait_for()
        self.owner.get_by_text("Message", exact=False).first.click()
        return self.owner

    def webhook_refused(self) -> Page:
        self.owner.goto("/console/webhooks")
        self.owner.get_by_label("Address").fill("http://10.0.0.1/")
        self.owner.get_by_role("button", name="Add").click()
        return self.owner

    def calculated(self) -> Page:
        self.stranger.goto("/calculator")
        self.stranger.get_by_label("A typical text").fill("A cat sleeps on the sofa.")
        self.stranger.get_by_role("button", name="Calculate").click()
        expect(self.stranger.locator(".result .value").first).to_be_visible()
        return self.stranger

    def experimented(self) -> Page:
        self.stranger.goto(f"/playground/{MINILM}")
        self.stranger.get_by_role("button", name="Embed and compare").click()
        self.stranger.get_by_role("table").wait_for()
        return self.stranger

    def mail_sent(self) -> Page:
        self.asks_for_a_link("dave", self.dev_url)
        self.stranger.goto(f"{self.dev_url}/dev/mail")
        return self.stranger


OPENED: dict[str, tuple[str, Callable[[Scene], Page]]] = {
    "sign-in-refused": ("/sign-in", Scene.sign_in_refused),
    "sign-in-sent": ("/sign-in", Scene.sign_in_sent),
    "sign-in-link": ("/sign-in/link", Scene.sign_in_link),
    "waitlist-sent": ("/waitlist", Scene.waitlist_sent),
    "waitlist-confirm": ("/waitlist/confirm", Scene.waitlist_confirm),
    "waitlist-done": ("/waitlist/confirm", Scene.waitlist_done),
    "invited": ("/console/settings/invite", Scene.invited),
    "invitation": ("/sign-in/link", Scene.invitation),
    "unsubscribed": ("/mail/unsubscribe/{token:str}", Scene.unsubscribed),
    "key-made": ("/console/keys", Scene.key_made),
    "key": ("/console/keys/{key_id:str}", Scene.key),
    "billing-refused": ("/console/billing/buy", Scene.buying_refused),
    "payment-left": ("/console/billing/payments/{payment_id:str}", Scene.payment_left),
    "payment-credited": ("/console/billing/payments/{payment_id:str}", Scene.payment_credited),
    "auto-top-up-refused": ("/console/billing/auto-top-up", Scene.auto_top_up_refused),
    "webhook-secret": ("/console/webhooks", Scene.webhook_secret),
    "webhook": ("/console/webhooks/{endpoint_id:str}", Scene.webhook),
    "webhook-refused": ("/console/webhooks", Scene.webhook_refused),
    "calculator-result": ("/calculator", Scene.calculated),
    "playground-result": ("/playground/{owner:str}/{name:str}", Scene.experimented),
    "dev-mail": ("/dev/mail", Scene.mail_sent),
}
"""In this order, by the path that each ends at: some begin where the one before them ended."""


@pytest.fixture(scope="module")
def session(chromium: Browser, service: Service, mailbox: Mailbox) -> Any:
    """The cookies of somebody who has a key, so that the console has something to show."""
    context = chromium.new_context(base_url=service.url)
    page = context.new_page()
    page.goto("/console")
    sign_in(page, mailbox, "looks@example.org")
    page.get_by_role("button", name="Create my first key").click()
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture(params=["light", "dark", "phone"])
def scene(
    chromium: Browser, service: Service, session: Any, mailbox: Mailbox, dev_url: str,
    request: pytest.FixtureRequest,
) -> Iterator[Scene]:  # fmt: skip
    options: dict[str, Any] = {
        "base_url": service.url,
        "color_scheme": "dark" if request.param == "dark" else "light",
        "viewport": {"width": 390, "height": 844}
        if request.param == "phone"
        else {"width": 1280, "height": 900},
    }
    strangers = chromium.new_context(**options)
    owners = chromium.new_context(**options, storage_state=session)
    yield Scene(request.param, strangers.new_page(), owners.new_page(), mailbox, dev_url)
    strangers.close()
    owners.close()


@pytest.mark.long
@pytest.mark.timeout(400)  # every page of the product, one after the other
def test_pages_are_accessible_and_fit(scene: Scene):
    found: list[str] = []
    for paths, page in ((PUBLIC, scene.stranger), (PRIVATE, scene.owner)):
        for slug, path in paths.items():
            page.goto(path)
            found += looked_at(page, slug, scene.look)
    assert found == []


@pytest.mark.long
def test_pages_that_forms_and_mails_lead_to_are_accessible_and_fit(scene: Scene):
    found: list[str] = []
    for slug, (path, opened) in OPENED.items():
        page = opened(scene)
        page.wait_for_load_state()
        assert re.fullmatch(pattern(path), urlsplit(page.url).path), slug
        found += looked_at(page, slug, scene.look)
    assert found == []


def test_every_page_is_looked_at(tmp_path: Path):
    """A page that is new is added above, or to NO_PAGES with its reason."""
    app = create_app(Settings(secret=SECRET, database_url=f"sqlite:///{tmp_path}/gateway.db"))
    paths = {
        route.path
        for route in app.routes
        if isinstance(route, HTTPRoute) and "GET" in route.methods
    }
    others = [path for reason in NO_PAGES.values() for path in reason]
    visited = [urlsplit(path).path for path in (PUBLIC | PRIVATE).values()]
    shown = {path for path, _ in OPENED.values()}
    unseen = [
        path
        for path in paths - shown - set(others)
        if not any(re.fullmatch(pattern(path), one) for one in visited)
    ]
    assert unseen == []
    assert [path for path in others if path not in paths] == [], "an exception that is none"


@pytest.mark.long
def test_the_check_finds_what_is_wrong(scene: Scene):
    """The check itself can fail: a page is broken on purpose."""
    page = scene.stranger
    page.goto("/sign-in")
    page.evaluate("document.querySelector('label').remove()")
    page.evaluate("document.querySelector('h1').append('x'.repeat(400))")
    found = " ".join(problems(page))
    assert "label" in found
    assert "wider" in found


def pattern(path: str) -> str:
    """Return what matches the paths of a route."""
    return re.sub(r"\{[^}]*\}", "[^/]+", path)


def looked_at(page: Page, slug: str, look: Look) -> list[str]:
    """Keep a picture of the page that is open, and return what is wrong with it."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{slug}-{look}.png", full_page=True)
    return [f"{slug}: {problem}" for problem in problems(page)]


def problems(page: Page) -> list[str]:
    """Return what axe calls serious or critical, and whether the page is wider than its screen."""
    violations = Axe().run(page).response["violations"]
    found = [
        f"{violation['id']} {violation['nodes'][0]['html'][:120]}"
        for violation in violations
        if violation["impact"] in {"serious", "critical"}
    ]
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        found.append("wider than the screen")
    return found
