"""The console by hand: charts asked by key and pointer, and keys revoked at a second look."""

import pytest
from playwright.sync_api import Page, expect

from testing.mailbox import Mailbox
from tests.stories.conftest import sign_in
from tests.stories.test_stories import run


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    return f"console-{request.node.callspec.id}@example.org"


def test_usage_is_charted_and_a_key_revoked(
    page: Page, mailbox: Mailbox, address: str, context_has_javascript: bool
):
    page.goto("/sign-in?next=/console/keys")
    sign_in(page, mailbox, address)
    page.get_by_role("button", name="Create my first key").click()
    tokens = run(page.locator("#command-curl").inner_text())["usage"]["total_tokens"]

    page.goto("/console/usage")
    heading = page.locator("#usage h2").first
    expect(heading).to_contain_text("Cost by day")
    page.get_by_label("Period").select_option("Today")
    page.get_by_label("Show", exact=True).select_option("Tokens")
    if not context_has_javascript:
        page.get_by_role("button", name="Show").click()
    expect(heading).to_contain_text("Tokens by hour")
    assert "days=1" in page.url
    assert "metric=tokens" in page.url
    if context_has_javascript:
        assert page.url.endswith("/console/usage?days=1&metric=tokens")  # and nothing else
        plot, readout = page.locator("[data-plot]"), page.locator("[data-readout]")
        plot.focus()
        page.keyboard.press("ArrowLeft")
        expect(readout).to_contain_text(f"UTC (so far): {tokens}")
        page.evaluate("document.querySelector('[data-readout]').textContent = ''")
        bar = page.locator(".reach").bounding_box()
        assert bar
        page.mouse.move(bar["x"] + bar["width"] / 2, bar["y"] + 5)
        expect(readout).to_contain_text(f": {tokens}")
    page.get_by_text("As numbers").click()
    expect(page.get_by_role("region", name="Tokens as numbers")).to_contain_text(str(tokens))

    page.goto("/console/keys")
    page.get_by_role("link", name="Revoke key first key").click()
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("region", name="Keys")).to_contain_text("first key")
    page.get_by_role("link", name="Revoke key first key").click()
    page.get_by_role("button", name="Revoke first key").click()
    expect(page.get_by_text("All keys are revoked")).to_be_visible()
    page.get_by_role("button", name="Create my new key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your new key")
