"""Models: what is offered, what operators edited of it, states, and who vouched for its vectors."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, QueryParameter, URLEncodedBody

from gateway.control_plane.back_office import model_control, orders
from gateway.control_plane.catalog import golden, price_changes
from gateway.control_plane.catalog.catalog import PublishedCatalog
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.pages.admin.lists import address, as_csv
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.rendering import Render
from gateway.snapshots import State
from gateway.storage.database import Database

PATH = "/admin/models"
ONE = PATH + "/{owner:str}/{name:str}"
_VERSIONS_MAX = 50
_SHOWN_MAX = 500
_COLUMNS = ("model", "state", "price_nanos", "flex_price_nanos", "edited", "golden_revisions")
_DONE = {
    "added": "The model is added. It is coming soon.",
    "edited": "The changes are saved.",
    "state": "The state is set. Gateways follow within seconds.",
    "price": "The price is set.",
    "canceled": "The scheduled price is canceled.",
}
"""What a model's page says after an action."""
_STATES: dict[str, State] = {state: state for state in get_args(State)}


class StateForm(msgspec.Struct, frozen=True):
    """A state to set, and why."""

    state: str = ""
    reason: str = ""


@get(PATH)
async def list_models(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    catalog: NamedDependency[PublishedCatalog],
    q: FromQuery[str] = "",
    in_state: Annotated[str, QueryParameter(name="state")] = "",
    written: Annotated[str, QueryParameter(name="format")] = "",
) -> Response[Any]:
    """List all models, retired ones too."""
    words = q.casefold().split()
    found = [
        model
        for model in catalog().models.values()
        if all(word in model.id.casefold() for word in words) and in_state in {"", model.state}
    ]
    async with database.read() as connection:
        differing = await model_control.differences(connection)
        coming = await price_changes.next_of_all(connection)
    edited: dict[str, int] = {}
    for difference in differing:
        edited[difference.model_id] = edited.get(difference.model_id, 0) + 1
    if written == "csv":
        rows = (
            (
                model.id,
                model.state,
                model.price.nanos_per_million_tokens,
                model.price_of("flex").nanos_per_million_tokens,
                edited.get(model.id, 0),
                len(model.golden),
            )
            for model in found
        )
        return as_csv("models", _COLUMNS, rows)
    chosen = {"q": q, "state": in_state}
    said = {name: value for name, value in chosen.items() if value}
    return render(
        "admin/models.html",
        section="models",
        found=found[:_SHOWN_MAX],
        more=len(found) > _SHOWN_MAX,
        edited=edited,
        coming=coming,
        chosen=chosen,
        states=list(_STATES),
        csv=address(PATH, {**said, "format": "csv"}),
    )


async def provide_model_page(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    owner: FromPath[str],
    name: FromPath[str],
    done: FromQuery[str] = "",
) -> FormPage:
    """Provide the page of one model to the handlers that show it and to its forms."""

    async def page(refused: RefusedForm | None) -> Response[Any]:
        model_id = f"{owner}/{name}"
        async with database.read() as connection:
            current = await model_control.current(connection, model_id)
            versions = await price_changes.versions(connection, model_id, _VERSIONS_MAX)
            coming = await price_changes.waiting(connection, model_id)
            states = await model_control.states_from(connection, model_id, current.model.state)
            vouched = await model_control.vouchers(connection, model_id)
            pinned = await golden.pinned(connection, model_id)
        return render(
            "admin/model.html",
            section="models",
            path=f"{PATH}/{model_id}",
            refused=refused,
            done=_DONE.get(done, ""),
            model=current.model,
            card=current.card,
            words=current.page,
            in_file=current.file_card is not None,
            differing=current.differing,
            versions=versions,
            coming=coming,
            states=states,
            pinned=pinned,
            vouched=vouched,
            reviewed={(row.model, row.revision) for row in golden.reviewed()},
            reason_max=orders.REASON_CHARACTERS_MAX,
        )

    return page


@get(ONE, dependencies={"page": Provide(provide_model_page)})
async def show_model(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show one model."""
    return await page(None)


@post_form(ONE + "/state", "state", provide_model_page)
async def set_state(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    owner: FromPath[str],
    name: FromPath[str],
    data: URLEncodedBody[StateForm],
) -> Response[Any]:
    """Retire a model, or bring it back."""
    state = _STATES.get(data.state)
    if state is None:
        raise model_control.CannotChangeState("There is no such state.", param="state")
    async with database.write() as connection:
        await model_control.set_state(
            connection, operator, f"{owner}/{name}", state, reason=data.reason
        )
    return see_other(f"{PATH}/{owner}/{name}?done=state")


HANDLERS = (list_models, show_model, set_state)
"""The pages of this module."""
