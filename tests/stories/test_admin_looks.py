"""Every page of the back office, with a crowd behind it: light, dark and on a phone."""

import asyncio
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import make_url

from gateway.app import build
from gateway.control_plane.accounts import users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.sessions import Sessions
from gateway.control_plane.catalog import catalog
from gateway.control_plane.operators import operators
from gateway.control_plane.web.visitors import SESSION
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.settings import Settings
from gateway.storage.database import Database
from testing import admin_pages
from testing.crowd import Crowd, gather
from testing.gateways import SECRET
from testing.looks import looks, problems
from testing.servers import free_port
from tests.stories.conftest import serving

LOOKS = [look for look in looks() if look.name != "dark-phone"]
CROWD = Crowd(organizations=200, models=30)


class Office(NamedTuple):
    """A gateway with a crowd, the cookie of an owner, and every page that there is."""

    url: str
    cookie: str
    paths: list[str]


@pytest.fixture
def office(postgres_url: str, postgres_template: str) -> Iterator[Office]:
    """Give a crowd in a database that stays until the server ends."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with ThreadPoolExecutor() as apart:  # Playwright holds this thread's event loop
        filled = apart.submit(asyncio.run, _filled(postgres_url, postgres_template))
        database_url, cookie, examples = filled.result()
    settings = Settings(secret=SECRET, database_url=database_url, dev_mail=True)
    addresses = list(admin_pages.addresses(build(settings).app, examples))
    # the last of those that differ in their query alone
    paths = list({urlsplit(one).path: one for one in addresses if not is_file(one)}.values())
    environment = os.environ | {
        "GATEWAY_SECRET": SECRET,
        "DATABASE_URL": database_url,
        "GATEWAY_PUBLIC_URL": url,
        "GATEWAY_DEV_MAIL": "true",
    }
    with serving(environment, port, "/health/live"):  # the crowd's workers do not exist
        yield Office(url, cookie, paths)


async def _filled(server: str, template: str) -> tuple[str, str, dict[str, list[str]]]:
    name = f"office_{new_id().replace('-', '')}"
    connection = await asyncpg.connect(server)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    await connection.close()
    database_url = make_url(server).set(database=name).render_as_string(hide_password=False)
    database = Database(database_url, is_patient=True)
    async with database.write() as connection:
        await catalog.seed(connection)
    await gather(database, CROWD)
    sessions = Sessions(
        database, secret=Keyring(SECRET).derive("sessions"), seconds=86_400, rotation_seconds=86_400
    )
    async with database.write() as connection:
        user = await users.find_or_create(connection, Address("ops@example.org"))
        await operators.add(connection, user.id, "owner")
        now = datetime.now(UTC)
        cookie = await sessions.begin(connection, user.id, user.organization_id, verified_at=now)
    examples = await admin_pages.examples(database)
    await database.close()
    return database_url, cookie, examples


@pytest.mark.long
@pytest.mark.timeout(600)
def test_its_pages_are_accessible_and_fit(chromium: Browser, office: Office):
    context = chromium.new_context(base_url=office.url)
    context.add_cookies([{"name": SESSION, "value": office.cookie, "url": office.url}])
    page = context.new_page()
    found: list[str] = []
    for path in office.paths:
        page.goto(path)
        expect(page.get_by_role("navigation", name="Back office")).to_be_attached()
        found += [
            f"{path}: {problem}"
            for problem in problems(page, slug(path), LOOKS)
            if problem.impact in {"serious", "critical"}
        ]
    page.set_viewport_size({"width": 1280, "height": 900})
    left = "links => [...new Set(links.map(link => link.getBoundingClientRect().left))]"
    edges = page.locator(".rail li a").evaluate_all(left)
    context.close()
    assert found == []
    assert len(edges) == 1, "the menu is one column"


def is_file(path: str) -> bool:
    """Tell whether an address is a CSV file's."""
    return "csv" in path.rpartition(".")[2] or "format=csv" in path


def slug(path: str) -> str:
    """Return a name for the pictures of a page."""
    parts = urlsplit(path)
    return re.sub(r"[^a-z0-9]+", "-", f"{parts.path} {parts.query}".lower()).strip("-")[:80]
