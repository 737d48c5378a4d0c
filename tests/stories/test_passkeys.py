"""Passkeys, made and used by Chromium's virtual authenticator."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from testing.admin_stories import tells
from tests.stories.conftest import Service, sign_out

EVE, ADA = "eve@example.com", "ada@example.com"
DEVICE = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
def page(chromium: Browser, dev_service: Service) -> Iterator[Page]:
    """A page at localhost, since browsers make no passkeys for 127.0.0.1."""
    url = dev_service.url.replace("127.0.0.1", "localhost")
    context = chromium.new_context(base_url=url)
    opened = context.new_page()
    devtools = context.new_cdp_session(opened)
    devtools.send("WebAuthn.enable")
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
    yield opened
    context.close()


def sign_in(page: Page, address: str) -> None:
    page.get_by_label("Email", exact=True).fill(address)
    page.get_by_role("button", name="Email me a link").click()
    page.goto("/dev/mail")
    link = re.search(r"/sign-in/link\?token=[\w.-]+", page.content())
    assert link
    page.goto(link[0])
    page.get_by_role("main").get_by_role("button", name="Sign in").click()


@tells("/admin/enroll/options")
def test_an_operator_enrolls_and_comes_back_with_a_passkey(page: Page, dev_service: Service):
    said = dev_service.command("operators", "add", EVE, "--role", "owner")
    path = re.search(r"/admin/enroll\?token=\S+", said)
    assert path
    page.goto(path[0])
    sign_in(page, EVE)
    expect(page.get_by_role("heading", name="Set up your second factor")).to_be_visible()
    page.get_by_role("button", name="Create a passkey").click()
    expect(page.get_by_role("heading", name="Needs attention")).to_be_visible()

    # by mail alone the back office stays closed; the passkey opens it
    page.goto("/console")
    sign_out(page)
    page.goto("/sign-in?next=/admin")
    sign_in(page, EVE)
    expect(page.get_by_role("heading", name="Confirm it's you")).to_be_visible()
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("heading", name="Needs attention")).to_be_visible()


def test_a_person_adds_a_passkey_signs_in_with_it_and_removes_it(page: Page):
    page.goto("/sign-in?next=/console/security")
    sign_in(page, ADA)
    page.get_by_label("Name of a new passkey").fill("Laptop")
    page.get_by_role("button", name="Add a passkey").click()
    row = page.get_by_role("row", name="Laptop")
    expect(row).to_contain_text("Never")

    sign_out(page)
    page.goto("/sign-in?next=/console/security")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(row).not_to_contain_text("Never")
    sessions = page.get_by_role("region", name="Sessions")
    expect(sessions).to_contain_text("Chrome on Linux (this one)")

    row.get_by_text("Rename").click()
    row.get_by_label("New name").fill("Old laptop")
    row.get_by_role("button", name="Save").click()
    row = page.get_by_role("row", name="Old laptop")
    row.get_by_text("Remove", exact=True).click()
    row.get_by_role("button", name="Remove Old laptop").click()
    expect(page.get_by_role("region", name="Passkeys")).to_have_count(0)

    sign_out(page)
    page.goto("/sign-in")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("main")).to_contain_text("not known here")
