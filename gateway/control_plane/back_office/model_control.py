"""Models as operators change them: cards and pages, new models, states, and golden vectors."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office import acting
from gateway.control_plane.catalog import cards, catalog, content, edits, golden
from gateway.control_plane.catalog.cards import ModelCard, ReviewedModel
from gateway.control_plane.catalog.content import ModelPage
from gateway.control_plane.catalog.edits import BadModel, CardEdits, Difference, Fields
from gateway.control_plane.demand.launches import ModelUnknown
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail import entries
from gateway.errors import BadRequest
from gateway.snapshots import ModelSnapshot, PriceSnapshot, State
from gateway.storage.tables import launches, models, trail_entries, users

ID_CHARACTERS_MAX = 200


class CannotChangeState(BadRequest):
    """A model can't go from its state to that one."""

    status = 409
    code = "cannot_change_state"


class CurrentModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it is, and as the files have it: None where they don't name it."""

    model: ModelSnapshot
    card: ModelCard
    page: ModelPage
    file_card: ModelCard | None
    file_page: ModelPage | None
    differing: list[Difference]
    """What operators set."""


async def current(connection: AsyncConnection, model_id: str) -> CurrentModel:
    """Return a model as it is. Raises ModelUnknown."""
    row = (await connection.execute(select(models).where(models.c.id == model_id))).one_or_none()
    if row is None:
        raise ModelUnknown(f"The catalog has no model {model_id!r}.")
    snapshot = (await catalog.changed_since(connection, row.version - 1))[model_id]
    file_page = content.reviewed().get(model_id)
    file = next((model for model in cards.reviewed() if model.id == model_id), None)
    return CurrentModel(
        model=snapshot,
        card=msgspec.json.decode(row.card, type=ModelCard),
        page=edits.edited_page(file_page or content.plain(snapshot), row.page_edits or ""),
        file_card=cards.as_card(file) if file else None,
        file_page=file_page,
        differing=_of_row(row, file, file_page, snapshot.price),
    )


async def edit(
    connection: AsyncConnection,
    operator: Operator,
    model_id: str,
    *,
    card: str,
    page: str,
    reason: str,
) -> list[Difference]:
    """Replace a model's card and page by texts as the data files have them; an empty one stays.

    Returns what differs from the files now. Raises NotPermitted, NoReasonGiven, ModelUnknown,
    BadModel.
    """
    operator.must("service")
    said = acting.checked(operator, reason)
    await golden.lock_catalog(connection)
    before = await current(connection, model_id)
    own, words = await edits.of_model(connection, model_id)
    new_card = edits.read(card, ModelCard, param="card") if card.strip() else before.card
    if before.model.state == "live" and not new_card.vocabulary_sha256:
        raise BadModel("A live model needs its vocabulary_sha256.", param="card")
    new_page: ModelPage = before.page
    if page.strip():
        new_page = edits.checked_page(page, model_id)
        words = _differing(new_page, before.file_page)
    stored = msgspec.structs.replace(own, card=_differing(new_card, before.file_card))
    await edits.store(connection, model_id, new_card, stored, words)
    changed = _changed(before.card, new_card) + _changed(before.page, new_page)
    await entries.record(
        connection,
        operator.actor,
        "model.edited",
        f"model:{model_id}",
        before={"edited": sorted(own.card)},
        after={"changed": changed, "edited": sorted({*stored.card, *words})},
        reason=said,
    )
    return await differences(connection, model_id)


async def add(
    connection: AsyncConnection,
    operator: Operator,
    model_id: str,
    *,
    card: str,
    page: str,
    nanos: int,
    flex_nanos: int,
    reason: str,
) -> None:
    """Add a model that is coming soon, at an estimated price.

    Raises NotPermitted, NoReasonGiven, BadModel.
    """
    operator.must("service")
    said = acting.checked(operator, reason)
    owner, _, name = model_id.partition("/")
    if not owner or not name or "/" in name or len(model_id) > ID_CHARACTERS_MAX or " " in model_id:
        raise BadModel("A model is named OWNER/NAME.", param="id")
    if flex_nanos > nanos:
        raise BadModel("Flex can't cost more than the default tier.", param="flex")
    await golden.lock_catalog(connection)
    if await connection.scalar(select(models.c.id).where(models.c.id == model_id)):
        raise BadModel(f"The catalog already has {model_id}.", param="id")
    new_card = edits.read(card, ModelCard, param="card")
    new_page = edits.checked_page(page, model_id)
    own = CardEdits(card=edits.fields_of(new_card), price=True)
    await edits.store(connection, model_id, new_card, own, edits.fields_of(new_page))
    await catalog.set_price(connection, model_id, nanos)
    await catalog.set_price(connection, model_id, flex_nanos, tier="flex")
    await entries.record(
        connection,
        operator.actor,
        "model.added",
        f"model:{model_id}",
        after={"state": "coming_soon", "price_nanos": nanos, "flex_price_nanos": flex_nanos},
        reason=said,
    )


async def set_state(
    connection: AsyncConnection, operator: Operator, model_id: str, state: State, *, reason: str
) -> None:
    """Retire a model, or bring a retired one back; only a launch makes one live first.

    Raises NotPermitted, NoReasonGiven, ModelUnknown, CannotChangeState.
    """
    operator.must("service")
    said = acting.checked(operator, reason)
    await golden.lock_catalog(connection)
    query = select(models.c.state).where(models.c.id == model_id).with_for_update()
    before = await connection.scalar(query)
    if before is None:
        raise ModelUnknown(f"The catalog has no model {model_id!r}.")
    if state not in await states_from(connection, model_id, before):
        raise CannotChangeState(f"{model_id} can't go from {before} to {state}.", param="state")
    await catalog.set_state(connection, model_id, state)
    await entries.record(
        connection,
        operator.actor,
        "model.state_changed",
        f"model:{model_id}",
        before={"state": before},
        after={"state": state},
        reason=said,
    )


async def states_from(connection: AsyncConnection, model_id: str, state: State) -> list[State]:
    """Return the states that an operator may set a model to."""
    if state != "retired":
        return ["retired"]
    was = await connection.scalar(
        select(launches.c.model_id).where(launches.c.model_id == model_id)
    )
    file = next((model for model in cards.reviewed() if model.id == model_id), None)
    was_live = was is not None or (file is not None and file.state == "live")
    return ["live"] if was_live else ["coming_soon"]


async def vouchers(connection: AsyncConnection, model_id: str) -> dict[str, str]:
    """Return who vouched for the revisions of a model that an operator pinned, by revision."""
    found = await connection.execute(
        select(trail_entries.c.after, trail_entries.c.actor_kind, users.c.email)
        .outerjoin(users, users.c.id == trail_entries.c.actor_id)
        .where(
            trail_entries.c.subject == f"model:{model_id}",
            trail_entries.c.action == "golden.pinned",
        )
        .order_by(trail_entries.c.number)
    )
    return {
        msgspec.json.decode(row.after)["revision"]: row.email or f"a {row.actor_kind}"
        for row in found
    }


async def unwritten(connection: AsyncConnection) -> list[str]:
    """Return the models that are offered and have neither a file of words nor an operator's."""
    query = select(models.c.id).where(models.c.state != "retired", models.c.page_edits.is_(None))
    without = await connection.scalars(query.order_by(models.c.id))
    known = content.reviewed()
    return [model_id for model_id in without if model_id not in known]


async def differences(connection: AsyncConnection, model_id: str = "") -> list[Difference]:
    """Return what operators set and what the files say, of one model or of all."""
    query = select(models.c.id, models.c.card_edits, models.c.page_edits).order_by(models.c.id)
    if model_id:
        query = query.where(models.c.id == model_id)
    pages, files = content.reviewed(), {model.id: model for model in cards.reviewed()}
    rows = (await connection.execute(query)).all()
    priced = [row.id for row in rows if row.card_edits and edits.read_edits(row.card_edits).price]
    prices = await catalog.newest_prices(connection, priced) if priced else {}
    return [
        difference
        for row in rows
        for difference in _of_row(row, files.get(row.id), pages.get(row.id), prices.get(row.id))
    ]


def _of_row(
    row: Row[*tuple[Any, ...]],
    file: ReviewedModel | None,
    page: ModelPage | None,
    price: PriceSnapshot | None,
) -> list[Difference]:
    """Return how a model differs from its files."""
    own = edits.read_edits(row.card_edits)
    words: Fields = msgspec.json.decode(row.page_edits) if row.page_edits else {}
    found = _differences(row.id, "card", own.card, cards.as_card(file) if file else None)
    found += _differences(row.id, "page", words, page)
    if not (own.price and file and price):
        return found
    says, is_now = file.nanos_per_million_tokens, price.nanos_per_million_tokens
    if says != is_now:
        field = "nanos_per_million_tokens"
        found.append(Difference(model_id=row.id, part="price", field=field, file=says, now=is_now))
    return found


def _differing(now: msgspec.Struct, file: msgspec.Struct | None) -> Fields:
    """Return the fields that are not what the file says."""
    return edits.differing(edits.fields_of(now), edits.fields_of(file) if file else {})


def _changed(before: msgspec.Struct, after: msgspec.Struct) -> list[str]:
    return sorted(edits.differing(edits.fields_of(after), edits.fields_of(before)))


def _differences(
    model_id: str, part: str, own: Fields, file: msgspec.Struct | None
) -> list[Difference]:
    said: Any = edits.fields_of(file) if file is not None else {}
    return [
        Difference(model_id=model_id, part=part, field=name, file=said.get(name), now=value)
        for name, value in own.items()
    ]
