"""What commands use to move money or suspend accounts: the same parts as the pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.app.mails_and_moves import make_mail, make_moves
from gateway.cli.printing import opened
from gateway.control_plane.back_office.account_mails import AccountMails
from gateway.control_plane.back_office.moves import MoveOutcome, Moves
from gateway.settings import Settings
from gateway.storage.database import Database

if TYPE_CHECKING:
    from gateway.app.payments import Payments


@asynccontextmanager
async def moving() -> AsyncIterator[tuple[Database, Moves]]:
    """Open the database, and make the part that moves credit. For refunds, see `moves_of`."""
    async with opened() as database:
        yield database, moves_of(database, None)


def moves_of(database: Database, sold: Payments | None) -> Moves:
    """Make the part that moves money, with refunds if credit is sold."""
    return make_moves(Settings.from_environment(), database, sold, mails_of(database))


def mails_of(database: Database) -> AccountMails:
    """Make the part that writes mails to owners; a running gateway sends them."""
    settings = Settings.from_environment()
    writer, outbox = make_mail(settings, database)
    return AccountMails(outbox, writer, public_url=settings.public_url)


def waits(outcome: MoveOutcome) -> str:
    """Say what an order waits for, or what became of one that waited."""
    if outcome.state != "waiting":
        return f"Order {outcome.order_id} is {outcome.state}; nothing changed."
    if outcome.due_at is not None:
        return (
            f"Nobody else may approve, so order {outcome.order_id} is done at "
            f"{outcome.due_at:%Y-%m-%d %H:%M}Z, unless it is rejected."
        )
    return f"A second operator must approve: gateway credits approve {outcome.order_id}"
