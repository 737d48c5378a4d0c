"""Editing and adding a model: its card and page as the data files have them, with a preview."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, URLEncodedBody

from gateway.control_plane.back_office import model_control, orders
from gateway.control_plane.billing.credit import nanos_of_dollars
from gateway.control_plane.catalog import content, edits, toml
from gateway.control_plane.catalog.cards import ModelCard
from gateway.control_plane.catalog.content import ModelPage
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.pages.admin.models import ONE, PATH
from gateway.control_plane.web.forms import (
    FormPage,
    RefusedForm,
    lines,
    post_form,
    see_other,
)
from gateway.control_plane.web.rendering import Render
from gateway.storage.database import Database


class EditForm(msgspec.Struct, frozen=True, kw_only=True):
    """A card and a page as TOML, and why. `do` is `check` or `save`; an empty page stays."""

    card: str = ""
    page: str = ""
    reason: str = ""
    do: str = ""


class NewModelForm(EditForm, frozen=True, kw_only=True):
    """A model to add, with its estimated prices in dollars."""

    id: str = ""
    price: str = ""
    flex: str = ""


async def provide_edit_page(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    owner: FromPath[str],
    name: FromPath[str],
) -> FormPage:
    """Provide the form that edits a model, with what was typed and a preview of it."""

    async def page(refused: RefusedForm | None) -> Response[Any]:
        async with database.read() as connection:
            current = await model_control.current(connection, f"{owner}/{name}")
        if refused is not None:
            form = refused.typed
        else:
            is_plain = current.page == content.plain(current.model)  # which nobody wrote
            page = "" if is_plain else toml.written(current.page)
            form = EditForm(card=toml.written(current.card), page=page)
        return _edit(render, current, form, refused)

    return page


@get(ONE + "/edit", dependencies={"page": Provide(provide_edit_page)})
async def show_edit(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show the form that edits a model."""
    return await page(None)


@post_form(ONE + "/edit", "edit", provide_edit_page)
async def edit_model(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    operator: NamedDependency[Operator],
    owner: FromPath[str],
    name: FromPath[str],
    data: URLEncodedBody[EditForm],
) -> Response[Any]:
    """Show what an edit would change; when that was seen, save it."""
    model_id = f"{owner}/{name}"
    card, page = lines(data.card), lines(data.page)
    if data.do != "save":
        async with database.read() as connection:
            current = await model_control.current(connection, model_id)
        new_card = edits.read(card, ModelCard, param="card")
        new_page = edits.checked_page(page, model_id) if page.strip() else current.page
        return _edit(render, current, data, None, preview=(new_card, new_page))
    async with database.write() as connection:
        await model_control.edit(
            connection, operator, model_id, card=card, page=page, reason=data.reason
        )
    return see_other(f"{PATH}/{model_id}?done=edited")


async def provide_new_page(render: NamedDependency[Render]) -> FormPage:
    """Provide the form that adds a model."""

    async def page(refused: RefusedForm | None) -> Response[Any]:
        return _new(render, refused.typed if refused else NewModelForm(), refused)

    return page


@get(PATH + "/new", dependencies={"page": Provide(provide_new_page)})
async def show_new(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show the form that adds a model."""
    return await page(None)


@post_form(PATH + "/new", "new", provide_new_page)
async def add_model(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    operator: NamedDependency[Operator],
    data: URLEncodedBody[NewModelForm],
) -> Response[Any]:
    """Show the page of a model to be; when that was seen, add it."""
    card, page = lines(data.card), lines(data.page)
    nanos = nanos_of_dollars(data.price, param="price")
    flex = nanos_of_dollars(data.flex, param="flex") if data.flex.strip() else nanos // 2
    model_id = data.id.strip()
    if data.do != "save":
        preview = edits.read(card, ModelCard, param="card"), edits.checked_page(page, model_id)
        return _new(render, data, None, preview=preview)
    async with database.write() as connection:
        await model_control.add(
            connection,
            operator,
            model_id,
            card=card,
            page=page,
            nanos=nanos,
            flex_nanos=flex,
            reason=data.reason,
        )
    return see_other(f"{PATH}/{model_id}?done=added")


def _edit(
    render: Render,
    current: model_control.CurrentModel,
    form: EditForm,
    refused: RefusedForm | None,
    *,
    preview: tuple[ModelCard, ModelPage] | None = None,
) -> Response[Any]:
    before = {**edits.fields_of(current.card), **edits.fields_of(current.page)}
    after = {k: v for part in preview or () for k, v in edits.fields_of(part).items()}
    return render(
        "admin/model_edit.html",
        section="models",
        path=f"{PATH}/{current.model.id}/edit",
        refused=refused,
        model=current.model,
        form=form,
        preview=preview,
        changes=[
            (field, before.get(field), after[field])
            for field in after
            if after[field] != before.get(field)
        ],
        text_max=edits.TEXT_CHARACTERS_MAX,
        reason_max=orders.REASON_CHARACTERS_MAX,
    )


def _new(
    render: Render,
    form: NewModelForm,
    refused: RefusedForm | None,
    *,
    preview: tuple[ModelCard, ModelPage] | None = None,
) -> Response[Any]:
    return render(
        "admin/model_edit.html",
        section="models",
        path=f"{PATH}/new",
        refused=refused,
        model=None,
        form=form,
        preview=preview,
        changes=[],
        text_max=edits.TEXT_CHARACTERS_MAX,
        reason_max=orders.REASON_CHARACTERS_MAX,
    )


HANDLERS = (show_edit, edit_model, show_new, add_model)
"""The pages of this module."""
