"""Orders of money: alone up to a limit, by a second operator above it, and each done once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from sqlalchemy import update

from gateway.app.mails_and_moves import make_mail, make_moves
from gateway.control_plane.accounts import organizations
from gateway.control_plane.back_office import approvals, needs
from gateway.control_plane.back_office.account_mails import AccountMails
from gateway.control_plane.back_office.acting import NoReasonGiven
from gateway.control_plane.back_office.approvals import AlreadyDecided, ApprovalNotFound
from gateway.control_plane.back_office.moves import MoveOutcome, Moves
from gateway.control_plane.back_office.orders import GrantOrder, RefundOrder, TakeOrder, UndoOrder
from gateway.control_plane.back_office.refunds import NotSelling
from gateway.control_plane.back_office.undoing import CannotUndo
from gateway.control_plane.billing import credit
from gateway.control_plane.operators import operators
from gateway.control_plane.operators.operators import COMMAND_LINE, NotPermitted, Operator
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.ledger import grants
from gateway.storage.tables import money_orders
from testing.back_office import ledger_of_organization, trail_of
from testing.ledger import assert_sound
from testing.operators import make_operator

DOLLAR = 10**9


class Desk(NamedTuple):
    """An organization without credit, and what moves money for operators."""

    database: Database
    moves: Moves
    organization_id: str

    def grant(self, dollars: int, ref: str = "") -> GrantOrder:
        return GrantOrder(
            organization_id=self.organization_id,
            amount_nanos=dollars * DOLLAR,
            source_ref=ref or f"operator:{new_id()}",
        )

    async def give(self, operator: Operator, dollars: int, order_id: str = "") -> MoveOutcome:
        order_id = order_id or new_id()
        order = self.grant(dollars, f"operator:{order_id}")
        return await self.moves.order(operator, order, order_id=order_id, reason="outage")

    async def undo(self, operator: Operator, entry_id: int) -> MoveOutcome:
        order = UndoOrder(organization_id=self.organization_id, entry_id=entry_id)
        return await self.moves.order(operator, order, order_id=new_id(), reason="a mistake")

    async def newest(self) -> credit.LedgerEntry:
        async with self.database.read() as connection:
            return (await credit.ledger(connection, self.organization_id))[0]

    async def dollars(self) -> int:
        async with self.database.read() as connection:
            balance = await credit.balance(connection, self.organization_id)
        return balance.available_nanos // DOLLAR

    async def actions(self) -> list[str]:
        return [one.action for one in await trail_of(self.database)]

    async def let_a_day_pass(self) -> None:
        past = datetime.now(UTC) - timedelta(seconds=1)
        async with self.database.write() as connection:
            await connection.execute(update(money_orders).values(due_at=past))


@pytest.fixture
async def books(database: Database) -> Database:
    """Both kinds: orders are locked, which SQLite does by itself."""
    return database


@pytest.fixture
async def desk(books: Database) -> Desk:
    settings = Settings(
        secret="s" * 32, database_url=books.url.render_as_string(hide_password=False)
    )
    writer, outbox = make_mail(settings, books)
    mails = AccountMails(outbox, writer, public_url=settings.public_url)
    async with books.write() as connection:
        owner = await organizations.create(connection, "acme")
    return Desk(books, make_moves(settings, books, None, mails), owner.id)


async def test_it_is_done_at_once_up_to_the_limit(desk: Desk):
    mia = await make_operator(desk.database, "mia@example.com", "finance")
    done = await desk.give(mia, 100)
    assert (done.state, done.amount_nanos) == ("done", 100 * DOLLAR)
    (entry,) = await trail_of(desk.database)
    assert (entry.actor, entry.action, entry.reason) == (mia.user_id, "credit.granted", "outage")
    await assert_sound(desk.database)


async def test_above_the_limit_a_second_operator_approves(desk: Desk):
    mia = await make_operator(desk.database, "mia@example.com", "finance")
    bo = await make_operator(desk.database, "bo@example.com", "owner")
    asked = await desk.give(mia, 101)
    assert (asked.state, asked.due_at, await desk.dollars()) == ("waiting", None, 0)
    async with desk.database.read() as connection:
        (need,) = await needs.orders(connection, datetime.now(UTC))
    assert (need.subject, need.words) == (
        "acme",
        "$101.00 ordered by mia@example.com is waiting for a second operator",
    )
    with pytest.raises(NotPermitted, match="finance, does not allow"):
        await desk.moves.approve(mia, asked.order_id)
    done = await desk.moves.approve(bo, asked.order_id)
    assert (done.state, await desk.dollars()) == ("done", 101)
    asked_for, granted, given = await trail_of(desk.database)
    assert (asked_for.actor, asked_for.action) == (mia.user_id, "approval.requested")
    assert (granted.actor, granted.action, granted.reason) == (
        mia.user_id,
        "credit.granted",
        "outage",
    )
    assert (given.actor, given.action) == (bo.user_id, "approval.given")
    with pytest.raises(AlreadyDecided):
        await desk.moves.approve(bo, asked.order_id)
    assert await desk.dollars() == 101
    await assert_sound(desk.database)


async def test_nobody_approves_their_own(desk: Desk):
    bo = await make_operator(desk.database, "bo@example.com", "owner")
    await make_operator(desk.database, "cy@example.com", "owner")
    asked = await desk.give(bo, 200)
    with pytest.raises(NotPermitted, match="someone else must approve"):
        await desk.moves.approve(bo, asked.order_id)
    assert await desk.dollars() == 0


async def test_two_approvals_at_once_move_it_once(desk: Desk):
    mia = await make_operator(desk.database, "mia@example.com", "finance")
    bo = await make_operator(desk.database, "bo@example.com", "owner")
    cy = await make_operator(desk.database, "cy@example.com", "owner")
    asked = await desk.give(mia, 200)
    both = await asyncio.gather(
        *(desk.moves.approve(one, asked.order_id) for one in (bo, cy)), return_exceptions=True
    )
    assert {type(one) for one in both} == {MoveOutcome, AlreadyDecided}
    assert await desk.dollars() == 200


async def test_where_nobody_else_may_approve_it_waits_a_day(desk: Desk):
    bo = await make_operator(desk.database, "bo@example.com", "owner")
    await make_operator(desk.database, "mia@example.com", "finance")
    asked = await desk.give(bo, 200)
    assert asked.due_at is not None
    assert timedelta(hours=23) < asked.due_at - datetime.now(UTC) <= timedelta(hours=24)
    await desk.moves.run()
    assert await desk.dollars() == 0
    await desk.let_a_day_pass()
    await desk.moves.run()
    await desk.moves.run()
    assert await desk.dollars() == 200
    assert await desk.actions() == ["approval.requested", "credit.granted", "approval.awaited"]


async def test_who_lost_their_role_moves_nothing_any_more(desk: Desk):
    bo = await make_operator(desk.database, "bo@example.com", "owner")
    asked = await desk.give(bo, 200)
    async with desk.database.write() as connection:
        assert bo.user_id
        await operators.add(connection, bo.user_id, "read")
    await desk.let_a_day_pass()
    await desk.moves.run()
    assert await desk.dollars() == 0
    async with desk.database.read() as connection:
        failed = await approvals.find(connection, asked.order_id)
        (need,) = await needs.orders(connection, datetime.now(UTC))
    assert need.words.startswith("a money order of $200.00 failed")
    assert (failed.state, failed.problem) == (
        "failed",
        "The operator who ordered this may no longer move money.",
    )


async def test_it_is_rejected_or_taken_back(desk: Desk):
    mia = await make_operator(desk.database, "mia@example.com", "finance")
    bo = await make_operator(desk.database, "bo@example.com", "owner")
    other = await make_operator(desk.database, "al@example.com", "finance")
    first, second = await desk.give(mia, 200), await desk.give(mia, 300)
    with pytest.raises(NotPermitted):
        await desk.moves.reject(other, first.order_id, reason="no")
    await desk.moves.reject(bo, first.order_id, reason="no")
    await desk.moves.reject(mia, second.order_id, reason="typed wrong")
    with pytest.raises(AlreadyDecided):
        await desk.moves.approve(bo, first.order_id)
    assert await desk.dollars() == 0
    assert (await desk.actions())[-2:] == ["approval.rejected", "approval.rejected"]


@pytest.mark.usefixtures("now")
async def test_the_rest_of_a_day_waits(desk: Desk):
    mia = await make_operator(desk.database, "mia@example.com", "finance")
    await make_operator(desk.database, "bo@example.com", "owner")
    states = [(await desk.give(mia, 100)).state for _ in range(3)]
    states.append((await desk.give(mia, 50)).state)
    assert states == ["done", "done", "waiting", "done"]
    assert (await desk.give(mia, 1)).state == "waiting"
    async with desk.database.write() as connection:  # the day ends
        before = datetime.now(UTC) - timedelta(days=1)
        await connection.execute(update(money_orders).values(created_at=before))
    assert (await desk.give(mia, 1)).state == "done"


async def test_the_same_order_is_done_once(desk: Desk):
    mia = await make_operator(desk.database, "mia@example.com", "finance")
    order_id = new_id()
    sent = await asyncio.gather(*(desk.give(mia, 5, order_id) for _ in range(3)))
    assert sorted(one.state for one in sent) == ["done", "repeated", "repeated"]
    assert await desk.dollars() == 5
    with pytest.raises(BadRequest, match="already granted"):
        await desk.give(mia, 6, order_id)
    waiting = new_id()
    first, again = await desk.give(mia, 500, waiting), await desk.give(mia, 500, waiting)
    assert (first.state, again.state, again.order_id) == ("waiting", "waiting", waiting)
    assert await desk.actions() == ["credit.granted", "approval.requested"]


async def test_what_can_not_be_done_is_not_ordered(desk: Desk):
    mia = await make_operator(desk.database, "mia@example.com", "finance")
    async with desk.database.write() as connection:
        await credit.grant(connection, desk.organization_id, 5 * DOLLAR)
        (lot,) = (await credit.balance(connection, desk.organization_id)).lots
    take = TakeOrder(
        organization_id=desk.organization_id, lot_id=lot.id, amount_nanos=500 * DOLLAR, ref="x"
    )
    with pytest.raises(grants.LotHasLess):
        await desk.moves.order(mia, take, order_id=new_id(), reason="abuse")
    refund = RefundOrder(organization_id=desk.organization_id, payment_id=new_id())
    with pytest.raises(NotSelling):
        await desk.moves.order(mia, refund, order_id=new_id(), reason="asked")
    with pytest.raises(NoReasonGiven):
        await desk.moves.order(mia, desk.grant(1), order_id=new_id(), reason=" ")
    with pytest.raises(ApprovalNotFound):
        await desk.moves.reject(mia, new_id(), reason="x")
    assert await trail_of(desk.database) == []


@pytest.mark.parametrize("role", ["read", "support", "operator"])
async def test_without_the_permission_nothing_moves(desk: Desk, role):
    someone = await make_operator(desk.database, "al@example.com", role)
    with pytest.raises(NotPermitted, match=f"Your role, {role}, does not allow this"):
        await desk.give(someone, 1)
    assert await ledger_of_organization(desk.database, desk.organization_id) == []


async def test_before_there_are_operators_commands_have_no_limit(desk: Desk):
    order_id = new_id()
    done = await desk.moves.order(COMMAND_LINE, desk.grant(100_000), order_id=order_id, reason="")
    assert done.state == "done"
    (entry,) = await trail_of(desk.database)
    assert (entry.actor, entry.action) == (None, "credit.granted")


async def test_a_grant_is_undone_by_another_entry_and_that_one_too(desk: Desk):
    mia = await make_operator(desk.database, "mia@example.com", "finance")
    await desk.give(mia, 30)
    granted = await desk.newest()
    await desk.undo(mia, granted.id)
    taken = await desk.newest()
    assert (taken.kind, taken.amount_nanos, await desk.dollars()) == ("takeback", -30 * DOLLAR, 0)
    with pytest.raises(CannotUndo, match="already undone"):
        await desk.undo(mia, granted.id)

    await desk.undo(mia, taken.id)
    assert await desk.dollars() == 30
    with pytest.raises(CannotUndo, match="already undone"):
        await desk.undo(mia, taken.id)
    ledger = await ledger_of_organization(desk.database, desk.organization_id)
    assert [kind for kind, _, _ in ledger] == ["grant", "takeback", "grant"]
    told = [(one.action, one.after.get("undoes")) for one in await trail_of(desk.database)]
    assert told == [("credit.granted", None), ("credit.taken", granted.id),
                    ("credit.granted", taken.id)]  # fmt: skip
    await assert_sound(desk.database)


async def test_what_is_used_of_a_grant_is_not_undone(desk: Desk):
    mia = await make_operator(desk.database, "mia@example.com", "finance")
    await desk.give(mia, 30)
    granted = await desk.newest()
    async with desk.database.write() as connection:
        lot = granted.ref
        await grants.take(connection, desk.organization_id, lot, 10 * DOLLAR, reason="part")
    assert (await desk.undo(mia, granted.id)).amount_nanos == 20 * DOLLAR
    assert await desk.dollars() == 0
    await desk.give(mia, 5)
    empty = await desk.newest()
    async with desk.database.write() as connection:
        await grants.take(connection, desk.organization_id, empty.ref, 5 * DOLLAR, reason="all")
    with pytest.raises(CannotUndo, match="nothing is left"):
        await desk.undo(mia, empty.id)


async def test_credit_that_expires_comes_back_for_the_rest_of_its_time(desk: Desk):
    mia = await make_operator(desk.database, "mia@example.com", "finance")
    soon = datetime.now(UTC) + timedelta(days=3, hours=1)
    async with desk.database.write() as connection:
        await credit.grant(connection, desk.organization_id, 30 * DOLLAR, expires_at=soon)
    await desk.undo(mia, (await desk.newest()).id)
    taken = await desk.newest()
    await desk.undo(mia, taken.id)
    async with desk.database.read() as connection:
        (lot,) = (await credit.balance(connection, desk.organization_id)).lots
    assert lot.expires_at is not None
    assert timedelta(days=3) < lot.expires_at - datetime.now(UTC) <= timedelta(days=4)


async def test_undoing_waits_for_a_second_operator_too(desk: Desk):
    mia = await make_operator(desk.database, "mia@example.com", "finance")
    bo = await make_operator(desk.database, "bo@example.com", "owner")
    async with desk.database.write() as connection:
        await credit.grant(connection, desk.organization_id, 500 * DOLLAR)
    asked = await desk.undo(mia, (await desk.newest()).id)
    assert (asked.state, await desk.dollars()) == ("waiting", 500)
    await desk.moves.approve(bo, asked.order_id)
    assert await desk.dollars() == 0


async def test_only_grants_and_takings_of_its_own_are_undone(desk: Desk):
    mia = await make_operator(desk.database, "mia@example.com", "finance")
    async with desk.database.write() as connection:
        other = (await organizations.create(connection, "other")).id
        await credit.grant(connection, other, DOLLAR)
        (theirs,) = await credit.ledger(connection, other)
    with pytest.raises(CannotUndo, match="no such entry"):
        await desk.undo(mia, theirs.id)
    support = await make_operator(desk.database, "sue@example.com", "support")
    with pytest.raises(NotPermitted):
        await desk.undo(support, theirs.id)
