"""Authenticator apps: a code works once, near its time, for its user alone."""

import pyotp
import pytest

from gateway.control_plane.accounts import users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.authenticators import (
    OFFER_SECONDS,
    STEP_SECONDS,
    Authenticators,
    WrongCode,
)
from gateway.keyring import Keyring
from gateway.sealing import Seal
from gateway.storage.database import Database

START = 1_800_000_000


class Clock:
    now = float(START)

    def __call__(self) -> float:
        return self.now


class Phone:
    """Somebody's app, and the service that it is set up at."""

    def __init__(self, database: Database, user_id: str, clock: Clock) -> None:
        self.database = database
        self.user_id = user_id
        self.clock = clock
        self.service = Authenticators(Seal(Keyring("ab" * 32)), brand="Stella", clock=clock)
        self.offer = self.service.offer(user_id, "eve@example.com")

    def code(self, later: float = 0) -> str:
        return pyotp.TOTP(self.offer.secret).at(int(self.clock.now + later))

    async def set_up(self) -> None:
        async with self.database.write() as connection:
            await self.service.set_up(connection, self.user_id, self.offer.sealed, self.code())

    async def prove(self, code: str) -> None:
        async with self.database.write() as connection:
            await self.service.prove(connection, self.user_id, code)


@pytest.fixture
async def phone(sqlite_database_url: list[str]):
    database = Database(sqlite_database_url[0])
    async with database.write() as connection:
        user = await users.find_or_create(connection, Address("eve@example.com"))
    yield Phone(database, user.id, Clock())
    await database.close()


async def test_a_code_works_once(phone: Phone):
    await phone.set_up()
    with pytest.raises(WrongCode, match="used already"):  # that one was accepted by setting up
        await phone.prove(phone.code())
    phone.clock.now += STEP_SECONDS
    code = phone.code()
    await phone.prove(f"{code[:3]} {code[3:]}")
    for again in (code, phone.code(-STEP_SECONDS)):
        with pytest.raises(WrongCode, match="used already"):
            await phone.prove(again)


async def test_a_clock_may_be_a_step_off_and_no_more(phone: Phone):
    await phone.set_up()
    phone.clock.now += 10 * STEP_SECONDS
    for seconds in (-2 * STEP_SECONDS, 2 * STEP_SECONDS):
        with pytest.raises(WrongCode, match="not the code"):
            await phone.prove(phone.code(seconds))
    await phone.prove(phone.code(-STEP_SECONDS))
    await phone.prove(phone.code(STEP_SECONDS))


@pytest.mark.parametrize("code", ["", "12345", "1234567", "١٢٣٤٥٦", "abcdef"])
async def test_what_is_no_code(phone: Phone, code: str):
    await phone.set_up()
    with pytest.raises(WrongCode):
        await phone.prove(code)


async def test_an_offer_is_one_persons_for_an_hour(phone: Phone):
    other = "01890000-0000-7000-8000-000000000000"
    with pytest.raises(WrongCode, match="too long"):
        phone.service.offer(other, "bob@example.com", phone.offer.sealed)
    assert phone.service.offer(phone.user_id, "", phone.offer.sealed).secret == phone.offer.secret
    phone.clock.now += OFFER_SECONDS + 1
    with pytest.raises(WrongCode, match="too long"):
        await phone.set_up()
    with pytest.raises(WrongCode, match="No authenticator"):
        await phone.prove(phone.code())


async def test_a_secret_is_stored_encrypted(phone: Phone):
    await phone.set_up()
    phone.service = Authenticators(Seal(Keyring("cd" * 32)), brand="Stella", clock=phone.clock)
    phone.clock.now += STEP_SECONDS
    with pytest.raises(WrongCode, match="can no longer be read"):
        await phone.prove(phone.code())
