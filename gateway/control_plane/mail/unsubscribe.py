"""Unsubscriptions from mail that the recipient did not just ask for, with one click (RFC 8058)."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.keyring import Keyring
from gateway.storage.database import insert_into
from gateway.storage.tables import unsubscriptions


class Unsubscriptions:
    """Creates and reads unsubscribe links. A link never expires, since old mails contain it."""

    def __init__(self, *, secret: Keyring, public_url: str) -> None:
        self._secret = secret
        self._public_url = public_url

    def url(self, email: str) -> str:
        """Return a person's unsubscribe link."""
        return f"{self._public_url}/mail/unsubscribe/{self.token(email)}"

    def token(self, email: str) -> str:
        """Return the link's token: the mail address and an HMAC."""
        return f"{email.encode().hex()}.{self._secret.prove(_said(email))}"

    def read(self, token: str) -> str | None:
        """Return the mail address of a valid token, or None."""
        text, _, proof = token.partition(".")
        try:
            email = bytes.fromhex(text).decode()
        except ValueError:
            return None
        return email if self._secret.accepts(_said(email), proof) else None


def _said(email: str) -> str:
    return f"unsubscribe|{email}"


async def add(connection: AsyncConnection, email: str) -> None:
    """Unsubscribe an address."""
    await connection.execute(
        insert_into(connection, unsubscriptions)
        .values(email=email, created_at=wall.now())
        .on_conflict_do_nothing()
    )


async def lift(connection: AsyncConnection, email: str) -> None:
    """Subscribe an address again: its verified owner asked for a mail."""
    await connection.execute(delete(unsubscriptions).where(unsubscriptions.c.email == email))


async def holds(connection: AsyncConnection, email: str) -> bool:
    """Tell whether an address is unsubscribed."""
    found = select(unsubscriptions.c.email).where(unsubscriptions.c.email == email)
    return await connection.scalar(found) is not None
