"""The lists of organizations and of keys: deep links, kept filters, CSV, few queries."""

import csv

import pytest
from sqlalchemy import select

from gateway.app.process import Process
from gateway.storage.tables import organizations, saved_filters
from testing.browsing import Browser, field, squeezed
from testing.operators import sign_in_operator
from tests.control_plane.conftest import rows
from tests.control_plane.pages.conftest import QUERIES_MAX, counted


@pytest.fixture
async def user_id(browser: Browser, gateway: Process) -> str:
    return await sign_in_operator(browser, gateway, "ops@example.com", "read")


@pytest.mark.parametrize("path", ["/admin/organizations", "/admin/keys"])
@pytest.mark.usefixtures("user_id")
async def test_a_list_takes_few_queries_and_is_a_csv_too(
    browser: Browser, gateway: Process, path: str
):
    made = await _key(gateway)
    with counted(gateway) as asked:
        page = await browser.get(path)
    assert len(asked) <= QUERIES_MAX
    assert page.status_code == 200
    file = await browser.get(f"{path}?format=csv")
    assert file.headers["content-type"].startswith("text/csv")
    header, *lines = csv.reader(file.text.splitlines())
    assert len(lines) == 1
    assert dict(zip(header, lines[0], strict=True))["id"] in (made, await _organization(gateway))


@pytest.mark.usefixtures("user_id")
async def test_a_filter_is_in_the_address_and_is_kept_by_name(browser: Browser, gateway: Process):
    address = "/admin/organizations?name=zz&standing=frozen&before=&since=not-a-day"
    page = await browser.get(address)
    assert "No organizations match." in page.text
    query = field(page.text, "query")
    assert query == "name=zz&standing=frozen&since=not-a-day"
    page = await browser.submit(
        "/admin/filters", of_list="/admin/organizations", query=query, name=" Frozen  z "
    )
    assert page.url.path == "/admin/organizations"
    assert 'class="chip on"' in page.text
    (kept,) = await rows(gateway, select(saved_filters))
    assert (kept.name, kept.query) == ("Frozen z", query)
    page = await browser.submit(f"/admin/filters/{kept.id}/remove")
    assert "Frozen z" not in page.text


async def test_filters_are_an_operators_own(browser: Browser, gateway: Process, user_id: str):
    await browser.get("/admin/keys?ends=abcd")
    await browser.submit("/admin/filters", of_list="/admin/keys", query="ends=abcd", name="leaked")
    other = Browser(gateway.app)
    await sign_in_operator(other, gateway, "bob@example.com", "read")
    assert "leaked" not in (await other.get("/admin/keys?ends=abcd")).text
    (kept,) = await rows(gateway, select(saved_filters))
    assert kept.user_id == user_id
    assert (await other.submit(f"/admin/filters/{kept.id}/remove")).status_code == 404
    await other.close()


@pytest.mark.parametrize("fields", [{"name": " "}, {"name": "n" * 61}, {"query": ""}])
@pytest.mark.usefixtures("user_id")
async def test_a_filter_without_name_or_choice_is_not_kept(
    browser: Browser, gateway: Process, fields: dict[str, str]
):
    await browser.get("/admin/keys")
    said = {"of_list": "/admin/keys", "query": "ends=abcd", "name": "n"} | fields
    assert (await browser.submit("/admin/filters", **said)).status_code == 400
    assert await rows(gateway, select(saved_filters)) == []


@pytest.mark.usefixtures("user_id")
async def test_the_search_field_finds_a_whole_key_and_keeps_it_nowhere(
    browser: Browser, gateway: Process
):
    made = await gateway.services.keys.create(await _organization(gateway), "ci")
    await browser.get("/admin")
    page = await browser.submit("/admin/search", q=made.secret)
    assert str(page.url).endswith(f"?q={made.key.id}")
    assert f"sk-…{made.key.last_four}" in page.text
    assert made.secret not in page.text
    page = await browser.submit("/admin/search", q="minilm")
    assert "all-MiniLM-L6-v2" in page.text
    with counted(gateway) as asked:
        page = await browser.get("/admin/search", params={"q": "ops@example.com"})
    assert len(asked) <= QUERIES_MAX
    assert "ops@example.com" in page.text
    assert "Nothing has this ID" in squeezed((await browser.get("/admin/search?q=zzz")).text)


async def _organization(gateway: Process) -> str:
    return str((await rows(gateway, select(organizations.c.id)))[0].id)


async def _key(gateway: Process) -> str:
    return (await gateway.services.keys.create(await _organization(gateway), "ci")).key.id
