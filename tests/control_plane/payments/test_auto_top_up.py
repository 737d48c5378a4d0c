"""What an organization may set, and what its attempts say about a card."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
import pytest
from sqlalchemy import insert, update

from gateway.control_plane.accounts import organizations
from gateway.control_plane.payments import auto_top_up, customers, payments
from gateway.control_plane.payments.auto_top_up import (
    AUTHENTICATION,
    BACK_OFF,
    LONGEST_BACK_OFF,
    Standing,
    TopUpRules,
    judge,
)
from gateway.control_plane.payments.payments import CENT_NANOS, Payment
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.storage import tables
from gateway.storage.database import Database

pytestmark = pytest.mark.sqlite

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
RULES = TopUpRules(
    enabled=True, threshold_nanos=500 * CENT_NANOS, amount_cents=2_500, month_cents_max=10_000
)


@pytest.fixture
async def organization_id(database: Database) -> str:
    async with database.write() as connection:
        return (await organizations.create(connection, "acme")).id


async def test_settings_are_kept(database: Database, organization_id: str):
    async with database.write() as connection:
        assert await auto_top_up.read(connection, organization_id) is None
        await save(connection, organization_id, RULES)
        changed = msgspec.structs.replace(RULES, enabled=False, amount_cents=5_000)
        await save(connection, organization_id, changed)
        found = await auto_top_up.read(connection, organization_id)
    assert found is not None
    assert (found.enabled, found.amount_cents, found.month_cents_max) == (False, 5_000, 10_000)
    assert (found.paused, found.declines, found.not_before) == ("", 0, None)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"amount_cents": 499}, "amount"),
        ({"amount_cents": 550}, "amount"),
        ({"amount_cents": 0}, "amount"),
        ({"amount_cents": -500}, "amount"),
        ({"amount_cents": 500_100, "month_cents_max": 5_000_000}, "amount"),
        ({"threshold_nanos": 0}, "threshold"),
        ({"threshold_nanos": -1}, "threshold"),
        ({"threshold_nanos": 500_001 * CENT_NANOS}, "threshold"),
        ({"month_cents_max": 2_499}, "month"),
        ({"month_cents_max": 5_000_001}, "month"),
    ],
)
def test_settings_out_of_bounds_are_refused(wrong: dict[str, int], param: str):
    with pytest.raises(BadRequest) as refused:
        auto_top_up.check(msgspec.structs.replace(RULES, **wrong))
    assert refused.value.param == param


@pytest.mark.parametrize(
    "right",
    [
        {"amount_cents": 500},
        {"amount_cents": 500_000, "month_cents_max": 5_000_000},
        {"threshold_nanos": 1},
        {"month_cents_max": 2_500},
    ],
)
def test_settings_at_the_bounds_are_taken(right: dict[str, int]):
    auto_top_up.check(msgspec.structs.replace(RULES, **right))


@pytest.mark.postgresql
async def test_who_saves_or_resumes_ends_a_pause_for_authentication(
    database: Database, organization_id: str
):
    async with database.write() as connection:
        await save(connection, organization_id, RULES)
        await set_to(connection, organization_id, paused="authentication")
        await save(connection, organization_id)
        found = await auto_top_up.read(connection, organization_id)
        assert found is not None
        assert found.paused == ""


@pytest.mark.postgresql
async def test_nobody_closes_the_breaker_by_saving(database: Database, organization_id: str):
    async with database.write() as connection:
        await save(connection, organization_id, RULES)
        await set_to(connection, organization_id, paused="declined", declines=3)
        await save(connection, organization_id, RULES)
        found = await auto_top_up.read(connection, organization_id)
    assert found is not None
    assert (found.paused, found.declines) == ("declined", 3)


@pytest.mark.postgresql
async def test_a_wait_for_a_limit_ends_when_the_limit_changes_but_not_that_of_a_declined_card(
    database: Database, organization_id: str
):
    async with database.write() as connection:
        await save(connection, organization_id, RULES)
        await use_card(connection, organization_id, "red")
        await set_to(connection, organization_id, not_before=NOW)
        await save(connection, organization_id, RULES)
        assert await not_before(connection, organization_id) is None
        await attempt(connection, organization_id, "red", "generic_decline")
        await auto_top_up.reassess(connection, organization_id)
        rests = await not_before(connection, organization_id)
        assert rests == NOW + timedelta(seconds=1) + BACK_OFF
        # a declined card, and then a limit
        await set_to(connection, organization_id, not_before=NOW + timedelta(days=30))
        await save(connection, organization_id, RULES)
        assert await not_before(connection, organization_id) == rests


async def test_a_payment_whose_form_chose_its_id_is_no_newer_than_it_is(
    database: Database, organization_id: str
):
    async with database.write() as connection:
        await save(connection, organization_id, RULES)
        await use_card(connection, organization_id, "red")
        paid = Payment(
            id="ffffffff-ffff-7fff-bfff-ffffffffffff", organization_id=organization_id,
            origin="checkout", state="paid", credit_nanos=1, amount_cents=1, live=False,
            card_fingerprint="red", created_at=NOW - timedelta(days=1), changed_at=NOW,
        )  # fmt: skip
        await payments.add(connection, paid)
        for _ in range(3):
            await attempt(connection, organization_id, "red", "generic_decline")
        await auto_top_up.reassess(connection, organization_id)
        assert await paused(connection, organization_id) == ("declined", 3)


class Ended(NamedTuple):
    state: str
    failure_code: str = ""
    changed_at: datetime = NOW


PAID = Ended("paid")
DECLINED = Ended("failed", "generic_decline")
ASKED = Ended("failed", AUTHENTICATION)
MISSED = Ended("failed", "not_charged")


@pytest.mark.parametrize(
    ("newest", "standing"),
    [
        ([], Standing("", 0, None)),
        ([PAID, DECLINED, DECLINED, DECLINED], Standing("", 0, None)),
        ([DECLINED], Standing("", 1, NOW + BACK_OFF)),
        ([DECLINED, DECLINED, PAID, DECLINED], Standing("", 2, NOW + BACK_OFF)),
        ([DECLINED, DECLINED, DECLINED], Standing("declined", 3, None)),
        ([DECLINED, MISSED, DECLINED, MISSED, DECLINED], Standing("declined", 3, None)),
        ([Ended("failed", "stolen_card")], Standing("declined", 1, None)),
        ([MISSED, Ended("failed", "stolen_card")], Standing("declined", 1, None)),
        ([PAID, Ended("failed", "stolen_card")], Standing("", 0, None)),
        ([ASKED], Standing("authentication", 0, None)),
        ([ASKED, DECLINED], Standing("authentication", 1, None)),
        ([DECLINED, ASKED], Standing("", 1, NOW + BACK_OFF)),
        ([MISSED], Standing("", 0, NOW + BACK_OFF)),
        ([MISSED, MISSED, MISSED], Standing("", 0, NOW + 4 * BACK_OFF)),
        ([MISSED] * 20, Standing("", 0, NOW + LONGEST_BACK_OFF)),
    ],
)
def test_what_attempts_say_about_a_card(newest: list[Ended], standing: Standing):
    assert judge(newest) == standing


async def test_the_breaker_belongs_to_the_card(database: Database, organization_id: str):
    """Cards that are changed back and forth don't start to count anew."""
    async with database.write() as connection:
        await save(connection, organization_id, RULES)
        await use_card(connection, organization_id, "red")
        for _ in range(3):
            await attempt(connection, organization_id, "red", "generic_decline")
        await auto_top_up.reassess(connection, organization_id)
        assert await paused(connection, organization_id) == ("declined", 3)
        await use_card(connection, organization_id, "blue")
        await auto_top_up.reassess(connection, organization_id)
        assert await paused(connection, organization_id) == ("", 0)
        await attempt(connection, organization_id, "blue", "generic_decline")
        await auto_top_up.reassess(connection, organization_id)
        assert await paused(connection, organization_id) == ("", 1)
        await use_card(connection, organization_id, "red")
        await auto_top_up.reassess(connection, organization_id)
        assert await paused(connection, organization_id) == ("declined", 3)
        await attempt(connection, organization_id, "red", "", origin="checkout", state="paid")
        await auto_top_up.reassess(connection, organization_id)
        assert await paused(connection, organization_id) == ("", 0)


async def save(connection, organization_id: str, rules: TopUpRules = RULES) -> None:
    await auto_top_up.save(connection, organization_id, rules, user_id=None, now=NOW)


async def set_to(connection, organization_id: str, **values) -> None:
    mine = tables.auto_top_ups.c.organization_id == organization_id
    await connection.execute(update(tables.auto_top_ups).where(mine).values(**values))


async def paused(connection, organization_id: str) -> tuple[str, int]:
    found = await auto_top_up.read(connection, organization_id)
    assert found is not None
    return found.paused, found.declines


async def not_before(connection, organization_id: str) -> datetime | None:
    found = await auto_top_up.read(connection, organization_id)
    assert found is not None
    return found.not_before


async def use_card(connection, organization_id: str, fingerprint: str) -> None:
    table = tables.payment_customers
    mine = table.c.organization_id == organization_id
    if await customers.read(connection, organization_id) is None:
        await connection.execute(
            insert(table).values(
                organization_id=organization_id, generation=1, card_brand="visa",
                card_last_four="4242", card_expires="2030-01", card_fingerprint="",
                held_reason="", changed_at=NOW,
            )
        )  # fmt: skip
    await connection.execute(update(table).where(mine).values(card_fingerprint=fingerprint))


async def attempt(
    connection, organization_id: str, card: str, code: str, origin="auto", state="failed"
) -> None:
    made = Payment(
        id=new_id(), organization_id=organization_id, origin=origin, state=state,
        credit_nanos=1, amount_cents=1, live=False, failure_code=code, card_fingerprint=card,
        created_at=NOW, changed_at=NOW + timedelta(seconds=1),
    )  # fmt: skip
    await payments.add(connection, made)
