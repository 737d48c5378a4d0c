"""Mails of notices: to owners who want them, once, in words."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from sqlalchemy import select, update

from gateway.control_plane.accounts import memberships
from gateway.control_plane.accounts.users import User
from gateway.control_plane.alerts import notice_mails, wording
from gateway.control_plane.alerts.notice_mails import NoticeMails
from gateway.control_plane.alerts.notices import MAILED, OPTIONAL, Notice, Subscribable, publish
from gateway.control_plane.alerts.preferences import AlertPreferences, Preferences
from gateway.control_plane.mail.messages import MailWriter
from gateway.control_plane.mail.outbox import Lifetimes, Outbox
from gateway.control_plane.mail.smtp import LogSender
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import notices, outbox
from tests.control_plane.alerts.conftest import member, rows

pytestmark = pytest.mark.sqlite

URL = "https://g.example"
NANOS = 12_345_678_901

DATA: dict[str, dict[str, Any]] = {
    "balance.low": {"available_nanos": NANOS, "threshold_nanos": 2 * NANOS, "days_left": 3},
    "balance.empty": {"available_nanos": 0},
    "budget.reached": {
        "key_id": "k", "key_name": "ci <b>", "percent": 80, "spent_nanos": NANOS,
        "limit_nanos": 2 * NANOS, "period": "2026-11",
    },
    "auto_top_up.failed": {
        "payment_id": "p", "amount_cents": 2500, "reason": "declined", "message": "Declined.",
        "cause": "expired_card", "card_brand": "amex", "card_last_four": "0005",
        "next_attempt_at": "2026-12-24T18:00:00+00:00",
    },
    "payment.credited": {
        "payment_id": "p", "credit_nanos": NANOS, "amount_cents": 1235, "tax_cents": 0,
        "origin": "checkout",
    },
    "key.expiring": {
        "key_id": "k", "key_name": "ci", "last_four": "abcd", "days": 1,
        "expires_at": "2026-12-24T18:00:00+00:00",
    },
    "endpoint.disabled": {"endpoint_id": "e", "url": "https://h.example/x", "reason": "gone"},
}  # fmt: skip
SAYS = {
    "balance.low": ["running low: $12.34 left", "lasts for 3 days", f"{URL}/console/billing"],
    "balance.empty": ["used up", f"{URL}/console/billing"],
    "budget.reached": ["80 %", "$12.34 of its budget of $24.69 for this month", "/console/keys/k"],
    "auto_top_up.failed": [
        "tried to buy $25.00 of credit, and the American Express card ending in 0005 was declined",
        "because it has expired",
        "again on 24 Dec 2026, 18:00 UTC",
        f"{URL}/console/billing",
    ],
    "payment.credited": ["$12.34 of credit added", f"{URL}/console/billing/payments/p"],
    "key.expiring": ["expires in 1 day", "(ending in abcd)", "24 Dec 2026, 18:00 UTC"],
    "endpoint.disabled": ["https://h.example/x", "It answered 410", "/console/webhooks/e"],
}


def mails(database: Database) -> NoticeMails:
    lives = Lifetimes(link_seconds=60, invitation_seconds=60, quiet_seconds=3_600)
    box = Outbox(database, LogSender(), pending_max=9, lifetimes=lives, host="g.example")
    writer = MailWriter({"brand": "B", "public_url": URL})
    return NoticeMails(database, box, writer, public_url=URL)


async def happen(database: Database, user: User, kind: Any) -> None:
    async with database.write() as connection:
        notice = Notice(kind, new_id(), DATA[kind], datetime.now(UTC))
        assert await publish(connection, user.organization_id, notice)


def test_every_type_that_is_mailed_has_words():
    assert set(MAILED) == set(DATA) == set(wording._WORDS)
    assert set(get_args(Subscribable)) - set(MAILED) == {"model.launched"}
    assert set(MAILED) - set(OPTIONAL) == {"auto_top_up.failed"}


@pytest.mark.parametrize("kind", MAILED)
async def test_what_a_mail_says(database: Database, owner: User, kind: str):
    await happen(database, owner, kind)
    await mails(database).write()
    (mail,) = await rows(database, select(outbox))
    assert mail.recipient == "ada@example.org"
    for words in (*SAYS[kind], "own the organization ada", f"{URL}/console/alerts"):
        assert words in mail.subject + mail.text, words
    assert "<b>" not in mail.html.partition("<body")[2].replace("<body", "")
    assert mail.unsubscribe_url == ""


async def test_each_owner_gets_it_once(database: Database, owner: User):
    bob, eve = await member(database, "bob@example.org"), await member(database, "eve@example.org")
    async with database.write() as connection:
        await memberships.add(connection, bob.id, owner.organization_id, "owner")
        await memberships.add(connection, eve.id, owner.organization_id, "member")
    await happen(database, owner, "balance.low")
    assert await mails(database).write() == 2
    assert await mails(database).write() == 0
    recipients = {row.recipient for row in await rows(database, select(outbox))}
    assert recipients == {"ada@example.org", "bob@example.org"}


@pytest.mark.postgresql
async def test_types_that_are_off_are_not_mailed(database: Database, owner: User):
    async with database.write() as connection:
        made, ours = Preferences(), owner.organization_id
        assert await made.read(connection, ours) == AlertPreferences()
        wanted = AlertPreferences(
            low_nanos=5, mails=tuple(kind for kind in OPTIONAL if kind != "balance.low")
        )
        await made.save(connection, ours, wanted)
        assert await made.read(connection, ours) == wanted
        for wrong in (
            AlertPreferences(low_nanos=0),
            AlertPreferences(low_nanos=10**18),
            AlertPreferences(mails=("model.launched",)),
            AlertPreferences(mails=("auto_top_up.failed",)),
        ):
            with pytest.raises(BadRequest):
                await made.save(connection, ours, wrong)
    await happen(database, owner, "balance.low")
    await happen(database, owner, "balance.empty")
    await mails(database).write()
    (mail,) = await rows(database, select(outbox))
    assert "used up" in mail.subject


async def test_a_failed_top_up_is_mailed_whatever_was_chosen(database: Database, owner: User):
    async with database.write() as connection:
        await Preferences().save(connection, owner.organization_id, AlertPreferences(mails=()))
    await happen(database, owner, "balance.low")
    await happen(database, owner, "auto_top_up.failed")
    await mails(database).write()
    (mail,) = await rows(database, select(outbox))
    assert "was declined" in mail.subject


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reason": "authentication"}, "wants you to confirm"),
        ({"reason": "stopped", "next_attempt_at": None}, "We won't charge this card again"),
        ({"reason": "error", "next_attempt_at": None}, "We'll try again later."),
        ({"reason": "limit", "month_cents_max": 6000}, "would pass the limit of $60.00 "),
        ({"card_last_four": "", "cause": ""}, "and the saved card was declined. Nothing"),
        ({"card_brand": "visa"}, "the Visa card"),
    ],
)
def test_why_a_top_up_failed(changes: dict[str, Any], says: str):
    words = wording.of("auto_top_up.failed", DATA["auto_top_up.failed"] | changes)
    assert says in f"{words.happened} {words.advice}"


async def test_a_crash_writes_no_mail_twice(
    database: Database, owner: User, monkeypatch: pytest.MonkeyPatch
):
    await happen(database, owner, "balance.low")
    real = Outbox.put_all

    async def dying(self: Outbox, *arguments: Any) -> int:
        await real(self, *arguments)
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "put_all", dying)
        with pytest.raises(RuntimeError):
            await mails(database).write()
    assert await rows(database, select(outbox)) == []
    assert await mails(database).write() == 1


async def test_mails_wait_while_many_are_unsent(
    database: Database, owner: User, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(notice_mails, "PENDING_MAX", 1)
    monkeypatch.setattr(notice_mails, "BATCH", 1)
    for _ in range(3):
        await happen(database, owner, "balance.low")
    assert await mails(database).write() == 1
    assert await mails(database).write() == 0


@pytest.mark.postgresql
@pytest.mark.usefixtures("now")
async def test_a_type_has_so_many_mails_a_day_and_the_last_says_so(
    database: Database, owner: User, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(notice_mails, "MAILS_A_DAY", 3)
    for _ in range(5):
        await happen(database, owner, "budget.reached")
    await mails(database).write()
    await happen(database, owner, "budget.reached")
    await happen(database, owner, "balance.empty")
    await mails(database).write()
    written = await rows(database, select(outbox))
    assert sorted("80 %" in mail.subject for mail in written) == [False, True, True, True]
    told = await rows(database, select(notices.c.id).order_by(notices.c.created_at))
    (last,) = [mail for mail in written if "the last of" in mail.text]
    assert last.ref == f"notice:{told[2].id}:{owner.id}"
    async with database.write() as connection:
        yesterday = datetime.now(UTC) - timedelta(days=1)
        await connection.execute(update(notices).values(mailed_at=yesterday))
    await happen(database, owner, "budget.reached")
    assert await mails(database).write() == 1


@pytest.mark.postgresql
async def test_organizations_take_turns(
    database: Database, owner: User, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(notice_mails, "BATCH", 2)
    monkeypatch.setattr(notice_mails, "PENDING_MAX", 1)
    bob = await member(database, "bob@example.org")
    for _ in range(5):
        await happen(database, owner, "budget.reached")
    await happen(database, bob, "balance.empty")
    assert await mails(database).write() == 2
    recipients = {row.recipient for row in await rows(database, select(outbox))}
    assert recipients == {"ada@example.org", "bob@example.org"}


@pytest.mark.postgresql
async def test_data_without_words_keeps_no_other_mail_waiting(database: Database, owner: User):
    async with database.write() as connection:
        odd = Notice("balance.low", "odd", {}, datetime.now(UTC))
        await publish(connection, owner.organization_id, odd)
    await happen(database, owner, "balance.empty")
    assert await mails(database).write() == 1
    due = select(notices.c.id).where(notices.c.mail_due_at.is_not(None))
    assert await rows(database, due) == []
