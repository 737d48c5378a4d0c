"""An event is replayed by those who may, and the trail says so; those that failed are found."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.control_plane.back_office import events
from gateway.control_plane.operators.operators import NotPermitted
from gateway.control_plane.payments import stored_events
from gateway.control_plane.payments.events import StripeEvent
from gateway.storage.database import Database
from testing.operators import make_operator, trail_of


def an_event(number: int) -> StripeEvent:
    return StripeEvent(
        id=f"evt_{number}",
        type="charge.refunded",
        object_id=f"ch_{number}",
        intent_id="pi_1",
        payment_id=None,
        customer_id=None,
        created_at=datetime.now(UTC),
    )


async def test_an_event_is_due_again(books: Database):
    operator = await make_operator(books, "ops@example.com", "support")
    await stored_events.put(books, an_event(1))
    async with books.write() as connection:
        await stored_events.finish(connection, ["evt_1"])
        await events.replay(connection, operator, "evt_1", reason="asked for")
    async with books.write() as connection:
        assert (await stored_events.read(connection, "evt_1")).state == "waiting"
        assert await stored_events.claim(connection, 5) == [
            an_event(1)._replace(
                created_at=(await stored_events.read(connection, "evt_1")).created_at
            )
        ]
    (entry,) = await trail_of(books, "event.replayed")
    assert (entry.actor_id, entry.subject) == (operator.user_id, "event:evt_1")
    assert '"state":"done"' in entry.before


async def test_who_only_reads_replays_nothing(books: Database):
    reader = await make_operator(books, "read@example.com", "read")
    await stored_events.put(books, an_event(1))
    async with books.write() as connection:
        await stored_events.finish(connection, ["evt_1"])
        with pytest.raises(NotPermitted):
            await events.replay(connection, reader, "evt_1", reason="x")
        assert (await stored_events.read(connection, "evt_1")).state == "done"


async def test_no_such_event(books: Database):
    operator = await make_operator(books, "ops@example.com", "support")
    async with books.write() as connection:
        with pytest.raises(stored_events.NoSuchEvent):
            await events.replay(connection, operator, "evt_404", reason="x")


async def test_lists_by_state_and_object(database: Database, monkeypatch: pytest.MonkeyPatch):
    for number in range(4):
        await stored_events.put(database, an_event(number))
    monkeypatch.setattr(stored_events, "_GIVE_UP", timedelta(0))
    async with database.write() as connection:
        await stored_events.finish(connection, ["evt_0"])
        assert not await stored_events.put_off(connection, "evt_1", "No such charge")
    async with database.read() as connection:

        async def ids(**filters) -> list[str]:
            return [one.id for one in await stored_events.listed(connection, limit=9, **filters)]

        assert await ids() == ["evt_3", "evt_2", "evt_1", "evt_0"]
        assert await ids(state="done") == ["evt_0"]
        assert await ids(state="given_up") == ["evt_1"]
        assert await ids(state="waiting") == ["evt_3", "evt_2"]
        assert await ids(about="ch_2") == ["evt_2"]
        assert await ids(about="evt_2") == ["evt_2"]
        assert len(await ids(about="pi_1")) == 4
        after = await stored_events.read(connection, "evt_2")
        assert await ids(before=after) == ["evt_1", "evt_0"]
        assert (await stored_events.read(connection, "evt_1")).problem == "No such charge"
