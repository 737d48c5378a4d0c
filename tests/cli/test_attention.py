"""`gateway attention` and `gateway search`: the same needs, snoozes and hits as the pages have."""

import pytest
from sqlalchemy import update

from gateway.storage.tables import accounts
from tests.cli.test_cli import Shell


@pytest.fixture
def shell(database_url: str) -> Shell:
    return Shell(database_url)


@pytest.mark.sqlite
def test_a_need_is_listed_put_off_and_shown_again(shell: Shell):
    acme = shell.json("organizations", "create", "Acme")["id"]
    assert shell.json("attention", "list") == []
    shell.tamper(update(accounts).values(owed_nanos=1_500_000_000))
    key = f"owing:{acme}"
    (need,) = shell.json("attention", "list")
    assert (need["key"], need["subject"], need["until"]) == (key, "Acme", None)

    assert "Say why it can wait" in shell.run("attention", "snooze", key, status=1)
    assert "is snoozed until" in shell.run("attention", "snooze", key, "--reason", "pays tomorrow")
    (need,) = shell.json("attention", "list")
    assert need["until"]
    assert "is shown again" in shell.run("attention", "unsnooze", key)
    assert "was not snoozed" in shell.run("attention", "unsnooze", key)
    said = shell.run("attention", "snooze", "owing:x", "--reason", "why", status=1)
    assert "Nothing needs attention as 'owing:x'" in said
    entries = shell.json("trail", "list")
    assert [entry["action"] for entry in entries][:2] == ["need.unsnoozed", "need.snoozed"]


@pytest.mark.sqlite
def test_search(shell: Shell):
    acme = shell.json("organizations", "create", "Acme")["id"]
    (hit,) = shell.json("search", "acm")
    assert (hit["kind"], hit["id"]) == ("organization", acme)
    assert "No hits." in shell.run("search", "nothing of that name")
