"""`gateway trail` and `gateway audit`: the trail is read, and a row that was changed is found."""

import asyncio
import json

import pytest

from gateway.control_plane.trail import entries
from gateway.control_plane.trail.entries import SYSTEM, Actor, Personal
from gateway.storage.database import Database
from testing.tampering import tamper
from tests.cli.test_cli import Shell


@pytest.fixture
def shell(database_url: str) -> Shell:
    return Shell(database_url)


def recorded(shell: Shell, organization_id: str) -> None:
    """Record what a member, a job and an operator did."""
    said = (
        (Actor(kind="member", origin="203.0.113.7"), "key.created", {"name": Personal("ci")}),
        (SYSTEM, "account.frozen", {}),
        (Actor(kind="operator"), "credit.granted", {"nanos": 5_000}),
    )

    async def record() -> None:
        database = Database(shell.environment["DATABASE_URL"])
        for actor, action, after in said:
            async with database.write() as connection:
                await entries.record(
                    connection,
                    actor,
                    action,
                    f"organization:{organization_id}",
                    organization_id=organization_id if actor.kind == "member" else None,
                    before={"nanos": 1} if after else {},
                    after=after,
                    reason="why not",
                )
        await database.close()

    asyncio.run(record())


def changed(shell: Shell, statement: str) -> None:
    async def change() -> None:
        database = Database(shell.environment["DATABASE_URL"])
        async with database.write() as connection:
            await tamper(connection, statement)
        await database.close()

    asyncio.run(change())


def test_the_trail_is_listed_and_searched(shell: Shell):
    acme = shell.json("organizations", "create", "Acme")["id"]
    recorded(shell, acme)
    said = shell.run("trail", "list", "--limit", "1")
    assert "credit.granted" in said
    assert "nanos: 1 → 5000" in said
    assert "(why not)" in said
    assert "key.created" not in said

    def numbers(*words: str) -> list[int]:
        return [
            entry["number"] for entry in json.loads(shell.run("trail", "list", "--json", *words))
        ]

    assert numbers() == [4, 3, 2, 1]
    assert numbers("--before", "3") == [2, 1]
    assert numbers("--organization", "Acme") == [2, 1]
    assert numbers("--action", "key") == [2]
    assert numbers("--action", "credit.granted") == [4]
    assert numbers("--action", "cred") == []
    assert numbers("--subject", f"organization:{acme}") == [4, 3, 2, 1]
    assert numbers("--actor", "nobody@example.com") == []
    assert numbers("--since", "2026-01-01") == [4, 3, 2, 1]
    assert numbers("--until", "2026-01-01") == []
    assert numbers("--since", "2100-01-01") == []
    [made] = json.loads(shell.run("trail", "list", "--json", "--action", "key"))
    assert (made["origin"], made["after"], made["reason"]) == (
        "203.0.113.7",
        {"name": "ci"},
        "why not",
    )


def test_a_changed_entry_is_found(shell: Shell):
    recorded(shell, shell.json("organizations", "create", "Acme")["id"])
    head = json.loads(shell.run("trail", "verify", "--json"))
    known = f"{head['number']}:{head['hash']}"
    assert "trail-has-the-known-hash: ok" in shell.run("trail", "verify", "--known", known)
    wrong = f"2:{head['hash']}"
    said = shell.run("trail", "verify", "--known", wrong, status=1)
    assert "trail-has-the-known-hash: BROKEN" in said
    assert "--known must be" in shell.run("trail", "verify", "--known", "nonsense", status=1)
    assert shell.json("audit") == []

    changed(shell, "UPDATE trail_entries SET action = 'key.revoked' WHERE number = 1")
    assert "trail-is-a-chain: BROKEN by 1" in shell.run("audit", status=1)
    assert "trail-is-a-chain: BROKEN by 1" in shell.run("trail", "verify", status=1)


def test_a_changed_entry_of_the_ledger_is_found(shell: Shell):
    acme = shell.json("organizations", "create", "Acme")["id"]
    shell.run("credits", "grant", "Acme", "1")
    assert shell.json("audit") == []
    changed(shell, "UPDATE ledger_entries SET amount_nanos = amount_nanos + 1")
    assert f"balance-equals-ledger: BROKEN by {acme}" in shell.run("audit", status=1)
