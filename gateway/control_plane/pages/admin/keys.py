"""The keys of all organizations, to find one by what people see of it, and to revoke many."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from gateway.control_plane.attention import saved_filters
from gateway.control_plane.back_office import key_directory
from gateway.control_plane.back_office.key_directory import KeyState
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.pages.admin import lists
from gateway.control_plane.pages.admin.filters import query_of
from gateway.control_plane.web.rendering import Render
from gateway.identifiers import is_id
from gateway.storage.database import Database

PATH = "/admin/keys"
_COLUMNS = ("id", "name", "last_four", "organization_id", "organization", "created_at",
            "expires_at", "revoked_at")  # fmt: skip


@get(PATH)
async def list_all_keys(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    render: NamedDependency[Render],
    ends: FromQuery[str] = "",
    organization: FromQuery[str] = "",
    in_state: Annotated[KeyState, QueryParameter(name="state")] = "",
    before: FromQuery[str] = "",
    written: Annotated[str, QueryParameter(name="format")] = "",
) -> Response[Any]:
    """Show a page of keys, or all that a filter selects as CSV."""
    ends = ends.strip().removeprefix("sk-").lstrip(".…")
    listed = partial(
        key_directory.listed, ends=ends, organization_id=organization.strip(), state=in_state
    )
    if written == "csv":
        return await lists.export(
            database,
            "keys",
            _COLUMNS,
            lambda connection, last, limit: listed(
                connection, before=last.id if last else None, limit=limit
            ),
            attrgetter(*_COLUMNS),
        )
    async with database.read() as connection:
        found = await listed(
            connection, before=before if is_id(before) else None, limit=lists.ROWS + 1
        )
        assert operator.user_id
        kept = await saved_filters.of_user(connection, operator.user_id, PATH)
    said = {"ends": ends[-4:], "organization": organization.strip(), "state": in_state}
    return render(
        "admin/keys.html",
        section="keys",
        page=lists.keyset(PATH, said, found, lambda key: key.id, before=before),
        said=said,
        kept=kept,
        query=query_of(request),
        path_of_list=PATH,
    )
