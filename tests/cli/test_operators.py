"""`gateway operators`: who runs the service, told on the command line and in the trail."""

import asyncio
import re

import pytest
from sqlalchemy import select

from gateway.control_plane.accounts import enrollments
from gateway.storage.database import Database
from gateway.storage.tables import trail_entries
from tests.cli.test_cli import Shell

EVE, BOB = "eve@example.com", "bob@example.com"


@pytest.fixture
def shell(sqlite_database_url: list[str]) -> Shell:
    return Shell(sqlite_database_url[0])


def trail(shell: Shell) -> list[tuple[str, str]]:
    async def read() -> list[tuple[str, str]]:
        database = Database(shell.environment["DATABASE_URL"])
        query = select(trail_entries.c.action, trail_entries.c.actor_kind)
        async with database.read() as connection:
            found = (await connection.execute(query.order_by(trail_entries.c.number))).all()
        await database.close()
        return [(row.action, row.actor_kind) for row in found]

    return asyncio.run(read())


def test_from_the_first_owner_to_a_lost_phone(shell: Shell):
    assert "must be an owner" in shell.run("operators", "add", BOB, "--role", "support", status=1)
    said = shell.run("operators", "add", EVE, "--role", "owner")
    assert re.search(r"http://127\.0\.0\.1:8080/admin/enroll\?token=[\w-]{43}\n", said)

    # from now on each command names who acts, and obeys their role
    assert "--as ADDRESS" in shell.run("operators", "add", BOB, "--role", "read", status=1)
    shell.run("operators", "add", BOB, "--role", "read", "--as", EVE, "--reason", "on call")
    assert "already" in shell.run(
        "operators", "add", BOB, "--role", "read", "--as", EVE, "--reason", "x", status=1
    )
    assert "read, does not allow" in shell.run(
        "operators", "role", BOB, "owner", "--as", BOB, "--reason", "x", status=1
    )
    assert "not an operator" in shell.run(
        "operators", "reset", "ada@example.com", "--as", EVE, "--reason", "x", status=1
    )

    shell.run("operators", "role", BOB, "finance", "--as", EVE, "--reason", "x")
    listed = [(one["email"], one["role"]) for one in shell.json("operators", "list")]
    assert listed == [(EVE, "owner"), (BOB, "finance")]

    assert "/admin/enroll?token=" in shell.run(
        "operators", "reset", BOB, "--as", EVE, "--reason", "x"
    )
    shell.run("operators", "remove", BOB, "--as", EVE, "--reason", "x")
    assert len(shell.json("operators", "list")) == 1
    assert trail(shell) == [
        ("operator.added", "command"),
        ("operator.added", "operator"),
        ("operator.role_changed", "operator"),
        ("operator.reset", "operator"),
        ("operator.removed", "operator"),
    ]


def test_the_last_owner_stays(shell: Shell):
    shell.run("operators", "add", EVE, "--role", "owner")
    shell.run("operators", "add", BOB, "--role", "operator", "--as", EVE, "--reason", "x")
    for words in (["remove", EVE], ["role", EVE, "read"]):
        said = shell.run("operators", *words, "--as", EVE, "--reason", "x", status=1)
        assert "someone else an owner first" in said
    shell.run("operators", "role", BOB, "owner", "--as", EVE, "--reason", "x")
    shell.run("operators", "remove", EVE, "--as", EVE, "--reason", "x")


def test_an_enrollment_opens_once_for_its_operator(shell: Shell):
    said = shell.run("operators", "add", EVE, "--role", "owner")
    first = said.partition("token=")[2].split()[0]
    second = (
        shell.run("operators", "reset", EVE, "--as", EVE, "--reason", "x")
        .partition("token=")[2]
        .split()[0]
    )
    user_id = shell.json("operators", "list")[0]["user_id"]

    async def use() -> list[bool]:
        database = Database(shell.environment["DATABASE_URL"])
        async with database.write() as connection:
            opens = [await enrollments.is_open(connection, token) for token in (first, second)]
            await enrollments.use(connection, second, user_id)
            opens.append(await enrollments.is_open(connection, second))
        await database.close()
        return opens

    assert asyncio.run(use()) == [False, True, False]
