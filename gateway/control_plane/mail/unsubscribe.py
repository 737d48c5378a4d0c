"""Who wants no more mail that they did not just ask for, said with one click (RFC 8058)."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import insert_into
from gateway.storage.tables import unsubscriptions


class Unsubscriptions:
    """Makes the links and keeps the list. A link works for ever: it must, in an old mail."""

    def __init__(self, *, secret: str, public_url: str) -> None:
        self._secret = secret.encode()
        self._public_url = public_url

    def url(self, email: str) -> str:
        """Return the address of one person's one click."""
        return f"{self._public_url}/mail/unsubscribe/{self.token(email)}"

    def token(self, email: str) -> str:
        """Return what stands in the address: the mail address, and proof that we wrote it."""
        return f"{email.encode().hex()}.{self._proof(email)}"

    def read(self, token: str) -> str | None:
        """Return whose token this is, or None."""
        text, _, proof = token.partition(".")
        try:
            email = bytes.fromhex(text).decode()
        except ValueError:
            return None
        ours = hmac.compare_digest(self._proof(email).encode(), proof.encode())
        return email if ours else None

    def _proof(self, email: str) -> str:
        return hmac.digest(self._secret, f"unsubscribe|{email}".encode(), "sha256").hex()


async def add(connection: AsyncConnection, email: str) -> None:
    """Put somebody on the list; twice is fine."""
    await connection.execute(
        insert_into(connection, unsubscriptions)
        .values(email=email, created_at=datetime.now(UTC))
        .on_conflict_do_nothing()
    )


async def lift(connection: AsyncConnection, email: str) -> None:
    """Take somebody off the list: they asked for a mail since, with proof that they read them."""
    await connection.execute(delete(unsubscriptions).where(unsubscriptions.c.email == email))


async def holds(connection: AsyncConnection, email: str) -> bool:
    """Tell whether somebody is on the list."""
    found = select(unsubscriptions.c.email).where(unsubscriptions.c.email == email)
    return await connection.scalar(found) is not None
