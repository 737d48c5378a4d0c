"""The waitlist: who hears from us once when a model is live.

Somebody with an account is on it with one click; anybody else confirms by a mailed link, so that
nobody is put on it by another. On sign-in the entries of an address become the account's.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.demand import events, votes
from gateway.control_plane.mail import unsubscribe
from gateway.identifiers import new_id
from gateway.storage.database import insert_into
from gateway.storage.tables import unsubscriptions, waitlist_entries


async def join(
    connection: AsyncConnection, model_id: str, address: Address, user_id: str | None
) -> None:
    """Put a verified address on the list; twice is fine. Raises NotComing.

    Whoever does this asks for a mail, so an unsubscription from before ends; of a mailbox's
    spellings it goes to the one that asked last.
    """
    entry_id = new_id()
    asked = insert_into(connection, waitlist_entries)
    user = func.coalesce(asked.excluded.user_id, waitlist_entries.c.user_id)
    await votes.hold(connection, model_id)
    await unsubscribe.lift(connection, address.email)
    kept = await connection.scalar(
        asked.values(
            id=entry_id,
            model_id=model_id,
            email=address.email,
            address_key=address.key,
            user_id=user_id,
            confirmed_at=datetime.now(UTC),
        )
        .on_conflict_do_update(
            index_elements=["model_id", "address_key"],
            set_={"email": asked.excluded.email, "user_id": user},
        )
        .returning(waitlist_entries.c.id)
    )
    if kept == entry_id:
        await events.record(connection, "waitlist", model_id)


async def leave(connection: AsyncConnection, model_id: str, address_key: str) -> None:
    """Take an address off the list."""
    gone = await connection.execute(
        delete(waitlist_entries).where(
            waitlist_entries.c.model_id == model_id,
            waitlist_entries.c.address_key == address_key,
        )
    )
    if gone.rowcount:
        await events.record(connection, "leave", model_id)


async def is_waiting(connection: AsyncConnection, address_key: str, model_id: str) -> bool:
    """Tell whether a mailbox waits for a model, and by a spelling that still wants our mail."""
    query = select(waitlist_entries.c.id).where(
        waitlist_entries.c.model_id == model_id,
        waitlist_entries.c.address_key == address_key,
        waitlist_entries.c.email.not_in(select(unsubscriptions.c.email)),
    )
    return await connection.scalar(query) is not None


async def models_of(connection: AsyncConnection, address_key: str) -> set[str]:
    """Return the models that an address waits for."""
    found = await connection.scalars(
        select(waitlist_entries.c.model_id).where(waitlist_entries.c.address_key == address_key)
    )
    return set(found)


async def adopt(connection: AsyncConnection, address: Address, user_id: str) -> None:
    """Make the entries of an address those of its account."""
    await connection.execute(
        update(waitlist_entries)
        .where(waitlist_entries.c.address_key == address.key)
        .values(user_id=user_id)
    )
