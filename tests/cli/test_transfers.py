"""`gateway export` and `gateway import`, as an operator uses them."""

import shutil
from pathlib import Path

import pytest

from tests.cli.test_cli import Shell

pytestmark = pytest.mark.sqlite


@pytest.fixture
def source(sqlite_database_url: list[str]) -> Shell:
    shell = Shell(sqlite_database_url[0])
    shell.run("organizations", "create", "Acme")
    shell.run("credits", "grant", "Acme", "5", "--ref", "acme-1")
    shell.run("keys", "create", "Acme")
    return shell


@pytest.fixture
def target(sqlite_template: Path, tmp_path: Path) -> Shell:
    return Shell(f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'target.db')}")


def test_credit_is_in_one_place(source: Shell, target: Shell, tmp_path: Path):
    file = str(tmp_path / "acme.jsonl.gz")
    assert "Suspend it first" in source.run("export", "Acme", file, status=1)
    source.run("credits", "freeze", "Acme", "--reason", "it moves")
    assert "$5.00 of credit" in source.run("export", "Acme", file)
    assert Path(file).stat().st_mode & 0o777 == 0o600
    assert "$0.00 available" in source.run("credits", "balance", "Acme")
    assert "already exists" in source.run("export", "Acme", file, status=1)
    missing = str(tmp_path / "none" / "acme.jsonl.gz")
    assert "can't be written" in source.run("export", "Acme", missing, status=1)
    said = target.run("import", file)
    assert "continues here with $5.00, 0 members and 1 keys" in said
    assert "$5.00 available" in target.run("credits", "balance", "Acme")
    assert "nothing changed" in target.run("import", file)
    for shell, action in ((source, "organization.exported"), (target, "organization.imported")):
        assert action in shell.run("trail", "list")
        shell.run("audit")


def test_another_secret_brings_no_keys(source: Shell, target: Shell, tmp_path: Path):
    file = str(tmp_path / "acme.jsonl.gz")
    source.run("credits", "freeze", "Acme", "--reason", "it moves")
    source.run("export", "Acme", file)
    target.environment["GATEWAY_SECRET"] = "another secret, which is long enough too"
    assert "another GATEWAY_SECRET" in target.run("import", file, status=1)
    assert "all of them revoked" in target.run("import", file, "--without-keys")
    assert "can't be read" in target.run("import", str(tmp_path / "none"), status=1)


def test_keys_under_a_secret_that_no_gateway_has_are_told(
    source: Shell, target: Shell, tmp_path: Path
):
    file = str(tmp_path / "acme.jsonl.gz")
    source.run("credits", "freeze", "Acme", "--reason", "it moves")
    source.run("export", "Acme", file)
    theirs = source.environment["GATEWAY_SECRET"]
    target.environment["GATEWAY_SECRET"] = "another secret, which is long enough too"
    target.run("organizations", "create", "Else")
    target.run("keys", "create", "Else")  # notes which secret the database is used with
    target.environment["GATEWAY_SECRET"] += f"\n{theirs}"
    assert "1 API key is under the secret" in (said := target.run("import", file))
    assert "no gateway has started with" in said
    assert "no gateway has started with" in target.run("check", status=1)


def test_who_may_not_move_money_imports_nothing(source: Shell, target: Shell, tmp_path: Path):
    file = str(tmp_path / "acme.jsonl.gz")
    source.run("credits", "freeze", "Acme", "--reason", "it moves")
    source.run("export", "Acme", file)
    target.run("operators", "add", "boss@example.com", "--role", "owner")
    boss = ("--as", "boss@example.com", "--reason")
    target.run("operators", "add", "eve@example.com", "--role", "support", *boss, "helps")
    assert "Say who acts" in target.run("import", file, status=1)
    target.run("import", file, "--as", "eve@example.com", "--reason", "why", status=1)
    target.run("import", file, *boss, " ", status=1)
    assert "Acme" not in target.run("organizations", "list")
    assert "continues here" in target.run("import", file, *boss, "came from Dublin")
