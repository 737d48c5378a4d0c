"""What operators edited: fields of a model's card and page that the reviewed files no longer set.

Only fields that differ from the files are stored as edits. So a field that is set back to what the
file says is the file's again, and all other fields follow the files as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.catalog import content, golden
from gateway.control_plane.catalog.cards import ModelCard
from gateway.control_plane.catalog.content import ModelPage, ReviewedPage
from gateway.errors import BadRequest
from gateway.storage.tables import models

TEXT_CHARACTERS_MAX = 20_000
"""Longest text of a card or page, as TOML."""

Fields = dict[str, Any]
Struct = TypeVar("Struct", bound=msgspec.Struct)


class BadModel(BadRequest):
    """The text is not TOML, or would not be valid in a data file."""

    code = "bad_model"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A field that an operator set, and what the file says: None where it says nothing."""

    model_id: str
    part: str
    """card, page or price"""
    field: str
    file: Any
    now: Any


class CardEdits(msgspec.Struct, frozen=True, kw_only=True):
    """What operators set besides the page: fields of the card, and whether the price is theirs."""

    card: Fields = {}
    price: bool = False


def read(text: str, kind: type[Struct], *, param: str) -> Struct:
    """Read a card or page as the data files are read. Raises BadModel."""
    if len(text) > TEXT_CHARACTERS_MAX:
        raise BadModel(f"At most {TEXT_CHARACTERS_MAX:,} characters.", param=param)
    try:
        return msgspec.toml.decode(text, type=kind, strict=False)
    except (msgspec.DecodeError, ValueError) as error:
        raise BadModel(f"This can't be read: {error}.", param=param) from None


def fields_of(struct: msgspec.Struct) -> Fields:
    """Return a struct's fields as JSON has them."""
    found: Fields = msgspec.json.decode(msgspec.json.encode(struct))
    return found


def differing(now: Mapping[str, Any], file: Mapping[str, Any]) -> Fields:
    """Return the fields whose values are not the file's."""
    return {name: value for name, value in now.items() if value != file.get(name)}


def merged(file: Mapping[str, Any], edits: Mapping[str, Any], kind: type[Struct]) -> Struct:
    """Return what the file says, except what was edited. Raises msgspec.ValidationError."""
    return msgspec.json.decode(msgspec.json.encode({**file, **edits}), type=kind)


def edited_page(page: ModelPage, words: str) -> ModelPage:
    """Return a page with the fields that operators set; unchanged if that would be invalid."""
    if not words:
        return page
    try:
        return merged(fields_of(page), msgspec.json.decode(words), ModelPage)
    except msgspec.ValidationError:
        return page


async def of_model(connection: AsyncConnection, model_id: str) -> tuple[CardEdits, Fields]:
    """Return what operators set for a model: edits of its card and price, and of its page."""
    query = select(models.c.card_edits, models.c.page_edits).where(models.c.id == model_id)
    row = (await connection.execute(query)).one_or_none()
    return read_edits(row.card_edits if row else None), _fields(row.page_edits if row else None)


def read_edits(stored: str | None) -> CardEdits:
    """Read the column `card_edits`."""
    return msgspec.json.decode(stored, type=CardEdits) if stored else CardEdits()


async def store(
    connection: AsyncConnection, model_id: str, card: ModelCard, edits: CardEdits, page: Fields
) -> None:
    """Store a model's card as it is now, and which fields operators set."""
    await golden.lock_catalog(connection)
    values = {
        "card": msgspec.json.encode(card).decode(),
        "card_edits": msgspec.json.encode(edits).decode(),
        "page_edits": msgspec.json.encode(page).decode() if page else None,
    }
    changed = await connection.execute(
        update(models).where(models.c.id == model_id).values(**values)
    )
    if not changed.rowcount:
        new = {"id": model_id, "state": "coming_soon", "created_at": wall.now()}
        await connection.execute(insert(models).values(**new, **values))


async def own_price(connection: AsyncConnection, model_id: str) -> None:
    """Note that an operator set the price, so that the file's estimate no longer applies."""
    await golden.lock_catalog(connection)
    edits, _ = await of_model(connection, model_id)
    stored = msgspec.json.encode(msgspec.structs.replace(edits, price=True)).decode()
    # `card` is set too: see the table
    await connection.execute(
        update(models).where(models.c.id == model_id).values(card_edits=stored, card=models.c.card)
    )


def page_of_file(model_id: str) -> ModelPage | None:
    """Return the page that a file describes."""
    return content.reviewed().get(model_id)


def checked_page(text: str, model_id: str) -> ReviewedPage:
    """Read a page. Raises BadModel."""
    page = read(text, ReviewedPage, param="page")
    if page.id != model_id:
        raise BadModel(f"The page's id must be {model_id}.", param="page")
    return page


def _fields(stored: str | None) -> Fields:
    found: Fields = msgspec.json.decode(stored) if stored else {}
    return found
