"""Every page, in light, dark and on a phone: nothing serious for axe, nothing too wide."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from litestar.routes import HTTPRoute
from playwright.sync_api import Browser, Page, expect

import gateway
from gateway.app import build
from gateway.control_plane.mail.unsubscribe import Unsubscriptions
from gateway.control_plane.pages.docs.manual import PAGES as DOCS
from gateway.keyring import Keyring
from gateway.settings import Settings
from testing import looks
from testing.gateways import SECRET
from testing.mailbox import Mailbox
from tests.stories.conftest import MINILM, STELLA, Service, link_in, sign_in

UNSUBSCRIBE = Unsubscriptions(secret=Keyring(SECRET).derive("unsubscribe"), public_url="")
PUBLIC = {
    "home": "/",
    "models": "/models",
    "models-refused": "/models?price=cheap",
    "models-none": "/models?q=nothing+of+that+name",
    "model-coming-soon": f"/models/{STELLA}",
    "model-live": f"/models/{MINILM}",
    "compare": "/compare",
    "compare-two": f"/compare?model={STELLA}&model={MINILM}",
    "models-cards": "/models?view=cards",
    "models-collection": "/models/collections/matryoshka",
    "models-author": "/models/NovaSearch",
    "search": "/search?q=stella",
    "ask": "/ask?model=stela",
    "model-not-found": "/models/BAAI/bge-m4",
    "calculator": "/calculator",
    "playground": f"/playground/{MINILM}",
    "playground-search": f"/playground/{MINILM}?mode=search",
    "docs": "/docs",
    **{f"docs-{slug}": f"/docs/{slug}" for slug in DOCS},
    "search-docs": "/search?q=what+does+402+mean",
    "search-none": "/search?q=nothing+of+that+nme",
    "changelog": "/changelog",
    "terms": "/terms",
    "privacy": "/privacy",
    "security-page": "/security",
    "contact": "/contact",
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
    "requests": "/console/requests",
    "errors": "/console/errors",
    "keys": "/console/keys",
    "new-key": "/console/keys/new",
    "billing": "/console/billing",
    "payments": "/console/billing/payments",
    "ledger": "/console/ledger",
    "alerts": "/console/alerts",
    "webhooks": "/console/webhooks",
    "votes": "/console/votes",
    "trail": "/console/trail",
    "settings": "/console/settings",
    "organizations": "/console/organizations",
    "security": "/console/security",
    "authenticator": "/console/security/app",
    "verify": "/sign-in/verify",
    "model-signed-in": f"/models/{STELLA}",
}
NO_PAGES = {
    "programs read it": [
        "/health", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/robots.txt",
        "/sitemap.xml", "/llms.txt", "/llms-full.txt", "/status.json", "/status.rss",
        "/changelog.rss", "/security.txt", "/.well-known/security.txt",
        "/v1/credits", "/v1/models", "/v1/models/{model_id:path}", "/v1/receipts/key",
        "/v1/receipts/roots", "/v1/receipts/roots/{root_id:str}", "/v1/usage",
    ],
    "a file": [
        "/console/settings/export", "/console/usage.csv", "/favicon.ico", "/static/{name:str}",
        "/status/badge.svg",
    ],
    "leads to GitHub": ["/sign-in/github"],
    "leads to the calculator": ["/pricing"],
    "leads to a model's playground": ["/playground"],
    "leads to the contact page": ["/impressum", "/imprint"],
}  # fmt: skip
BACK_OFFICE = "/admin"
"""Its pages are looked at in test_admin_looks.py, which finds them by itself."""
LOOKS = [look for look in looks.looks() if look.name != "dark-phone"]


@dataclass
class Scene:
    """Two browsers, of a stranger and of an owner, and what they need."""

    stranger: Page
    owner: Page
    mailbox: Mailbox
    dev_url: str

    def asks_for_a_link(self, name: str, url: str = "") -> Page:
        self.stranger.goto(f"{url}/sign-in")
        self.stranger.get_by_label("Email", exact=True).fill(f"{name}@example.org")
        self.stranger.get_by_role("button", name="Email me a link").click()
        return self.stranger

    def follows_the_link(self, name: str, subject: str) -> Page:
        self.stranger.goto(link_in(self.mailbox, f"{name}@example.org", subject))
        return self.stranger

    # pages that more than an address leads to

    def sign_in_refused(self) -> Page:
        self.stranger.goto("/sign-in")
        self.stranger.get_by_label("Email", exact=True).fill("ada@localhost")
        self.stranger.get_by_role("button", name="Email me a link").click()
        return self.stranger

    def sign_in_sent(self) -> Page:
        return self.asks_for_a_link("ada")

    def sign_in_link(self) -> Page:
        return self.follows_the_link("ada", "Sign in")

    def waitlist_sent(self) -> Page:
        self.stranger.goto(f"/models/{STELLA}")
        self.stranger.get_by_label("Or get one email").fill("bob@example.org")
        self.stranger.get_by_role("button", name="Notify me").click()
        return self.stranger

    def waitlist_confirm(self) -> Page:
        return self.follows_the_link("bob", "Confirm")

    def waitlist_done(self) -> Page:
        self.stranger.get_by_role("button", name="Join the waitlist").click()
        return self.stranger

    def invited(self) -> Page:
        self.owner.goto("/console/settings")
        self.owner.get_by_label("Invite by email").fill("carol@example.org")
        self.owner.get_by_role("button", name="Invite").click()
        return self.owner

    def invitation(self) -> Page:
        return self.follows_the_link("carol", "invited you")

    def unsubscribed(self) -> Page:
        self.stranger.goto(UNSUBSCRIBE.url("ada@example.org"))
        self.stranger.get_by_role("button", name="Unsubscribe").click()
        return self.stranger

    def key_made(self) -> Page:
        self.owner.goto("/console/keys")
        self.owner.get_by_role("link", name="New key").click()
        self.owner.get_by_label("Name").fill("production")
        self.owner.get_by_text("More options").click()
        self.owner.get_by_label("Budget").first.fill("5")
        self.owner.get_by_role("button", name="Create").click()
        return self.owner

    def request(self) -> Page:
        secret = re.search(r"sk-[0-9A-Za-z]{46}", self.owner.content())
        assert secret
        answer = self.owner.request.post(
            "/v1/embeddings",
            headers={"authorization": f"Bearer {secret[0]}"},
            data={"model": MINILM, "input": "a request to look at"},
        )
        self.owner.goto(f"/console/requests/{answer.headers['x-request-id']}")
        return self.owner

    def key(self) -> Page:
        self.owner.goto("/console/keys")
        row = self.owner.get_by_role("row").filter(has_text="production")
        row.get_by_role("link", name="Change").click()
        return self.owner

    def key_to_revoke(self) -> Page:
        self.owner.get_by_role("link", name="Revoke this key").click()
        return self.owner

    def first_call(self) -> Page:
        self.owner.goto(self.owner.url.replace("/revoke", "/first-call"))
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
        self.stranger.get_by_label("A typical input").fill("A cat sleeps on the sofa.")
        self.stranger.get_by_role("button", name="Calculate").click()
        expect(self.stranger.locator(".result .value").first).to_be_visible()
        expect(self.stranger.locator(".htmx-request")).to_have_count(0)  # pale until it is done
        return self.stranger

    def experimented(self) -> Page:
        self.stranger.goto(f"/playground/{MINILM}")
        self.stranger.get_by_role("button", name="Embed and compare").click()
        self.stranger.get_by_role("table").wait_for()
        expect(self.stranger.locator(".htmx-request")).to_have_count(0)
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
    "invitation": ("/sign-in/invitation", Scene.invitation),
    "unsubscribed": ("/mail/unsubscribe/{token:str}", Scene.unsubscribed),
    "key-made": ("/console/keys", Scene.key_made),
    "request": ("/console/requests/{request_id:str}", Scene.request),
    "key": ("/console/keys/{key_id:str}", Scene.key),
    "key-to-revoke": ("/console/keys/{key_id:str}/revoke", Scene.key_to_revoke),
    "first-call": ("/console/keys/{key_id:str}/first-call", Scene.first_call),
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


@pytest.fixture
def scene(
    chromium: Browser, service: Service, session: Any, mailbox: Mailbox, dev_url: str
) -> Iterator[Scene]:
    strangers = chromium.new_context(base_url=service.url)
    owners = chromium.new_context(base_url=service.url, storage_state=session)
    yield Scene(strangers.new_page(), owners.new_page(), mailbox, dev_url)
    strangers.close()
    owners.close()


@pytest.mark.long
@pytest.mark.timeout(400)  # every page of the product, one after the other
def test_pages_are_accessible_and_fit(scene: Scene):
    found: list[str] = []
    for paths, page in ((PUBLIC, scene.stranger), (PRIVATE, scene.owner)):
        for slug, path in paths.items():
            page.goto(path)
            found += looked_at(page, slug)
    assert found == []


@pytest.mark.long
@pytest.mark.timeout(400)
def test_pages_that_forms_and_mails_lead_to_are_accessible_and_fit(scene: Scene):
    found: list[str] = []
    for slug, (path, opened) in OPENED.items():
        page = opened(scene)
        page.wait_for_load_state()
        assert re.fullmatch(pattern(path), urlsplit(page.url).path), slug
        found += looked_at(page, slug)
    assert found == []


def test_every_page_is_looked_at(tmp_path: Path):
    """A page that is new is added above, or to NO_PAGES with its reason."""
    app = build(Settings(secret=SECRET, database_url=f"sqlite:///{tmp_path}/gateway.db")).app
    paths = {
        route.path
        for route in app.routes
        if isinstance(route, HTTPRoute) and "GET" in route.methods
        if not route.path.startswith(BACK_OFFICE)
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
    """The check itself can fail: a page is broken on purpose, in every look or in one."""
    page = scene.stranger
    page.goto("/sign-in")
    page.evaluate("document.querySelector('label').remove()")
    page.evaluate("document.querySelector('h1').append('x'.repeat(400))")
    add = (
        "rule => document.styleSheets[0].insertRule(rule, document.styleSheets[0].cssRules.length)"
    )
    page.evaluate(add, "@media (prefers-color-scheme: dark) { h1 { color: #222 !important } }")
    page.evaluate(add, "@media (max-width: 40rem) { p { color: #eee !important } }")
    found = {(problem.look, problem.rule) for problem in looks.problems(page, "broken", LOOKS)}
    assert {("light", "label"), ("phone", "label")} <= found
    assert {("dark", "color-contrast"), ("phone", "color-contrast")} <= found
    assert ("light", "color-contrast") not in found
    assert {look for look, rule in found if "wider" in rule} == {look.name for look in LOOKS}


def test_dark_changes_colors_alone():
    """What differs in more than its colors would have to be looked at by every rule of axe."""
    assert "prefers-color-scheme" not in sheet("control_plane/web/static/site.css")
    style = sheet("fake_stripe/templates/style.css")
    dark = re.findall(r"prefers-color-scheme: dark\) \{\s*:root \{([^{}]*)\}\s*\}", style)
    assert len(dark) == style.count("prefers-color-scheme") == 1
    declared = [line.strip() for line in dark[0].split(";") if line.strip()]
    assert [line for line in declared if not line.startswith(("--", "color-scheme"))] == []


def sheet(path: str) -> str:
    """Return a style of the product."""
    return (Path(gateway.__file__).parent / path).read_text()


def pattern(path: str) -> str:
    """Return what matches the paths of a route."""
    return re.sub(r"\{[^}]*\}", "[^/]+", path)


def looked_at(page: Page, slug: str) -> list[str]:
    """Return what axe calls serious or critical in each look of the page that is open."""
    return [
        f"{slug}, {problem}"
        for problem in looks.problems(page, slug, LOOKS)
        if problem.impact in {"serious", "critical"}
    ]
