"""What `--help` says: an example that works, and columns in the units of their values."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import rich_click as click

from gateway.cli.lazy import Later
from gateway.cli.main import gateway
from gateway.cli.printing import show


def _commands(group: click.Group, *words: str) -> Iterator[tuple[str, click.Command]]:
    for name, listed in group.commands.items():
        command = listed.load() if isinstance(listed, Later) else listed
        if isinstance(command, click.Group):
            yield from _commands(command, *words, name)
        else:
            yield " ".join((*words, name)), command


COMMANDS = dict(_commands(gateway))


@pytest.mark.parametrize("name", COMMANDS)
def test_its_example_is_one_that_it_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for file in ("facts.toml", "page.toml", "receipt.txt"):
        (tmp_path / file).write_text("")
    command = COMMANDS[name]
    said, _, example = (command.epilog or "").partition(": ")
    words = shlex.split(example.partition(" > ")[0])
    count = 1 + len(name.split())
    assert (said, words[:count]) == ("Example", ["gateway", *name.split()])
    command.make_context(name, words[count:])


@pytest.mark.parametrize("name", ["dev", "credits grant", "credits take"])
def test_what_is_not_plain_from_its_name_is_described(name: str):
    told = {one.name: getattr(one, "help", None) for one in COMMANDS[name].params}
    for known in ("data", "dollars", "grant"):
        assert told.get(known, "described")


def test_a_column_of_dollars_is_not_called_nanos(capsys: pytest.CaptureFixture[str]):
    class Row(msgspec.Struct):
        id: str
        available_nanos: int
        created_at: None = None

    show([Row("a", 250_000_000), Row("longer", 8)], as_json=False, title="rows")
    assert capsys.readouterr().out.splitlines() == [
        "rows",
        "id      available     created at",
        "a       $0.25         -",
        "longer  $0.000000008  -",
    ]
    show([Row("a", 250_000_000)], as_json=True)
    assert '"available_nanos":250000000' in capsys.readouterr().out
