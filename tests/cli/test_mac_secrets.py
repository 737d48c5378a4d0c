"""`gateway keys mac`: the set of secrets is listed, grows, and loses one that leaked."""

import json

import pytest

from tests.cli.test_cli import Shell

pytestmark = pytest.mark.sqlite


@pytest.fixture
def shell(database_url: str) -> Shell:
    return Shell(database_url)


def test_the_set_rotates_and_what_leaked_is_dropped(shell: Shell):
    def listed() -> list[dict]:
        return json.loads(shell.run("keys", "mac", "list", "--json"))

    shell.run("organizations", "create", "Acme")
    made = json.loads(shell.run("keys", "create", "Acme", "--json"))
    (first,) = listed()
    assert first["keys"] == 1
    assert "signs keys from" in shell.run("keys", "mac", "rotate")
    assert [secret["keys"] for secret in listed()] == [0, 1]
    shell.run("keys", "mac", "drop", first["id"])
    assert [secret["id"] == first["id"] for secret in listed()] == [False]
    assert "no secret" in shell.run("keys", "mac", "drop", first["id"], status=1)
    (key,) = json.loads(shell.run("keys", "list", "--json"))
    assert (key["id"], key["revoked_at"]) == (made["id"], None)
    actions = [entry["action"] for entry in json.loads(shell.run("trail", "list", "--json"))]
    assert {"mac_secret.added", "mac_secret.dropped"} <= set(actions)
