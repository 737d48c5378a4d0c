"""Passkeys, made and used by a device in Python: a challenge is of one person, purpose and time."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select, update
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url

from gateway.control_plane.accounts import passkey_listing, passkeys, users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.passkey_listing import PasskeyNotFound
from gateway.control_plane.accounts.passkeys import (
    PASSKEYS_MAX,
    PasskeyRefused,
    RelyingParty,
    TooManyPasskeys,
)
from gateway.storage import tables
from gateway.storage.clock import clock
from gateway.storage.database import Database

PARTY = RelyingParty("localhost", "Stella", "http://localhost")
_PRESENT, _VERIFIED, _NEW = 1, 4, 64


class Device:
    """One key on a person's device."""

    def __init__(self, name: bytes) -> None:
        self.credential = hashlib.sha256(name).digest()
        self.uses = 0
        self._key = ec.generate_private_key(ec.SECP256R1())

    def made(self, options: str) -> str:
        """Answer what asks for a new passkey."""
        point = self._key.public_key().public_numbers()
        public = {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32), -3: point.y.to_bytes(32)}
        length = len(self.credential).to_bytes(2)
        data = self._data(_NEW) + bytes(16) + length + self.credential + cbor2.dumps(public)
        attested = {"fmt": "none", "attStmt": {}, "authData": data}
        return self._answer(
            clientDataJSON=_client_data("webauthn.create", options),
            attestationObject=cbor2.dumps(attested),
        )

    def used(self, options: str) -> str:
        """Answer what asks for this passkey."""
        self.uses += 1
        data, client = self._data(), _client_data("webauthn.get", options)
        signed = data + hashlib.sha256(client).digest()
        return self._answer(
            clientDataJSON=client,
            authenticatorData=data,
            signature=self._key.sign(signed, ec.ECDSA(hashes.SHA256())),
        )

    def _data(self, more: int = 0) -> bytes:
        flags = bytes([_PRESENT | _VERIFIED | more])
        return hashlib.sha256(PARTY.host.encode()).digest() + flags + self.uses.to_bytes(4)

    def _answer(self, **parts: bytes) -> str:
        name = bytes_to_base64url(self.credential)
        response = {key: bytes_to_base64url(value) for key, value in parts.items()}
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})


def _client_data(kind: str, options: str) -> bytes:
    challenge = json.loads(options)["challenge"]
    said = {"type": kind, "challenge": challenge, "origin": PARTY.origin, "crossOrigin": False}
    return json.dumps(said).encode()


class Person:
    """Somebody with one passkey."""

    def __init__(self, database: Database, user_id: str, device: Device) -> None:
        self.database, self.user_id, self.device = database, user_id, device

    async def do(self, act: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        async with self.database.write() as connection:
            return await act(connection, *args)

    async def add(self, device: Device) -> None:
        options = await self.do(passkeys.ask_to_add, PARTY, self.user_id, "a@example.com")
        made = device.made(options)
        await self.do(passkeys.add, PARTY, self.user_id, "Laptop", made)

    async def asked(self) -> str:
        return await self.do(passkeys.ask, PARTY, self.user_id)

    async def prove(self, answer: str) -> None:
        await self.do(passkeys.prove, PARTY, self.user_id, answer)

    async def names(self) -> list[str]:
        return [one.name for one in await self.do(passkey_listing.listed, self.user_id)]


@pytest.fixture
async def people(sqlite_database_url: list[str]):
    database = Database(sqlite_database_url[0])
    found = []
    for name in ("eve", "ada"):
        async with database.write() as connection:
            user = await users.find_or_create(connection, Address(f"{name}@example.com"))
        found.append(Person(database, user.id, Device(name.encode())))
        await found[-1].add(found[-1].device)
    yield found
    await database.close()


async def test_a_passkey_proves_and_signs_in_its_own_person(people: list[Person]):
    for one in people:
        await one.prove(one.device.used(await one.asked()))
        options = await one.do(passkeys.ask, PARTY, None)
        assert (
            "allowCredentials" not in json.loads(options)
            or not json.loads(options)["allowCredentials"]
        )
        answer = one.device.used(options)
        assert await one.do(passkeys.sign_in, PARTY, answer) == one.user_id


async def test_only_a_persons_own_passkeys_are_asked_for(people: list[Person]):
    for one in people:
        name = bytes_to_base64url(one.device.credential)
        (asked,) = json.loads(await one.asked())["allowCredentials"]
        assert asked["id"] == name
        options = await one.do(passkeys.ask_to_add, PARTY, one.user_id, "a@example.com")
        (known,) = json.loads(options)["excludeCredentials"]
        assert known["id"] == name


async def test_an_answer_is_accepted_once(people: list[Person]):
    eve, _ = people
    options, others = await eve.asked(), await eve.asked()
    answer = eve.device.used(options)
    await eve.prove(answer)
    with pytest.raises(PasskeyRefused, match="too long"):
        await eve.prove(answer)
    await eve.prove(eve.device.used(others))  # which waited beside it


async def test_a_challenge_is_of_one_person_and_purpose(people: list[Person]):
    eve, ada = people
    anybody = await eve.do(passkeys.ask, PARTY, None)
    to_add = await eve.do(passkeys.ask_to_add, PARTY, eve.user_id, "a@example.com")
    for options in (await ada.asked(), anybody, to_add):
        with pytest.raises(PasskeyRefused, match="too long"):
            await eve.prove(eve.device.used(options))


async def test_a_challenge_that_is_too_old_is_refused_and_forgotten(people: list[Person]):
    eve, _ = people
    challenges = tables.passkey_challenges
    old, new = await eve.asked(), await eve.asked()
    async with eve.database.write() as connection:
        await connection.execute(
            update(challenges)
            .where(challenges.c.challenge == base64url_to_bytes(json.loads(old)["challenge"]))
            .values(expires_at=clock(timedelta(seconds=-1)))
        )
    with pytest.raises(PasskeyRefused, match="too long"):
        await eve.prove(eve.device.used(old))
    await eve.do(passkey_listing.forget_old)
    async with eve.database.read() as connection:
        left = list(await connection.scalars(select(challenges.c.challenge)))
    assert [bytes_to_base64url(one) for one in left] == [json.loads(new)["challenge"]]


async def test_another_persons_passkey_proves_nothing(people: list[Person]):
    eve, ada = people
    with pytest.raises(PasskeyRefused, match="not accepted"):
        await eve.prove(ada.device.used(await eve.asked()))


async def test_a_use_is_counted_where_it_was(people: list[Person]):
    eve, ada = people
    await eve.prove(eve.device.used(await eve.asked()))
    (used,) = await eve.do(passkey_listing.listed, eve.user_id)
    (other,) = await ada.do(passkey_listing.listed, ada.user_id)
    assert used.used_at
    assert other.used_at is None
    eve.device.uses = 0  # a copy of the device
    with pytest.raises(PasskeyRefused, match="not accepted"):
        await eve.prove(eve.device.used(await eve.asked()))


async def test_a_neighbors_passkey_is_neither_renamed_nor_removed(people: list[Person]):
    eve, ada = people
    (own,) = await eve.do(passkey_listing.listed, eve.user_id)
    for act in ((passkey_listing.rename, "Mine"), (passkey_listing.remove,)):
        with pytest.raises(PasskeyNotFound):
            await ada.do(act[0], ada.user_id, own.id, *act[1:])
    await eve.add(Device(b"phone"))
    await eve.do(passkey_listing.rename, eve.user_id, own.id, "Old laptop")
    assert (await eve.names(), await ada.names()) == (["Old laptop", "Laptop"], ["Laptop"])
    await eve.do(passkey_listing.remove, eve.user_id, own.id)
    assert (await eve.names(), await ada.names()) == (["Laptop"], ["Laptop"])
    waits = await ada.asked()
    await eve.asked()
    assert await eve.do(passkey_listing.remove_all, eve.user_id) == 1
    assert (await eve.names(), await ada.names()) == ([], ["Laptop"])
    await ada.prove(ada.device.used(waits))


async def test_a_passkey_is_registered_once_and_one_has_so_many(people: list[Person]):
    eve, ada = people
    with pytest.raises(PasskeyRefused, match="already"):
        await ada.add(eve.device)
    for number in range(PASSKEYS_MAX - 1):
        await eve.add(Device(str(number).encode()))
    with pytest.raises(TooManyPasskeys):
        await eve.add(Device(b"one more"))
    await ada.add(Device(b"her second"))
