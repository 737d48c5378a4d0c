"""What operators do on the pages of the back office, in Chromium."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from testing.admin_stories import Customer


def open_organization(page: Page, customer: Customer) -> None:
    """Find a customer by their address, and open their organization."""
    find = page.get_by_role("searchbox", name="Find")
    find.fill(customer.email)
    find.press("Enter")
    page.get_by_role("main").get_by_role("link", name=customer.email).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(customer.email.partition("@")[0])


def rail(page: Page, name: str) -> None:
    """Follow a link of the rail."""
    links = page.get_by_role("navigation", name="Back office")
    links.get_by_role("link", name=name).click()


def tab(page: Page, name: str) -> None:
    """Open a tab."""
    tabs = page.get_by_role("navigation", name="Parts of this page")
    tabs.get_by_role("link", name=name, exact=True).click()


def fill_grant(page: Page, dollars: str) -> None:
    """Fill the form of a grant in."""
    page.get_by_label("Amount in dollars").fill(dollars)
    page.get_by_label("In your own words").fill("A slow week")


def order(page: Page, customer: Customer, dollars: str) -> None:
    """Order more than one may grant alone."""
    open_organization(page, customer)
    page.get_by_role("link", name="Grant credit").click()
    fill_grant(page, dollars)
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("This needs a second operator.")).to_be_visible()
    page.get_by_role("button", name=f"Ask to post +${dollars}.00").click()
    expect(page.get_by_role("status")).to_contain_text("It is waiting for a second operator")


def forced(button: Locator) -> int:
    """Press a button that is disabled, as with the browser's own tools; return the status."""
    button.evaluate("button => { button.disabled = false; }")
    with button.page.expect_navigation() as answer:
        button.click()
    return answer.value.status


def pick(page: Page, *lines: str) -> None:
    """Select lines of a list."""
    for line in lines:
        page.get_by_role("checkbox", name=re.compile(f"^Select {re.escape(line)}")).check()


def do_to_many(page: Page, verb: str, lines: str, reason: str) -> None:
    """Do something to the selected lines, after a look at them."""
    page.get_by_role("button", name=f"{verb} …").click()
    page.get_by_label("Why").fill(reason)
    page.get_by_role("button", name=f"{verb} {lines}").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Done for {lines}")
