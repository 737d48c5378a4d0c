"""An organization leaves one deployment and goes on in another, to the nano-dollar, and once."""

import gzip
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from sqlalchemy import Table, delete, insert, select, update

from gateway.control_plane.operators.operators import COMMAND_LINE
from gateway.control_plane.transfers import closing, exports, imports, organization_file
from gateway.control_plane.transfers.arrival import MemberIsAnother, TakenHere
from gateway.control_plane.transfers.closing import NotClosable
from gateway.control_plane.transfers.organization_file import FileFooter, UnreadableFile
from gateway.control_plane.transfers.parts import KEY_PEOPLE, PARTS
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.storage import tables
from gateway.storage.database import Database
from gateway.storage.ledger import books, freezes, grants, invariants
from gateway.storage.tables import (
    accounts,
    api_keys,
    credit_lots,
    memberships,
    payments,
    usage_hours,
    users,
    webhook_endpoints,
)
from gateway.wall import now
from testing import every_table
from testing.gateways import MODEL, SECRET, Ledger, open_api
from testing.processes import Process

OTHER_SECRET = "another secret, which is long enough too"


class Deployments(NamedTuple):
    """The one that an organization leaves, and the one where it goes on."""

    source: Database
    target: Database
    path: Path

    async def filled(self) -> str:
        """Fill the source, and suspend its organization; return the organization's id."""
        filled = await every_table.fill(self.source)
        async with self.source.write() as connection:
            member = await connection.scalar(select(memberships.c.user_id))
            people = dict.fromkeys(KEY_PEOPLE, member)
            await connection.execute(update(api_keys).values(people))
        await self.suspend(filled.customer.organization_id)
        return filled.customer.organization_id

    async def suspend(self, organization_id: str) -> None:
        async with self.source.write() as connection:
            await freezes.freeze(connection, organization_id, "operator", reason="it moves")

    async def close(self, organization_id: str) -> closing.ClosedOrganization:
        async with self.source.write() as connection:
            return await closing.close(connection, COMMAND_LINE, organization_id, reason="")

    async def export(self, organization_id: str) -> FileFooter:
        closed = await self.close(organization_id)
        return await exports.write(
            self.source, organization_id, closed, self.path, secret=Keyring(SECRET)
        )

    async def bring_in(self, *, secret: str = SECRET, joins_members: bool = False) -> bool:
        header, footer, ours = organization_file.checked(self.path, Keyring(secret))
        async with self.target.write() as connection:
            return await imports.bring_in(
                connection,
                COMMAND_LINE,
                self.path,
                header,
                footer,
                has_keys=ours,
                joins_members=joins_members,
                reason="",
            )


@pytest.fixture(params=["to PostgreSQL", "to SQLite"])
async def moving(
    request: pytest.FixtureRequest,
    sqlite_database_url: list[str],
    postgresql_database_url: list[str],
    tmp_path: Path,
) -> AsyncIterator[Deployments]:
    one, other = Database(sqlite_database_url[0]), Database(postgresql_database_url[0])
    source, target = (one, other) if request.param == "to PostgreSQL" else (other, one)
    yield Deployments(source, target, tmp_path / "acme.jsonl.gz")
    await one.close()
    await other.close()


@pytest.fixture
async def deployments(
    sqlite_database_url: list[str], sqlite_template: Path, tmp_path: Path
) -> AsyncIterator[Deployments]:
    """Both on SQLite, where the kind of database makes no difference."""
    source = Database(sqlite_database_url[0])
    target = Database(f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'target.db')}")
    yield Deployments(source, target, tmp_path / "acme.jsonl.gz")
    await source.close()
    await target.close()


async def rows_of(database: Database, table: Table) -> list[dict[str, Any]]:
    names = PARTS[table]
    async with database.read() as connection:
        found = await connection.execute(select(*(table.c[name] for name in names)))
        return sorted((dict(row) for row in found.mappings()), key=str)


async def platform(database: Database) -> dict[str, int]:
    async with database.read() as connection:
        return await books.balances(connection)


async def audited(database: Database) -> None:
    async with database.read() as connection:
        assert await invariants.audit(connection) == []


async def test_everything_goes_on_elsewhere(moving: Deployments):
    organization_id = await moving.filled()
    before = {table: await rows_of(moving.source, table) for table in PARTS}
    booked = await platform(moving.source), await platform(moving.target)
    footer = await moving.export(organization_id)
    assert await moving.bring_in()
    assert all(footer.rows.values()), footer.rows
    for table, rows in before.items():
        arrived = await rows_of(moving.target, table)
        if table is api_keys:  # processes look for what changed
            assert all(row.pop("changed_at") for row in (*rows, *arrived))
            assert all(row[name] for row in rows for name in KEY_PEOPLE)
        assert arrived == rows, table.name
    await audited(moving.source)
    await audited(moving.target)
    async with moving.source.read() as connection:
        left = select(accounts.c.available_nanos).where(accounts.c.id == organization_id)
        assert await connection.scalar(left) == 0
        lots = select(credit_lots.c.id).where(credit_lots.c.remaining_nanos > 0)
        assert (await connection.scalars(lots)).all() == []
    moved = [
        {
            name: after[name] - then.get(name, 0)
            for name in after
            if after[name] != then.get(name, 0)
        }
        for after, then in zip(
            (await platform(moving.source), await platform(moving.target)), booked, strict=True
        )
    ]
    balance = int(footer.sums.balance_nanos)
    assert moved == [{"manual_adjustments": balance}, {"manual_adjustments": -balance}]
    assert await moving.bring_in() is False
    assert await platform(moving.target) == {"manual_adjustments": -balance}
    await operators_take_what_was_bought_elsewhere(moving.target, organization_id)
    await what_came_is_audited(moving.target)


async def operators_take_what_was_bought_elsewhere(target: Database, organization_id: str) -> None:
    """Its payment is not here, so it goes back by hand."""
    bought = select(credit_lots.c.id).where(credit_lots.c.source_ref.startswith("payment:"))
    async with target.write() as connection:
        lot_id = await connection.scalar(bought)
        await grants.take(connection, organization_id, lot_id, 1, reason="refunded elsewhere")
    await audited(target)


async def what_came_is_audited(target: Database) -> None:
    """Hours without requests, and lots without payments, are held against what the file said."""
    async with target.write() as connection:
        await connection.execute(
            update(usage_hours).values(charged_nanos=usage_hours.c.charged_nanos + 1)
        )
        await connection.execute(
            update(credit_lots).values(
                amount_nanos=credit_lots.c.amount_nanos + 1,
                burned_nanos=credit_lots.c.burned_nanos + 1,
            )
        )
    async with target.read() as connection:
        broken = {breach.invariant.name for breach in await invariants.audit(connection)}
    assert broken == {"imported-hours-are-what-came", "lots-equal-grants"}


async def test_the_same_key_pays_there(deployments: Deployments, fake_worker: Process):
    ledger = await Ledger.create(deployments.source, 1_000)
    await deployments.suspend(ledger.organization_id)
    await deployments.export(ledger.organization_id)
    await deployments.bring_in()
    async with open_api(str(deployments.target.url), f"{MODEL}={fake_worker.url}") as api:
        api.headers["authorization"] = f"Bearer {ledger.secret}"
        answer = await api.embed()
        assert answer.status_code == 200, answer.text
    await audited(deployments.target)


async def test_a_lost_file_is_written_again(deployments: Deployments):
    organization_id = await deployments.filled()
    first = await deployments.export(organization_id)
    content = deployments.path.read_bytes()
    deployments.path.unlink()
    assert await deployments.export(organization_id) == first
    assert deployments.path.read_bytes() == content


async def test_a_file_that_can_t_be_written_leaves_none(
    deployments: Deployments, monkeypatch: pytest.MonkeyPatch
):
    organization_id = await deployments.filled()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(organization_file.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            await deployments.export(organization_id)
    assert list(deployments.path.parent.glob("acme*")) == []
    await deployments.export(organization_id)


async def credited(deployments: Deployments, organization_id: str) -> None:
    await deployments.close(organization_id)
    async with deployments.source.write() as connection:
        await grants.grant(connection, organization_id, 5, kind="promo", source_ref="late")


async def unsuspended(deployments: Deployments, organization_id: str) -> None:
    async with deployments.source.write() as connection:
        frozen = tables.freezes.c.account_id == organization_id
        await connection.execute(delete(tables.freezes).where(frozen))


async def disputed(deployments: Deployments, organization_id: str) -> None:
    async with deployments.source.write() as connection:
        await freezes.freeze(connection, organization_id, "dispute", ref="1")


async def paying(deployments: Deployments, organization_id: str) -> None:
    async with deployments.source.write() as connection:
        own = payments.c.organization_id == organization_id
        await connection.execute(update(payments).where(own).values(state="processing"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (unsuspended, "Suspend it first"),
        (disputed, "another reason too: dispute"),
        (paying, "payments are open"),
        (credited, "credited \\$0.000000005 since"),
    ],
)
async def test_it_stays_until_all_is_settled(
    deployments: Deployments, change: Callable[..., Any], words: str
):
    organization_id = await deployments.filled()
    await change(deployments, organization_id)
    with pytest.raises(NotClosable, match=words):
        await deployments.export(organization_id)
    assert not deployments.path.exists()
    await audited(deployments.source)


async def test_credit_that_comes_between_the_closing_and_its_file_is_in_no_two_places(
    moving: Deployments,
):
    organization_id = await moving.filled()
    closed = await moving.close(organization_id)
    async with moving.source.write() as connection:
        await grants.grant(connection, organization_id, 5, kind="promo", source_ref="late")
    with pytest.raises(NotClosable, match=r"credited \$0\.000000005 since"):
        await exports.write(
            moving.source, organization_id, closed, moving.path, secret=Keyring(SECRET)
        )
    assert list(moving.path.parent.glob("acme*")) == []


async def test_it_stays_while_credit_is_leased(deployments: Deployments):
    filled = await every_table.Books.fill(deployments.source)  # with leases open
    await deployments.suspend(filled.customer.organization_id)
    with pytest.raises(NotClosable, match="hold some of its credit"):
        await deployments.close(filled.customer.organization_id)
    await filled.close()
    await deployments.close(filled.customer.organization_id)


async def test_what_is_here_as_something_else_is_not_replaced(deployments: Deployments):
    organization_id = await deployments.filled()
    await deployments.export(organization_id)
    (member,) = await rows_of(deployments.source, users)
    other = {"id": new_id(), "created_at": now(), "welcome": "granted"}
    async with deployments.target.write() as connection:
        await connection.execute(insert(users).values(email=member["email"], **other))
    with pytest.raises(MemberIsAnother, match="another user here"):
        await deployments.bring_in()
    async with deployments.target.write() as connection:
        await connection.execute(delete(users))
    assert await deployments.bring_in()
    await audited(deployments.target)


async def test_members_may_be_users_of_there(deployments: Deployments):
    organization_id = await deployments.filled()
    await deployments.export(organization_id)
    (member,) = await rows_of(deployments.source, users)
    here = new_id()
    async with deployments.target.write() as connection:
        await connection.execute(
            insert(users).values(
                id=here, email=member["email"], created_at=now(), welcome="granted"
            )
        )
    assert await deployments.bring_in(joins_members=True)
    async with deployments.target.read() as connection:
        assert await connection.scalar(select(memberships.c.user_id)) == here


async def test_an_organization_of_there_is_not_replaced(deployments: Deployments):
    organization_id = await deployments.filled()
    await deployments.export(organization_id)
    row = {"id": organization_id, "name": "Other", "created_at": now()}
    async with deployments.target.write() as connection:
        await connection.execute(insert(tables.organizations).values(row))
    with pytest.raises(TakenHere, match="not from this file"):
        await deployments.bring_in()


async def test_a_file_of_another_secret_brings_no_keys(deployments: Deployments):
    await deployments.export(await deployments.filled())
    assert await deployments.bring_in(secret=OTHER_SECRET)
    async with deployments.target.read() as connection:
        revoked = list(await connection.scalars(select(api_keys.c.revoked_at)))
        reasons = list(await connection.scalars(select(webhook_endpoints.c.disabled_reason)))
    assert revoked
    assert None not in revoked
    assert reasons == ["unreadable"]
    await audited(deployments.target)


def edited(path: Path, edit: Callable[[list[bytes]], list[bytes]]) -> None:
    with gzip.open(path) as file:
        lines = file.readlines()
    with gzip.open(path, "wb") as file:
        file.writelines(edit(lines))


def headed(**fields: Any) -> Callable[[list[bytes]], list[bytes]]:
    def edit(lines: list[bytes]) -> list[bytes]:
        first = msgspec.json.decode(lines[0]) | fields
        return [msgspec.json.encode(first) + b"\n", *lines[1:]]

    return edit


async def test_a_file_of_the_first_format_knows_no_rotators(deployments: Deployments):
    def first(lines: list[bytes]) -> list[bytes]:
        older = [msgspec.json.decode(line) for line in lines]
        for line in older:
            if line.get("table") == "api_keys":
                del line["row"]["rotated_by"], line["row"]["previous_rotated_by"]
        return resigned(headed(version=1)([msgspec.json.encode(line) + b"\n" for line in older]))

    await deployments.export(await deployments.filled())
    edited(deployments.path, first)
    assert await deployments.bring_in()
    async with deployments.target.read() as connection:
        (people,) = await connection.execute(select(*(api_keys.c[name] for name in KEY_PEOPLE)))
    assert people.created_by
    assert (people.rotated_by, people.previous_rotated_by) == (None, None)


EDITS: Sequence[tuple[Callable[[list[bytes]], list[bytes]], str]] = [
    (headed(version=3), "format 3, written from schema 00.*reads formats 1 to 2"),
    (headed(currency="EUR"), "nano-dollars of EUR"),
    (headed(format="a poem"), "not of an organization"),
    (headed(name="Other"), "cut or was changed"),
    (lambda lines: lines[:-1], "cut or was changed"),
    (lambda lines: [*lines[:5], *lines[6:]], "cut or was changed"),
    (lambda lines: [lines[0], b"x" * 70_000 + b"\n", *lines[1:]], "too long"),
    (lambda lines: [lines[0], b'{"table": "sessions", "row": {}}\n', *lines[1:]], "sessions"),
    (lambda lines: [lines[0], b'{"table": "users", "row": {}}\n', *lines[1:]], "other columns"),
    (lambda _: [], "cut or was changed"),
]


async def test_a_file_that_is_not_whole_changes_nothing(deployments: Deployments):
    await deployments.export(await deployments.filled())
    whole = deployments.path.read_bytes()
    for edit, words in EDITS:
        deployments.path.write_bytes(whole)
        edited(deployments.path, edit)
        with pytest.raises(UnreadableFile, match=words):
            await deployments.bring_in()
    deployments.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableFile, match="cut"):
        await deployments.bring_in()
    deployments.path.write_bytes(whole)
    assert await deployments.bring_in()


def resigned(lines: list[bytes]) -> list[bytes]:
    """Give changed lines a footer that fits them, as whoever has the secret could."""
    footer = msgspec.json.decode(lines[-1])
    footer["sha256"] = hashlib.sha256(b"".join(lines[:-1])).hexdigest()
    footer["mac"] = Keyring(SECRET).derive("organization files").prove(footer["sha256"])
    return [*lines[:-1], msgspec.json.encode(footer) + b"\n"]


def changed(table: str, **values: Any) -> Callable[[list[bytes]], list[bytes]]:
    """Change the first row of a table."""

    def edit(lines: list[bytes]) -> list[bytes]:
        at = next(n for n, line in enumerate(lines) if f'"table":"{table}"'.encode() in line)
        said = msgspec.json.decode(lines[at])
        said["row"] |= values
        return resigned([*lines[:at], msgspec.json.encode(said) + b"\n", *lines[at + 1 :]])

    return edit


async def test_a_proven_file_is_not_believed_either(deployments: Deployments):
    """It can't touch what belongs to others, nor bring more than its entries say."""
    await deployments.export(await deployments.filled())
    whole = deployments.path.read_bytes()
    other = new_id()
    for edit, words in (
        (changed("ledger_entries", organization_id=other), "row of another organization"),
        (changed("memberships", user_id=other), "row of another organization"),
        (changed("key_budgets", key_id=other), "row of another organization"),
        (changed("webhook_subscriptions", endpoint_id=other), "row of another organization"),
        (changed("usage_hours", key_id=other), "row of another organization"),
        (changed("organizations", id=other), "row of another organization"),
        (changed("accounts", leased_nanos="1"), "credit leased"),
        (changed("accounts", available_nanos="1"), "not what the file says"),
        (changed("credit_lots", remaining_nanos="1"), "Its lots hold"),
        (changed("usage_hours", tokens="1"), "sums are not those of its rows"),
    ):
        deployments.path.write_bytes(whole)
        edited(deployments.path, edit)
        with pytest.raises(UnreadableFile, match=words):
            await deployments.bring_in()
    async with deployments.target.read() as connection:
        assert (await connection.execute(select(tables.organizations))).all() == []
