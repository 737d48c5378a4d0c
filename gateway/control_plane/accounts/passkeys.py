"""Passkeys (WebAuthn): keys on a person's devices that prove who they are, to this site alone.

A device signs a challenge of ours, which is deleted by the answer, so none is accepted twice. Only
public keys are stored. A passkey is a second factor; if its device also checked a finger or a PIN,
it signs in by itself.
"""

from __future__ import annotations

import json
import secrets
from datetime import timedelta
from typing import Literal
from uuid import UUID

import msgspec
import webauthn
from sqlalchemy import RowMapping, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
from webauthn.helpers import (
    base64url_to_bytes,
    options_to_json,
    parse_authentication_credential_json,
    parse_client_data_json,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from gateway import wall
from gateway.control_plane.accounts.organizations import clean_name
from gateway.control_plane.accounts.passkey_listing import Passkey
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.storage.clock import clock
from gateway.storage.database import alone, count
from gateway.storage.tables import passkey_challenges, passkeys

PASSKEYS_MAX = 20
"""Most passkeys of one user."""
CHALLENGE_SECONDS = 300

Purpose = Literal["add", "prove", "sign_in"]

_CHALLENGE_BYTES = 32
_ANSWER_CHARACTERS_MAX = 20_000


class PasskeyRefused(BadRequest):
    """The device's answer is not valid, is too late, or is for another site or person."""

    code = "passkey_refused"


class TooManyPasskeys(BadRequest):
    """The user has as many passkeys as they may."""

    code = "too_many_passkeys"


class RelyingParty(msgspec.Struct, frozen=True):
    """Who asks for a passkey: a host name, this service's name, and the origin of its pages."""

    host: str
    name: str
    origin: str


async def ask_to_add(
    connection: AsyncConnection, party: RelyingParty, user_id: str, email: str
) -> str:
    """Return what a browser needs to make a passkey, as JSON. Raises TooManyPasskeys."""
    await _check_room(connection, user_id)
    options = webauthn.generate_registration_options(
        rp_id=party.host,
        rp_name=party.name,
        user_id=UUID(user_id).bytes,
        user_name=email,
        challenge=await _challenge(connection, "add", user_id),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED,
            user_verification=UserVerificationRequirement.PREFERRED,
        ),
        exclude_credentials=await _descriptors(connection, user_id),
    )
    return options_to_json(options)


async def add(
    connection: AsyncConnection, party: RelyingParty, user_id: str, name: str, answer: str
) -> Passkey:
    """Keep a passkey that a device made. Raises PasskeyRefused, TooManyPasskeys or BadRequest."""
    name = clean_name(name)
    challenge = await _spend(connection, "add", user_id, answer)
    try:
        made = webauthn.verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=party.host,
            expected_origin=party.origin,
        )
    except WebAuthnException:
        raise _refused() from None
    await alone(connection, f"passkeys of {user_id}")
    await _check_room(connection, user_id)
    known = passkeys.c.credential == made.credential_id
    if await connection.scalar(select(passkeys.c.id).where(known)) is not None:
        raise PasskeyRefused("This passkey is already registered.")
    added = Passkey(id=new_id(), name=name, created_at=wall.now(), used_at=None)
    await connection.execute(
        insert(passkeys).values(
            **msgspec.structs.asdict(added),
            user_id=user_id,
            credential=made.credential_id,
            public_key=made.credential_public_key,
            signatures=made.sign_count,
        )
    )
    return added


async def ask(connection: AsyncConnection, party: RelyingParty, user_id: str | None) -> str:
    """Return what a browser needs to use a passkey, as JSON: a user's, or for signing in any."""
    purpose: Purpose = "prove" if user_id else "sign_in"
    wanted = UserVerificationRequirement.PREFERRED if user_id else _REQUIRED
    options = webauthn.generate_authentication_options(
        rp_id=party.host,
        challenge=await _challenge(connection, purpose, user_id),
        allow_credentials=await _descriptors(connection, user_id) if user_id else None,
        user_verification=wanted,
    )
    return options_to_json(options)


async def prove(
    connection: AsyncConnection, party: RelyingParty, user_id: str, answer: str
) -> None:
    """Accept an answer by a user's passkey. Raises PasskeyRefused."""
    challenge = await _spend(connection, "prove", user_id, answer)
    row = await _held(connection, answer)
    if row["user_id"] != user_id:
        raise _refused()
    await _accept(connection, party, row, challenge, answer, must_know_user=False)


async def sign_in(connection: AsyncConnection, party: RelyingParty, answer: str) -> str:
    """Return the id of the user who owns the passkey. Raises PasskeyRefused."""
    challenge = await _spend(connection, "sign_in", None, answer)
    row = await _held(connection, answer)
    await _accept(connection, party, row, challenge, answer, must_know_user=True)
    return str(row["user_id"])


_REQUIRED = UserVerificationRequirement.REQUIRED


async def _challenge(connection: AsyncConnection, purpose: Purpose, user_id: str | None) -> bytes:
    challenge = secrets.token_bytes(_CHALLENGE_BYTES)
    until = clock(timedelta(seconds=CHALLENGE_SECONDS))
    await connection.execute(
        insert(passkey_challenges).values(
            challenge=challenge, purpose=purpose, user_id=user_id, expires_at=until
        )
    )
    return challenge


async def _spend(
    connection: AsyncConnection, purpose: Purpose, user_id: str | None, answer: str
) -> bytes:
    """Delete the challenge that an answer names, and return it. Raises PasskeyRefused."""
    if len(answer) > _ANSWER_CHARACTERS_MAX:
        raise _refused()
    try:
        data = base64url_to_bytes(json.loads(answer)["response"]["clientDataJSON"])
        challenge = parse_client_data_json(data).challenge
    except (ValueError, KeyError, TypeError, WebAuthnException):
        raise _refused() from None
    spent = await connection.execute(
        delete(passkey_challenges).where(
            passkey_challenges.c.challenge == challenge,
            passkey_challenges.c.purpose == purpose,
            passkey_challenges.c.user_id.is_not_distinct_from(user_id),
            passkey_challenges.c.expires_at > clock(),
        )
    )
    if not spent.rowcount:
        raise PasskeyRefused("That took too long. Try again.")
    return challenge


async def _held(connection: AsyncConnection, answer: str) -> RowMapping:
    try:
        credential = parse_authentication_credential_json(answer).raw_id
    except WebAuthnException:
        raise _refused() from None
    query = select(passkeys).where(passkeys.c.credential == credential)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise PasskeyRefused("This passkey is not known here. It may have been removed.")
    return row


async def _accept(
    connection: AsyncConnection,
    party: RelyingParty,
    row: RowMapping,
    challenge: bytes,
    answer: str,
    *,
    must_know_user: bool,
) -> None:
    try:
        proved: VerifiedAuthentication = webauthn.verify_authentication_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=party.host,
            expected_origin=party.origin,
            credential_public_key=row["public_key"],
            credential_current_sign_count=row["signatures"],
            require_user_verification=must_know_user,
        )
    except WebAuthnException:
        raise _refused() from None
    await connection.execute(
        update(passkeys)
        .where(passkeys.c.id == row["id"])
        .values(signatures=proved.new_sign_count, used_at=wall.now())
    )


async def _descriptors(
    connection: AsyncConnection, user_id: str
) -> list[PublicKeyCredentialDescriptor]:
    query = select(passkeys.c.credential).where(passkeys.c.user_id == user_id)
    return [PublicKeyCredentialDescriptor(id=one) for one in await connection.scalars(query)]


async def _check_room(connection: AsyncConnection, user_id: str) -> None:
    if await count(connection, passkeys, passkeys.c.user_id == user_id) >= PASSKEYS_MAX:
        raise TooManyPasskeys(f"You can have at most {PASSKEYS_MAX} passkeys. Remove one first.")


def _refused() -> PasskeyRefused:
    return PasskeyRefused("The passkey was not accepted. Try again, or use another way.")
