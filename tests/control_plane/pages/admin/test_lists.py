"""Lists of the back office: pages by key, addresses with their filters, and CSV."""

import csv

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.pages.admin.lists import as_csv, export, keyset
from gateway.control_plane.web.csv_files import CSV_ROWS_MAX
from gateway.storage.database import Database

pytestmark = pytest.mark.sqlite


def test_a_page_names_the_next_one_by_its_last_line_and_keeps_the_filters():
    page = keyset("/admin/mail", {"state": "failed", "q": ""}, [9, 8, 7], str, limit=2)
    assert page.rows == [9, 8]
    assert page.first == ""
    assert page.older == "/admin/mail?state=failed&before=8"
    assert page.csv == "/admin/mail?state=failed&format=csv"


def test_the_last_page_leads_back_to_the_first_alone():
    page = keyset("/admin/mail", {"q": "a b"}, [7], str, before="8", limit=2)
    assert (page.first, page.older) == ("/admin/mail?q=a+b", "")


def test_a_list_of_nothing_has_no_csv():
    assert keyset("/admin/mail", {}, [], str).csv == ""


def test_a_spreadsheet_runs_nothing():
    answer = as_csv(
        "mail", ["name", "count"], [["=1+1", 2], ["-x", None], ["plain, with comma", -3]]
    )
    rows = list(csv.reader(answer.content.splitlines()))
    assert rows == [["name", "count"], ["'=1+1", "2"], ["'-x", ""], ["plain, with comma", "-3"]]
    assert answer.headers["content-disposition"] == 'attachment; filename="mail.csv"'


async def test_a_long_list_is_exported_in_parts_up_to_its_limit(database: Database):
    asked: list[tuple[int | None, int]] = []

    async def read(_: AsyncConnection, last: int | None, limit: int) -> list[int]:
        asked.append((last, limit))
        return list(range((last or 0) + 1, (last or 0) + 1 + limit))

    answer = await export(database, "numbers", ["number"], read, lambda number: [number])
    parts = [part async for part in answer.iterator]
    lines = "".join(map(str, parts)).splitlines()
    assert lines == ["number", *map(str, range(1, CSV_ROWS_MAX + 1))]
    assert max(len(str(part).splitlines()) for part in parts) <= 500
    assert asked[:2] == [(None, 500), (500, 500)]
    assert len(asked) == CSV_ROWS_MAX / 500


async def test_the_export_of_a_short_list_asks_once(database: Database):
    asked = 0

    async def read(_: AsyncConnection, _last: str | None, _limit: int) -> list[str]:
        nonlocal asked
        asked += 1
        return ["one", "=two"]

    answer = await export(database, "words", ["word"], read, lambda word: [word])
    parts = [str(part) async for part in answer.iterator]
    assert "".join(parts).splitlines() == ["word", "one", "'=two"]
    assert asked == 1
