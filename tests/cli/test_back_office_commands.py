"""Each action of the back office has a command that obeys the same role and needs a reason."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import rich_click as click
from click.testing import CliRunner
from sqlalchemy import select

from gateway.cli.lazy import Later
from gateway.cli.main import gateway
from gateway.control_plane.accounts import memberships, organizations
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.back_office import approvals
from gateway.control_plane.back_office.acting import NoReasonGiven
from gateway.control_plane.back_office.orders import GrantOrder
from gateway.control_plane.back_office.snoozes import CannotSnooze
from gateway.control_plane.operators.operators import NotPermitted
from gateway.control_plane.pages.admin.routes import admin_wing
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.storage.database import Database
from gateway.storage.tables import outbox, trail_entries, users
from testing.gateways import SECRET
from testing.mailbox import put_mail
from testing.operators import make_operator
from testing.payments import Payment
from testing.workers import a_view, report
from tests.control_plane.conftest import STELLA

_ONE = "/admin/organizations/{organization_id:str}"
_MODEL = "/admin/models/{owner:str}/{name:str}"
_LAUNCH = "/admin/launches/{owner:str}/{name:str}"
_OPERATOR = "/admin/operators/{user_id:str}"

COMMANDS_OF = {
    f"{_ONE}/grant": "credits grant",
    f"{_ONE}/take": "credits take",
    f"{_ONE}/refund": "billing refund",
    f"{_ONE}/undo": "credits undo",
    f"{_ONE}/suspend": "credits freeze",
    f"{_ONE}/unsuspend": "credits unfreeze",
    f"{_ONE}/release": "billing release",
    f"{_ONE}/top-up-off": "billing auto-top-up",
    f"{_ONE}/reconcile": "billing reconcile",
    f"{_ONE}/seen": "billing seen",
    f"{_ONE}/abandon": "billing abandon",
    f"{_ONE}/revoke": "keys revoke",
    f"{_ONE}/budget": "keys budget",
    f"{_ONE}/requests": "organizations limit",
    f"{_ONE}/resend": "mail retry",
    f"{_ONE}/note": "organizations note",
    "/admin/approvals/{order_id:str}/approve": "credits approve",
    "/admin/approvals/{order_id:str}/reject": "credits reject",
    "/admin/bulk/do": "keys revoke|mail retry|events replay|demand set-aside|demand restore",
    "/admin/mail/{mail_id:str}/resend": "mail retry",
    "/admin/events/{event_id:str}/replay": "events replay",
    "/admin/incidents/{incident_id:str}/post": "incidents post",
    "/admin/incidents/{incident_id:str}/correct": "incidents correct",
    "/admin/snooze": "attention snooze",
    "/admin/snooze/end": "attention unsnooze",
    "/admin/workers/{action:str}": "workers drain|workers undrain|workers check",
    _LAUNCH: "models launch",
    f"{_LAUNCH}/pause": "launches pause",
    f"{_LAUNCH}/resume": "launches resume",
    "/admin/models/new": "models add",
    f"{_MODEL}/edit": "models edit",
    f"{_MODEL}/state": "models state",
    f"{_MODEL}/price": "models price",
    f"{_MODEL}/price/cancel": "models cancel-price",
    "/admin/operators": "operators add",
    f"{_OPERATOR}/role": "operators role",
    f"{_OPERATOR}/reset": "operators reset",
    f"{_OPERATOR}/remove": "operators remove",
}
OF_BROWSERS = {
    "/admin/bulk": "shows what was selected",
    "/admin/search": "searches",
    "/admin/filters": "keeps a filter of one's own",
    "/admin/filters/{filter_id:str}/remove": "and removes it",
    f"{_ONE}/view": "lends a view to a session",
}
OF_COMMANDS = {
    "billing checkout": "makes the address where a customer pays",
    "keys create": "shows a secret, which customers have made for them in the console",
    "keys rotate": "shows a secret, which customers have made for them in the console",
    "keys mac rotate": "is about the service's own secrets",
    "keys mac drop": "and takes one away that leaked",
    "organizations create": "for who does not sign up",
    "workers pin": "asks the worker from where the command runs",
    "export": "writes a file where the command runs",
    "import": "and reads one",
    "move": "reads a whole database",
    "secrets retire": "is about the service's own secrets",
}
WITHOUT_REASON = {"attention unsnooze", "credits approve", "organizations note"}
READING = {
    "attention list", "attention rules", "audit", "billing attention", "billing evidence",
    "billing payments", "books", "check", "credits approvals", "credits balance", "credits ledger",
    "demand asked", "demand list", "demand votes", "estimate", "events list", "incidents list",
    "incidents show", "keys list", "keys mac list", "launches list", "launches preview",
    "launches show", "mail list", "models check", "models demand", "models diff", "models list",
    "models price-effect", "models show", "operators list", "organizations list", "receipts verify",
    "search", "secrets generate", "secrets keys", "secrets status", "settings", "trail list",
    "trail verify", "waitlist list", "workers key", "workers list",
}  # fmt: skip
RUNNING = {"dev", "run", "migrate", "secrets reseal"}
"""What sets the machine up, and asks no operator."""


def _commands(group: click.Group, *words: str) -> Iterator[tuple[str, click.Command]]:
    for name, listed in group.commands.items():
        command = listed.load() if isinstance(listed, Later) else listed
        if isinstance(command, click.Group):
            yield from _commands(command, *words, name)
        else:
            yield " ".join((*words, name)), command


COMMANDS = dict(_commands(gateway))


def test_each_action_has_a_command_and_each_command_an_action():
    (pages, *_) = admin_wing().handlers
    posted = {route.path for route in pages.routes if "POST" in route.methods}
    assert posted == COMMANDS_OF.keys() | OF_BROWSERS.keys()
    of_actions = {name for names in COMMANDS_OF.values() for name in names.split("|")}
    acting = {name for name, one in COMMANDS.items() if any(p.name == "acting" for p in one.params)}
    assert acting == of_actions | OF_COMMANDS.keys()
    assert COMMANDS.keys() - acting == READING | RUNNING


def test_all_but_a_few_take_a_reason():
    for name in COMMANDS.keys() - READING - RUNNING:
        takes = any(one.name == "reason" for one in COMMANDS[name].params)
        assert takes == (name not in WITHOUT_REASON), name


@pytest.fixture(scope="module")
def told(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """A database with two operators, and what each command is given there."""
    path = tmp_path_factory.mktemp("commands") / "gateway.db"
    path.write_bytes(sqlite_template.read_bytes())
    return {
        "url": [f"sqlite:///{path}"],
        **asyncio.run(_prepared(f"sqlite:///{path}", path.parent)),
    }


async def _prepared(url: str, folder: Path) -> dict[str, list[str]]:
    database = Database(url)
    ops = await make_operator(database, "ops@example.com", "owner")
    await make_operator(database, "reader@example.com", "read")
    async with database.write() as connection:
        owner = (await organizations.create(connection, "acme")).id
    key = (await ApiKeys(database, secret=Keyring(SECRET)).create(owner, "laptop")).key.id
    payment = (await Payment.create(database, owner, cents=500)).id
    await report(database, STELLA, a_view("http://10.0.0.1:1"))
    mail, order = await put_mail(database), new_id()
    async with database.write() as connection:
        grant = GrantOrder(organization_id=owner, amount_nanos=10**9, source_ref="x")
        await approvals.add(connection, order, grant, ops, amount_nanos=10**9, state="waiting")
    await database.close()
    text = folder / "empty.toml"
    text.write_text("")
    return {
        "credits grant": [owner, "1"], "credits take": [owner, new_id(), "1"],
        "credits undo": [owner, "1"], "credits freeze": [owner], "credits unfreeze": [owner],
        "credits approve": [order], "credits reject": [order], "billing refund": [payment, "1"],
        "billing release": [owner], "billing auto-top-up": [owner, "--off"],
        "billing reconcile": [payment], "billing seen": [payment], "billing abandon": [payment],
        "billing checkout": [owner, "10"], "keys revoke": [key], "keys budget": [key, "1"],
        "keys create": [owner], "keys rotate": [key], "keys mac rotate": [],
        "keys mac drop": [new_id()],
        "mail retry": [mail], "organizations note": [owner, "words"],
        "organizations limit": [owner, "9"], "organizations create": ["another"],
        "events replay": ["evt_1"], "attention snooze": ["mail-failed"],
        "attention unsnooze": ["mail-failed"], "demand set-aside": [new_id()],
        "demand restore": [new_id()], "workers drain": ["http://10.0.0.1:1"],
        "workers undrain": ["http://10.0.0.1:1"], "workers check": ["http://10.0.0.1:1"],
        "workers pin": [STELLA, "http://10.0.0.1:1"], "models launch": [STELLA],
        "launches pause": [STELLA], "launches resume": [STELLA],
        "models add": ["a/b", "--facts", str(text), "--page", str(text), "--price", "1"],
        "models edit": [STELLA], "models state": [STELLA, "retired"],
        "models price": [STELLA, "1"], "models cancel-price": [new_id()],
        "operators add": ["new@example.com", "--role", "read"],
        "operators role": ["ops@example.com", "read"], "operators reset": ["ops@example.com"],
        "operators remove": ["ops@example.com"], "secrets retire": ["3f2a9c017b44"],
        "incidents post": [new_id(), "--title", "A full disk", "--words", "It is replaced."],
        "incidents correct": [new_id(), "--title", "A full disk", "--words", "It is replaced."],
        "export": [owner, str(folder / "acme.jsonl.gz")],
    }  # fmt: skip


def _run(told: dict[str, list[str]], name: str, *words: str) -> BaseException | None:
    environment = {
        "GATEWAY_SECRET": SECRET,
        "DATABASE_URL": told["url"][0],
        "GATEWAY_STRIPE_SECRET_KEY": "sk_test_x",
        "GATEWAY_STRIPE_API_URL": "http://127.0.0.1:9",  # nobody listens
    }
    given = [*name.split(), *told[name], *words]
    return CliRunner().invoke(gateway, given, env=environment).exception


# they need a file: tests/cli/test_transfers.py and test_relocation.py have one
FROM_FILES = {"import", "move"}


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - READING - RUNNING - FROM_FILES))
def test_it_obeys_the_role_and_needs_a_reason(told: dict[str, list[str]], name: str):
    because = [] if name in WITHOUT_REASON else ["--reason", "why"]
    refused = _run(told, name, "--as", "reader@example.com", *because)
    assert isinstance(refused, NotPermitted), refused
    if because:
        silent = _run(told, name, "--as", "ops@example.com", "--reason", " ")
        assert isinstance(silent, NoReasonGiven | CannotSnooze), silent
    assert asyncio.run(_recorded(told["url"][0])) == 0


async def _recorded(url: str) -> int:
    database = Database(url)
    async with database.read() as connection:
        found = (await connection.execute(select(trail_entries.c.number))).all()
        assert len((await connection.execute(select(users.c.id))).all()) == 2
    await database.close()
    return len(found)


def test_a_key_that_a_command_makes_is_told_to_the_owners(sqlite_database_url: list[str]):
    organization_id = asyncio.run(_owned(sqlite_database_url[0]))
    told = {"url": sqlite_database_url, "keys create": [organization_id]}
    assert _run(told, "keys create", "--as", "ops@example.com", "--reason", "asked for") is None
    assert asyncio.run(_mailed(sqlite_database_url[0])) == [("security", "ops@example.com")]


async def _owned(url: str) -> str:
    database = Database(url)
    ops = await make_operator(database, "ops@example.com", "owner")
    async with database.write() as connection:
        owner = await organizations.create(connection, "acme")
        assert ops.user_id
        await memberships.add(connection, ops.user_id, owner.id, "owner")
    await database.close()
    return owner.id


async def _mailed(url: str) -> list[tuple[str, str]]:
    database = Database(url)
    async with database.read() as connection:
        found = await connection.execute(select(outbox.c.kind, outbox.c.recipient))
        mails = [tuple(row) for row in found]
    await database.close()
    return mails
