"""What an operator can do: the form that does it in the browser, and the command for the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
from sqlalchemy import select

from gateway.control_plane.back_office import approvals, model_control
from gateway.control_plane.billing import credit
from gateway.control_plane.catalog import toml
from gateway.storage.database import Database
from gateway.storage.tables import api_keys, incident_updates, ledger_entries, price_changes, users
from testing.back_office import ADMIN

MIA, BO, KIM = "mia@example.com", "bo@example.com", "kim@example.com"
"""A finance operator, an owner, and a support operator whom the owner manages."""
WORKER = "http://10.0.0.1:8080"


class World(NamedTuple):
    """An organization and what belongs to it, by id."""

    database: Database
    organization_id: str
    payment_id: str
    """Bought at Stripe."""
    odd_payment_id: str
    """Of which Stripe knows nothing."""
    mail_id: str
    """It failed."""
    vote_id: str
    incident_id: str
    model_id: str

    async def scalar(self, query: Any) -> Any:
        """Return the one value that a query finds."""
        async with self.database.read() as connection:
            return await connection.scalar(query)


class Deed(NamedTuple):
    """One thing done: the page that has the form, the form, and the command."""

    page: str
    path: str
    fields: dict[str, str]
    command: tuple[str, ...]
    who: str = MIA
    is_checked: bool = False
    """Whether it is filled in, checked, and then posted."""


async def of_money(world: World, name: str, why: str, *said: str) -> Deed | None:
    """Return a deed that moves money or decides about it; None if there is nothing to do it to."""
    path = f"{ADMIN}/{world.organization_id}/{name}"
    cause, _, words = why.partition(": ")
    fields, because = {"cause": cause, "words": words, "ticket": ""}, ("--reason", why)
    match name, said:
        case "grant", (dollars, kind, days):
            fields |= {"amount": dollars, "kind": kind, "expires_days": days}
            expires = ("--expires-days", days) if days else ()
            command = ("credits", "grant", world.organization_id, dollars, "--kind", kind, *expires)
        case "take", (lot, dollars):
            async with world.database.read() as connection:
                lots = (await credit.balance(connection, world.organization_id)).lots
            granted = [one.id for one in lots if not one.source_ref.startswith("payment:")]
            if not granted:
                return None
            chosen = granted[int(lot) % len(granted)]
            fields |= {"lot": chosen, "amount": dollars}
            command = ("credits", "take", world.organization_id, chosen, dollars)
        case "refund", (dollars,):
            fields |= {"payment": world.payment_id, "amount": dollars}
            command = ("billing", "refund", world.payment_id, dollars)
        case "undo", (kind,):
            entry = ledger_entries.c
            of = (entry.organization_id == world.organization_id) & (entry.kind == kind)
            number = await world.scalar(select(entry.id).where(of).order_by(entry.id))
            if number is None:
                return None
            fields["entry"] = f"{number}"
            command = ("credits", "undo", world.organization_id, f"{number}")
        case (("approve" | "reject"), ()):
            async with world.database.read() as connection:
                waiting = await approvals.waiting(connection)
            if not waiting:
                return None
            path, order = "/admin/approvals", waiting[0].id
            command = ("credits", name, order, *(because if name == "reject" else ()))
            return Deed(path, f"{path}/{order}/{name}", {"words": why}, command, BO)
        case _:
            raise AssertionError(name)
    return Deed(path, path, fields, (*command, *because), is_checked=True)


async def of_account(  # noqa: C901 - a list of what can be done
    world: World, name: str, why: str, *said: str
) -> Deed:
    """Return a deed about the organization."""
    own, words, because = f"{ADMIN}/{world.organization_id}", {"words": why}, ("--reason", why)
    command: tuple[str, ...]
    match name, said:
        case "suspend", ():
            command = ("credits", "freeze", world.organization_id)
        case "unsuspend", ():
            command = ("credits", "unfreeze", world.organization_id)
        case "release", ():
            command = ("billing", "release", world.organization_id)
        case "top-up-off", ():
            command = ("billing", "auto-top-up", world.organization_id, "--off")
        case "note", ():
            command, because = ("organizations", "note", world.organization_id, why), ()
        case "resend", ():
            words["target"], command = world.mail_id, ("mail", "retry", world.mail_id)
        case "reconcile", ():
            words["target"] = world.payment_id
            command = ("billing", "reconcile", world.payment_id)
        case (("seen" | "abandon"), ()):
            words["target"] = world.odd_payment_id
            command = ("billing", name, world.odd_payment_id)
        case "requests", (most,):
            words["amount"] = "" if most == "none" else most
            command = ("organizations", "limit", world.organization_id, most)
        case (("revoke" | "budget"), (dollars,)):
            key = await world.scalar(select(api_keys.c.id))
            words |= {"target": key, "amount": dollars}
            command = ("keys", name, key, *((dollars,) if name == "budget" else ()))
        case _:
            raise AssertionError(name)
    return Deed(own, f"{own}/{name}", words, (*command, *because))


async def of_model(world: World, name: str, why: str, *said: str) -> Deed | None:
    """Return a deed about the model: its launch, prices and state, and votes for it."""
    fields, because, model = {"reason": why}, ("--reason", why), world.model_id
    page = path = f"/admin/models/{model}"
    command: tuple[str, ...]
    match name, said:
        case "launch", (dollars,):
            page = path = f"/admin/launches/{model}"
            fields["price"] = dollars
            command = ("models", "launch", model, "--price", dollars)
        case (("pause" | "resume"), ()):
            page = f"/admin/launches/{model}"
            path, command = f"{page}/{name}", ("launches", name, model)
        case "price", (dollars, day):
            page = path = f"{page}/price"
            fields |= {"price": dollars, "day": day}
            command = ("models", "price", model, dollars, *(("--from", day) if day else ()))
        case "cancel-price", ():
            change = await world.scalar(select(price_changes.c.id).order_by(price_changes.c.id))
            if change is None:
                return None
            path, fields["change"] = f"{page}/price/cancel", change
            command = ("models", "cancel-price", change)
        case "state", (state,):
            path, fields["state"] = f"{page}/state", state
            command = ("models", "state", model, state)
        case "edit", (license_,):
            card, _ = await _texts(world, license_)
            page = path = f"{page}/edit"
            fields |= {"card": card, "page": "", "do": "save"}
            command = ("models", "edit", model, "--facts", _file(world, "facts", card))
        case "add", (new, dollars):
            card, words = await _texts(world, "MIT")
            words, page = words.replace(model, new), "/admin/models/new"
            path = page
            fields |= {"id": new, "card": card, "page": words, "price": dollars, "flex": ""}
            fields["do"] = "save"
            files = ("--facts", _file(world, "facts", card), "--page", _file(world, "page", words))
            command = ("models", "add", new, *files, "--price", dollars)
        case (("set-aside" | "restore"), ()):
            page, path = f"/admin/demand/{model}", "/admin/bulk/do"
            fields |= {"action": f"{name}-votes", "ids": world.vote_id}
            command = ("demand", name, world.vote_id)
        case _:
            raise AssertionError(name)
    return Deed(page, path, fields, (*command, *because), BO)


async def _texts(world: World, license_: str) -> tuple[str, str]:
    """Return the model's facts, with another license, and the words of its page."""
    async with world.database.read() as connection:
        found = await model_control.current(connection, world.model_id)
    card = msgspec.structs.replace(found.card, license=license_)
    return toml.written(card), toml.written(found.page)


def _file(world: World, name: str, text: str) -> str:
    """Write what a command reads, beside the database."""
    assert world.database.url.database
    file = Path(world.database.url.database).with_name(f"{name}.toml")
    file.write_text(text)
    return str(file)


async def of_incident(world: World, name: str, why: str, *said: str) -> Deed | None:
    """Return a deed that tells the public of the incident; None if there is nothing to correct."""
    page, (title, words) = f"/admin/incidents/{world.incident_id}", said
    fields, subject = {"title": title, "words": words, "reason": why}, world.incident_id
    path = f"{page}/{name}"
    if name == "correct":
        first = select(incident_updates.c.id).order_by(incident_updates.c.id)
        if (subject := await world.scalar(first)) is None:
            return None
        page, fields["update"] = f"{page}?correct={subject}", subject
    command = ("incidents", name, subject, "--title", title, "--words", words, "--reason", why)
    return Deed(page, path, fields, command, BO)


async def of_service(world: World, name: str, why: str, *said: str) -> Deed:
    """Return a deed about workers, events, operators or needs."""
    fields, because = {"reason": why}, ("--reason", why)
    command: tuple[str, ...]
    match name, said:
        case (("drain" | "undrain" | "check"), ()):
            query = urlencode({"url": WORKER})
            page, path = f"/admin/workers/worker?{query}", f"/admin/workers/{name}?{query}"
            command = ("workers", name, WORKER)
        case "replay", ():
            page = "/admin/events/evt_1"
            path, command = f"{page}/replay", ("events", "replay", "evt_1")
        case "snooze", ():
            page, path = "/admin/snooze?key=mail-failed", "/admin/snooze"
            fields |= {"key": "mail-failed", "hours": "24"}
            command = ("attention", "snooze", "mail-failed")
        case "unsnooze", ():
            page, path, because = "/admin/snoozed", "/admin/snooze/end", ()
            fields = {"key": "mail-failed"}
            command = ("attention", "unsnooze", "mail-failed")
        case "operator", ("add", address):
            page = path = "/admin/operators"
            fields |= {"email": address, "role": "read"}
            command = ("operators", "add", address, "--role", "read")
        case "operator", (("role" | "reset" | "remove") as done, *role):
            page, fields["role"] = "/admin/operators", "".join(role)
            user_id = await world.scalar(select(users.c.id).where(users.c.email == KIM))
            path, command = f"{page}/{user_id}/{done}", ("operators", done, KIM, *role)
        case _:
            raise AssertionError(name)
    return Deed(page, path, fields, (*command, *because), BO)
