"""Commands of the market: what is wanted, edits of models, prices to come, and who may."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from testing.gateways import MODEL, STELLA
from tests.cli.test_cli import Shell

pytestmark = pytest.mark.sqlite


@pytest.fixture
def shell(database_url: str) -> Shell:
    return Shell(database_url)


def test_a_model_is_edited_and_compared_with_its_file(shell: Shell, tmp_path: Path):
    facts = tmp_path / "facts.toml"
    facts.write_text(shell.run("models", "show", STELLA).replace('"MIT"', '"MIT-0"'))
    assert shell.json("models", "diff") == []
    shell.run("models", "edit", STELLA, "--facts", str(facts), "--reason", "a new license")
    (found,) = shell.json("models", "diff", STELLA)
    assert (found["field"], found["file"], found["now"]) == ("license", "MIT", "MIT-0")
    shell.run("migrate")  # a deployment reads the data file again
    assert shell.json("models", "diff", STELLA) == [found]

    page = tmp_path / "page.toml"
    page.write_text(shell.run("models", "show", STELLA, "--page").replace(STELLA, "acme/new"))
    shell.run(
        "models", "add", "acme/new", "--facts", str(facts), "--page", str(page), "--price", "0.01",
        "--reason", "asked for",
    )  # fmt: skip
    assert "acme/new  coming_soon  $0.01" in shell.run("models", "list")
    shell.run("models", "state", "acme/new", "retired", "--reason", "a mistake")
    assert "can't go from retired to live" in shell.run(
        "models", "state", "acme/new", "live", "--reason", "x", status=1
    )


def test_the_catalog_is_checked(shell: Shell, tmp_path: Path):
    assert "reviewed words and sourced facts" in shell.run("models", "check")
    facts, page = tmp_path / "facts.toml", tmp_path / "page.toml"
    facts.write_text(shell.run("models", "show", STELLA))
    page.write_text(shell.run("models", "show", STELLA, "--page").replace(STELLA, "acme/new"))
    shell.run(
        "models", "add", "acme/new", "--facts", str(facts), "--page", str(page), "--price", "0.01",
        "--reason", "asked for",
    )  # fmt: skip
    assert shell.json("models", "check") == []


def test_a_price_from_a_day_on_and_called_off(shell: Shell):
    day = f"{datetime.now(UTC) + timedelta(days=40):%Y-%m-%d}"
    said = shell.run("models", "price", MODEL, "0.009", "--from", day)
    change = said.rsplit(" ", 1)[1].strip().rstrip(".")
    assert "0 organizations" in shell.run("models", "price-effect", MODEL, "0.009")
    shell.run("models", "cancel-price", change, "--reason", "not now")
    assert "no scheduled price" in shell.run(
        "models", "cancel-price", change, "--reason", "x", status=1
    )


def test_what_is_wanted_is_listed(shell: Shell):
    by_id = {wanted["model_id"]: wanted for wanted in shell.json("demand", "list")}
    assert (by_id[STELLA]["votes"], by_id[STELLA]["pays"]) == (0, False)
    assert MODEL not in by_id  # it is live
    assert shell.json("demand", "votes", STELLA) == []
    assert shell.json("waitlist", "list", "--model", STELLA) == []
    assert "There is no vote" in shell.run(
        "demand", "set-aside", "nonsense", "--reason", "x", status=1
    )
    preview = shell.json("launches", "preview", STELLA)
    assert (preview["audience"]["recipients"], preview["readiness"]["ready"]) == (0, [])
    assert shell.json("launches", "list") == []
    for way in ("pause", "resume"):
        assert "was not launched" in shell.run("launches", way, STELLA, "--reason", "x", status=1)


def test_a_role_holds_for_commands_too(shell: Shell):
    shell.run("operators", "add", "ops@example.com", "--role", "owner")
    as_ops = ("--as", "ops@example.com", "--reason", "cheaper")
    shell.run("operators", "add", "reads@example.com", "--role", "read", *as_ops)
    assert "Say who acts" in shell.run("models", "price", MODEL, "0.001", status=1)
    for words in (
        ("models", "price", MODEL, "0.001"),
        ("models", "state", MODEL, "retired"),
        ("models", "launch", STELLA),
        ("launches", "pause", STELLA),
        ("demand", "set-aside", "nonsense"),
    ):
        refused = shell.run(*words, "--reason", "x", "--as", "reads@example.com", status=1)
        assert "does not allow this" in refused, words
    shell.run("models", "price", MODEL, "0.007", *as_ops)
    listed = json.loads(shell.run("trail", "list", "--json"))
    assert "price.set" in {entry["action"] for entry in listed}
