"""Workers: what the pools can do, drain and undrain, and quarantines with their evidence."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, QueryParameter, URLEncodedBody

from gateway.control_plane.back_office import workers
from gateway.control_plane.back_office.workers import NoSuchWorker, WorkerAction
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.pages.admin.lists import export, keyset
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.workers import fleet_state, quarantines
from gateway.identifiers import is_id
from gateway.storage.database import Database

PATH = "/admin/workers"
_ONE = PATH + "/worker"
_QUARANTINES = 20
"""Quarantines of a page."""
WORKERS_MAX = 500
"""Most workers that are listed; those that are not ready come first."""
_DONE = {
    "drain": "It gets nothing new and finishes what it has.",
    "undrain": "It will prove itself, and then get work again.",
    "check": "It is being examined.",
}
_ACTIONS: dict[str, WorkerAction] = {"drain": "drain", "undrain": "undrain", "check": "check"}
_COLUMNS = ("id", "gateway_id", "model_id", "url", "began_at", "last_at", "times", "reason",
            "ended_at")  # fmt: skip


class WorkerForm(msgspec.Struct, frozen=True):
    """Why something is done to a worker."""

    reason: str = ""


@get(PATH)
async def show_workers(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    before: FromQuery[str] = "",
    written: Annotated[str, QueryParameter(name="format")] = "",
) -> Response[Any]:
    """Show the pools, and the quarantines of the last month; those as CSV too."""
    if written == "csv":
        return await export(
            database,
            "quarantines",
            _COLUMNS,
            lambda connection, last, limit: quarantines.recent(
                connection, before=last.id if last else None, limit=limit
            ),
            attrgetter(*_COLUMNS),
        )
    async with database.read() as connection:
        pools = await fleet_state.pools(connection)
        past = await quarantines.recent(
            connection, before=before if is_id(before) else None, limit=_QUARANTINES + 1
        )
    everyone = [worker for pool in pools for worker in pool.workers]
    everyone.sort(key=lambda worker: (worker.state == "ready", worker.model, worker.url))
    return render(
        "admin/workers.html",
        section="workers",
        pools=pools,
        workers=[(worker, address(worker.url)) for worker in everyone[:WORKERS_MAX]],
        count=len(everyone),
        past=keyset(PATH, {}, past, lambda one: one.id, before=before, limit=_QUARANTINES),
        address=address,
    )


def address(url: str) -> str:
    """Return the address of a worker's page."""
    return f"{_ONE}?{urlencode({'url': url})}"


async def _one_page(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    url: FromQuery[str],
    done: FromQuery[str] = "",
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        async with database.read() as connection:
            pools = await fleet_state.pools(connection)
        found = [(pool, worker) for pool in pools for worker in pool.workers if worker.url == url]
        if not found:
            raise NoSuchWorker("No running gateway knows this worker anymore.")
        return render(
            "admin/worker.html",
            path=_ONE,
            section="workers",
            url=url,
            found=found,
            query=urlencode({"url": url}),
            drained=all(worker.wish == "drain" for _, worker in found),
            refused=refused,
            done=_DONE.get(done, ""),
        )

    return page


@get(_ONE, dependencies={"page": Provide(_one_page)})
async def show_worker(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show a worker in each of its pools, and what would be left without it."""
    return await page(None)


@post_form(f"{PATH}/{{action:str}}", "worker", _one_page)
async def command_worker(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    action: FromPath[str],
    url: FromQuery[str],
    data: URLEncodedBody[WorkerForm],
) -> Response[Any]:
    """Drain a worker, have it serve again, or have it examined."""
    ordered = _ACTIONS.get(action)
    if ordered is None:
        raise NoSuchWorker("There is no such action.")
    async with database.write() as connection:
        await workers.command(connection, operator, ordered, url, reason=data.reason.strip())
    return see_other(f"{_ONE}?{urlencode({'url': url, 'done': action})}")
