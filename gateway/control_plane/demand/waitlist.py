"""The waitlist: who gets one mail when a model goes live.

A signed-in visitor joins with one click. Anyone else confirms through a mailed link, so that no one
can sign up another person. At sign-in, the entries of an address become the account's. A mailbox
has one entry, which is that of the spelling that joined last: others of it may be other people's.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.demand import votes
from gateway.control_plane.demand.events import Event, record
from gateway.control_plane.mail import unsubscribe
from gateway.identifiers import new_id
from gateway.storage.database import insert_into
from gateway.storage.tables import unsubscriptions, waitlist_entries


async def join(
    connection: AsyncConnection, model_id: str, address: Address, user_id: str | None
) -> None:
    """Add a verified address, once. Raises NotComing.

    Joining asks for a mail, so an earlier unsubscription ends. Of several spellings of one mailbox,
    the last one that joined gets the mail.
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
            confirmed_at=wall.now(),
        )
        .on_conflict_do_update(
            index_elements=["model_id", "address_key"],
            set_={"email": asked.excluded.email, "user_id": user},
        )
        .returning(waitlist_entries.c.id)
    )
    if kept == entry_id:
        await record(connection, Event("waitlist", model_id))


async def leave(connection: AsyncConnection, model_id: str, address: Address) -> None:
    """Remove an address, if it is on the list."""
    gone = await connection.execute(
        delete(waitlist_entries).where(waitlist_entries.c.model_id == model_id, of(address))
    )
    if gone.rowcount:
        await record(connection, Event("leave", model_id))


async def is_waiting(connection: AsyncConnection, address: Address, model_id: str) -> bool:
    """Tell whether an address is on the list, and not unsubscribed."""
    query = select(waitlist_entries.c.id).where(
        waitlist_entries.c.model_id == model_id,
        of(address),
        waitlist_entries.c.email.not_in(select(unsubscriptions.c.email)),
    )
    return await connection.scalar(query) is not None


async def models_of(connection: AsyncConnection, address: Address) -> set[str]:
    """Return the models whose waitlist an address is on."""
    return set(await connection.scalars(select(waitlist_entries.c.model_id).where(of(address))))


async def adopt(connection: AsyncConnection, address: Address, user_id: str) -> None:
    """Give the entries of an address to its account."""
    await connection.execute(update(waitlist_entries).where(of(address)).values(user_id=user_id))


def of(address: Address) -> ColumnElement[bool]:
    """Return what is true of the entries of an address, by the index of its mailbox."""
    entry = waitlist_entries.c
    return and_(entry.address_key == address.key, entry.email == address.email)
