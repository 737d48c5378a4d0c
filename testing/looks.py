"""A page in light, in dark and on a phone: what axe finds, and whether it fits.

The page that is open is turned from look to look, not loaded anew for each. Dark changes colors
alone (tests/stories/test_looks.py holds the style sheets to that), so only axe's rules of color run
there. Pictures are kept under build/screenshots where PICTURES is set, for people to look at.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

SHOTS = Path(__file__).parents[1] / "build" / "screenshots"
_OF_COLOR = ["color-contrast", "link-in-text-block"]


@dataclass(frozen=True)
class Look:
    """How a page is shown."""

    name: str
    scheme: Literal["light", "dark"]
    width: int
    rules: tuple[str, ...] = ()
    """The rules of axe to run; all, where none is named."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a page in a look."""

    look: str
    rule: str
    impact: str
    where: str

    def __str__(self) -> str:
        return f"{self.look}: {self.rule} {self.where}"


def looks(*, width: int = 1280, phone: int = 390) -> list[Look]:
    """Return every look, of a screen and of a phone with so many pixels."""
    return [
        Look("light", "light", width),
        Look("dark", "dark", width, tuple(_OF_COLOR)),
        Look("phone", "light", phone),
        Look("dark-phone", "dark", phone, tuple(_OF_COLOR)),
    ]


def problems(page: Page, slug: str, every: list[Look]) -> list[Problem]:
    """Return what is wrong with the page that is open, in each look; it ends in the first."""
    found = [problem for look in every for problem in _problems_in(page, slug, look)]
    _turn(page, every[0])
    return found


def _turn(page: Page, look: Look) -> None:
    page.emulate_media(color_scheme=look.scheme, reduced_motion="reduce")  # colors change at once
    page.set_viewport_size({"width": look.width, "height": 900})


def _problems_in(page: Page, slug: str, look: Look) -> list[Problem]:
    _turn(page, look)
    if os.environ.get("PICTURES"):
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"{slug}-{look.name}.png", full_page=True)
    found = [
        Problem(look.name, one["id"], one["impact"], one["nodes"][0]["html"][:120])
        for one in _violations(page, look)
    ]
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        found.append(Problem(look.name, "wider than the screen", "serious", page.url))
    return found


def _violations(page: Page, look: Look) -> list[dict[str, Any]]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if look.rules:
        options["runOnly"] = list(look.rules)
    run = "options => axe.run(options).then(found => found.violations)"
    violations: list[dict[str, Any]] = page.evaluate(run, options)
    return violations
