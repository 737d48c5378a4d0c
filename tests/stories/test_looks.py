"""Every page, in light, dark and on a phone: nothing serious for axe, nothing too wide.

Screenshots are kept under build/screenshots, for people to look at.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.stories.conftest import MINILM, STELLA, Service, sign_in
from tests.support.mailbox import Mailbox

PUBLIC = {
    "home": "/",
    "models": "/models",
    "models-refused": "/models?price=cheap",
    "model-coming-soon": f"/models/{STELLA}",
    "model-live": f"/models/{MINILM}",
    "compare": "/compare",
    "calculator": "/calculator",
    "playground": f"/playground/{MINILM}",
    "docs-quickstart": "/docs",
    "docs-reference": "/docs/reference",
    "docs-errors": "/docs/errors",
    "docs-clients": "/docs/clients",
    "status": "/status",
    "sign-in": "/sign-in",
    "not-found": "/nothing-here",
}
PRIVATE = {
    "overview": "/console",
    "usage": "/console/usage",
    "keys": "/console/keys",
    "ledger": "/console/ledger",
    "votes": "/console/votes",
    "settings": "/console/settings",
}
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"

Look = Literal["light", "dark", "phone"]


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
def look(
    chromium: Browser, service: Service, session: Any, request: pytest.FixtureRequest
) -> Iterator[tuple[Look, dict[str, Page]]]:
    options: dict[str, Any] = {
        "base_url": service.url,
        "color_scheme": "dark" if request.param == "dark" else "light",
        "viewport": {"width": 390, "height": 844}
        if request.param == "phone"
        else {"width": 1280, "height": 900},
    }
    strangers = chromium.new_context(**options)
    owners = chromium.new_context(**options, storage_state=session)
    yield request.param, {"public": strangers.new_page(), "private": owners.new_page()}
    strangers.close()
    owners.close()


def test_pages_are_accessible_and_fit(look: tuple[Look, dict[str, Page]]):
    name, pages = look
    SHOTS.mkdir(parents=True, exist_ok=True)
    found: list[str] = []
    for paths, page in ((PUBLIC, pages["public"]), (PRIVATE, pages["private"])):
        for slug, path in paths.items():
            page.goto(path)
            page.screenshot(path=SHOTS / f"{slug}-{name}.png", full_page=True)
            found += [f"{path}: {problem}" for problem in problems(page)]
    assert found == []


def test_the_check_finds_what_is_wrong(look: tuple[Look, dict[str, Page]]):
    """The check itself can fail: a page is broken on purpose."""
    _, pages = look
    page = pages["public"]
    page.goto("/sign-in")
    page.evaluate("document.querySelector('label').remove()")
    page.evaluate("document.querySelector('h1').append('x'.repeat(400))")
    found = " ".join(problems(page))
    assert "label" in found
    assert "wider" in found


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
