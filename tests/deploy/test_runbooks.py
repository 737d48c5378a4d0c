"""What a runbook tells somebody to type at 3 am exists: commands, metrics, settings, tables."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from gateway.settings import describe
from gateway.storage.database import Database
from testing.typed import flaw
from tests.deploy.monitoring import RUNBOOKS, alerts, known, unknown

PAGES = sorted(set(RUNBOOKS.glob("*.md")) - {RUNBOOKS / "README.md"})
SECTIONS = [
    "What customers see", "Look here first", "What to do", "When to wake somebody", "How it ends",
]  # fmt: skip
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_METRIC = re.compile(r"(?:gateway|stella)_[a-z_]+|slo:\w+:\w+")
_SETTING = re.compile(r"\b(?:GATEWAY_[A-Z_]+|DATABASE_URL|REDIS_URL)\b")
_LINK = re.compile(r"\]\(([^)#]+)\)")


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in _BLOCK.findall(page.read_text()) if kind == language]


def words(page: Path) -> list[str]:
    """Return what stands in code inside of sentences."""
    return _CODE.findall(_BLOCK.sub("", page.read_text()))


def commands(page: Path) -> Iterator[str]:
    for line in [*words(page), *"".join(blocks(page, "sh")).splitlines()]:
        if line.startswith("gateway "):
            yield line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_its_places_and_links(page: Path):
    content = page.read_text()
    title = content.split("\n", 1)[0].removeprefix("# ")
    assert any(name.startswith(title) for name in alerts())
    assert re.findall(r"^## (.*)$", content, re.MULTILINE) == SECTIONS
    for target in _LINK.findall(content):
        assert (page.parent / target).is_file(), target


def test_commands_can_be_typed():
    typed = [flaw(line) for page in PAGES for line in commands(page)]
    assert len(typed) > 60
    assert [wrong for wrong in typed if wrong] == []


def test_metrics_are_there():
    for page in PAGES:
        lines = "".join(blocks(page, "promql")).splitlines()
        assert [wrong for line in lines for wrong in unknown(line)] == [], page.name
        named = {name for word in words(page) for name in _METRIC.findall(word)}
        assert named - known().keys() == set(), page.name


def test_settings_are_there():
    settings = {name for name, *_ in describe()}
    for page in PAGES:
        assert set(_SETTING.findall(page.read_text())) - settings == set(), page.name


async def test_sql_can_be_run(postgresql_database_url: list[str]):
    database = Database(postgresql_database_url[0])
    async with database.read() as connection:
        for page in PAGES:
            for statement in blocks(page, "sql"):
                await connection.execute(text(f"EXPLAIN {statement}"))
    await database.close()
