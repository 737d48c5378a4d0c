"""Authenticator apps: codes of six digits that change every 30 seconds (TOTP, RFC 6238).

The secret is stored encrypted and bound to its user. A code is accepted once: the step of the
newest accepted one is kept, and only later steps count. Callers limit how often a user may try.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from datetime import datetime

import msgspec
import pyotp
import segno
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.errors import BadRequest
from gateway.sealing import Seal, Unsealable
from gateway.storage.database import insert_into
from gateway.storage.tables import authenticators

STEP_SECONDS = 30
OFFER_SECONDS = 3600
"""How long a secret that was shown may be set up."""

_DIGITS = 6
_STEPS_AWAY = 1
"""How many steps a device's clock may be off, in either direction."""


class WrongCode(BadRequest):
    """The code of the authenticator app is wrong, or was used before."""

    code = "wrong_code"


class OfferedSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret for an app that is not set up yet."""

    secret: str
    """For people who type it."""
    picture: str
    """The same as a QR code: a `data:` address of an SVG."""
    sealed: str
    """The same for the form that sets it up; readable by us alone, for its user alone."""


class Authenticators:
    """Sets up apps and checks their codes. `brand` is how an app names this service."""

    def __init__(
        self, seal: Seal, *, brand: str, clock: Callable[[], float] = wall.unix_time
    ) -> None:
        self._seal = seal
        self._brand = brand
        self._clock = clock

    def offer(self, user_id: str, email: str, sealed: str = "") -> OfferedSecret:
        """Return a new secret for a user's app, or an offered one again. Raises WrongCode."""
        if sealed:
            secret = self._offered(user_id, sealed)
        else:
            secret = pyotp.random_base32()
            text = f"{secret}|{int(self._clock())}"
            closed = self._seal.close(text, owner=f"offer|{user_id}")
            sealed = base64.urlsafe_b64encode(closed).decode()
        address = pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=self._brand)
        picture = segno.make(address, micro=False).svg_data_uri(scale=4, border=4, light="#fff")
        return OfferedSecret(secret=secret, picture=picture, sealed=sealed)

    async def set_up(
        self, connection: AsyncConnection, user_id: str, sealed: str, code: str
    ) -> None:
        """Make an offered secret the user's, if a code proves that the app has it.

        It replaces the app that was set up before. Raises WrongCode.
        """
        secret = self._offered(user_id, sealed)
        step = self._step(secret, code)
        if step is None:
            raise _wrong()
        values = {
            "sealed": self._seal.close(secret, owner=user_id),
            "last_step": step,
            "created_at": wall.now(),
        }
        await connection.execute(
            insert_into(connection, authenticators)
            .values(user_id=user_id, **values)
            .on_conflict_do_update(index_elements=["user_id"], set_=values)
        )

    async def prove(self, connection: AsyncConnection, user_id: str, code: str) -> None:
        """Accept a code once. Raises WrongCode."""
        mine = authenticators.c.user_id == user_id
        sealed = await connection.scalar(select(authenticators.c.sealed).where(mine))
        if sealed is None:
            raise WrongCode("No authenticator app is set up.", param="factor_code")
        try:
            step = self._step(self._seal.open(sealed, owner=user_id), code)
        except Unsealable:
            raise WrongCode(
                "The app's secret can no longer be read. Set up the app again.", param="factor_code"
            ) from None
        if step is None:
            raise _wrong()
        accepted = await connection.execute(
            update(authenticators)
            .where(mine, authenticators.c.last_step < step)
            .values(last_step=step)
        )
        if not accepted.rowcount:
            raise WrongCode(
                "This code was used already. Wait for the next one.", param="factor_code"
            )

    def _offered(self, user_id: str, sealed: str) -> str:
        try:
            opened = self._seal.open(base64.urlsafe_b64decode(sealed), owner=f"offer|{user_id}")
        except (Unsealable, binascii.Error, ValueError):
            raise _stale() from None
        secret, _, at = opened.partition("|")
        if self._clock() - int(at) > OFFER_SECONDS:
            raise _stale()
        return secret

    def _step(self, secret: str, code: str) -> int | None:
        """Return the step whose code this is, if it is close enough to now."""
        digits = "".join(code.split())
        if len(digits) != _DIGITS or not (digits.isascii() and digits.isdecimal()):
            return None
        codes, now = pyotp.TOTP(secret), int(self._clock()) // STEP_SECONDS
        for step in range(now + _STEPS_AWAY, now - _STEPS_AWAY - 1, -1):
            if hmac.compare_digest(codes.generate_otp(step), digits):
                return step
        return None


async def remove(connection: AsyncConnection, user_id: str) -> bool:
    """Remove a user's app; return False if there is none."""
    gone = await connection.execute(
        delete(authenticators).where(authenticators.c.user_id == user_id)
    )
    return bool(gone.rowcount)


async def set_up_at(connection: AsyncConnection, user_id: str) -> datetime | None:
    """Return when a user set up their app, if they did."""
    return await connection.scalar(
        select(authenticators.c.created_at).where(authenticators.c.user_id == user_id)
    )


def _wrong() -> WrongCode:
    return WrongCode(
        "This is not the code your app shows now. Check that your phone's clock is right.",
        param="factor_code",
    )


def _stale() -> WrongCode:
    return WrongCode("This page was open for too long. Load it again and scan the new code.")
