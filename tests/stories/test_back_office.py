"""The back office by keyboard, and without JavaScript."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select, update

from gateway.control_plane.operators import operators
from gateway.storage.database import Database
from gateway.storage.tables import sessions, users
from testing.mailbox import Mailbox
from tests.stories.conftest import Service, sign_in

ADDRESS = "ops-of-stories@example.org"


@pytest.fixture
def operator(page: Page, service: Service, mailbox: Mailbox) -> Page:
    """A page of someone who supports, and has proved a second factor."""
    page.goto("/sign-in")
    sign_in(page, mailbox, ADDRESS)
    with ThreadPoolExecutor() as apart:  # Playwright holds this thread's event loop
        apart.submit(asyncio.run, _promote(service.database_url)).result()
    page.goto("/admin")
    return page


def test_keys_open_pages_move_over_lines_and_can_be_turned_off(
    operator: Page, context_has_javascript: bool
):
    page = operator
    if not context_has_javascript:
        expect(page.locator("kbd").first).to_be_hidden()
        page.get_by_role("searchbox", name="Find").fill(ADDRESS)
        page.get_by_role("searchbox", name="Find").press("Enter")
        expect(page.get_by_role("heading", name="People")).to_be_visible()
        return
    page.keyboard.press("g")
    page.keyboard.press("o")
    expect(page.get_by_role("heading", name="Organizations")).to_be_visible()
    page.keyboard.press("j")
    expect(page.locator("tr.at")).to_have_count(1)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Find")).to_be_focused()
    page.keyboard.type("jg?")  # letters that are typed are no keys
    expect(page.get_by_role("searchbox", name="Find")).to_have_value("jg?")
    page.get_by_role("searchbox", name="Find").fill(ADDRESS)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="People")).to_be_visible()
    page.locator("h1").click()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Single-letter shortcuts work").uncheck()
    dialog.get_by_role("button", name="Close").click()
    page.keyboard.press("g")
    page.keyboard.press("h")
    expect(page.get_by_role("heading", name="People")).to_be_visible()
    expect(page.locator("kbd").first).to_be_hidden()


async def _promote(database_url: str) -> None:
    database = Database(database_url)
    async with database.write() as connection:
        user_id = await connection.scalar(select(users.c.id).where(users.c.email == ADDRESS))
        assert user_id
        await operators.add(connection, user_id, "support")
        proved = update(sessions).where(sessions.c.user_id == user_id)
        await connection.execute(proved.values(verified_at=datetime.now(UTC)))
    await database.close()
