"""What a runbook tells somebody to type at 3 am exists: commands, metrics, settings, tables."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import rich_click as click
from click.exceptions import UsageError
from sqlalchemy import text

from gateway.cli.lazy import Later
from gateway.cli.main import gateway
from gateway.settings import describe
from gateway.storage.database import Database
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


def flaw(line: str) -> str | None:
    """Return why a command can't be typed so."""
    command: click.Command = gateway
    arguments = shlex.split(line)[1:]
    while isinstance(command, click.Group) and arguments:
        found = command.commands.get(arguments[0])
        if found is None:
            return f"{line}: no {arguments[0]}"
        command = found.load() if isinstance(found, Later) else found
        arguments = arguments[1:]
    context = click.Context(command)
    try:
        given, left, _ = command.make_parser(context).parse_args(arguments)
        for one in command.params:
            if isinstance(one.type, click.Choice) and given.get(one.name):
                one.type.convert(given[one.name], one, context)
    except UsageError as error:
        return f"{line}: {error.message}"
    missing = [
        one.name for one in command.params
        if one.required and one.name not in given and (arguments or isinstance(one, click.Option))
    ]  # fmt: skip
    return f"{line}: {left or missing}" if left or (arguments and missing) else None


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
