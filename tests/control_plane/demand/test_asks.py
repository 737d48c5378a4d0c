"""Names that are asked for: made alike, counted together, and no more of them than are kept."""

import asyncio

import pytest
from sqlalchemy import select

from gateway.control_plane.demand import asks
from gateway.control_plane.demand.asks import Asks, NoName, normalized
from gateway.data_plane.tallies import NameTally
from gateway.storage.database import Database
from gateway.storage.tables import model_requests
from tests.control_plane.demand.conftest import rows


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (" BAAI/bge-m3 ", "BAAI/bge-m3"),
        ("https://huggingface.co/BAAI/bge-m3/", "BAAI/bge-m3"),
        ("HF.co/BAAI/bge-m3", "BAAI/bge-m3"),
        ("text  embedding\t3 small", "text embedding 3 small"),
        ("x" * 100, "x" * 100),
        ("x" * 101, None),
        ("", None),
        ("12345", None),  # no name, but a fact
        ("<script>alert(1)</script>", None),
        ("a\0b", None),
        ("ada@example.org", None),  # nobody's address is kept
        ("модель", None),
        ("'; DROP TABLE models; --", None),
        ("../../etc/passwd", None),
    ],
)
def test_a_name_is_kept_as_it_was_meant_or_not_at_all(typed: str, name: str | None):
    assert normalized(typed) == name


async def test_spellings_of_a_name_are_counted_together(database: Database):
    unknown = NameTally(entries_max=10)
    counting = Asks(database, unknown)
    counting.missed("BAAI/bge-m4", "search")
    counting.missed("baai/BGE_M4", "page")
    counting.missed("no\nname\0", "page")
    unknown.add("BAAI/bge m4", 7)
    unknown.add("{{7*7}}")
    await counting.flush()
    async with database.write() as connection:
        assert await asks.ask(connection, "huggingface.co/BAAI/bge-m4") == "BAAI/bge-m4"
        with pytest.raises(NoName):
            await asks.ask(connection, "?")
    await counting.flush()  # nothing is counted twice
    async with database.read() as connection:
        (row,) = await asks.listed(connection, 10)
    assert (row.forms, row.searches, row.pages, row.calls) == (1, 1, 1, 7)
    assert row.name.casefold() in {"baai/bge-m4", "baai/bge_m4", "baai/bge m4"}
    assert row.first_at <= row.last_at


async def test_the_most_asked_for_are_kept(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(asks, "KEPT_MAX", 3)
    counting = Asks(database, NameTally(entries_max=10))
    async with database.write() as connection:
        await asks.ask(connection, "by-form")
        await asks.record(connection, {("searched", "search"): 5, ("looped", "call"): 10**6})
    for n in range(20):
        counting.missed(f"made-up-{n}", "page")
    await asyncio.gather(counting.flush(), counting.flush())
    kept = {row.name for row in await rows(database, select(model_requests.c.name))}
    assert len(kept) == 3
    assert {"by-form", "searched"} < kept
    assert "looped" not in kept  # calls in a loop are one wish, and made-up ones are newer


async def test_all_calls_for_a_name_are_one_wish_and_of_equals_the_latest_is_first(
    database: Database,
):
    async with database.write() as connection:
        await asks.record(
            connection,
            {("a-both", "page"): 1, ("a-both", "call"): 9, ("a-searched", "search"): 2,
             ("b-called", "call"): 10**6, ("c-opened", "page"): 1},
        )  # fmt: skip
        await asks.record(connection, {("z-later", "page"): 1})
        found = [one.name for one in await asks.listed(connection, 9)]
        assert [one.name for one in await asks.listed(connection, 2)] == found[:2]
    assert found == ["a-both", "a-searched", "z-later", "b-called", "c-opened"]


async def test_what_can_not_be_written_is_kept(database: Database, monkeypatch: pytest.MonkeyPatch):
    counting = Asks(database, NameTally(entries_max=10))
    counting.missed("BAAI/bge-m4", "page")

    async def fails(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(asks, "record", fails)
        with pytest.raises(OSError):  # noqa: PT011 - it has no words
            await counting.flush()
    await counting.flush()
    assert [row.pages for row in await rows(database, select(model_requests))] == [1]
