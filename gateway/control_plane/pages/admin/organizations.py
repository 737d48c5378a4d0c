"""The list of organizations, with filters that can be kept, and as CSV."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway import wall
from gateway.control_plane.accounts.networks import wide
from gateway.control_plane.attention import saved_filters
from gateway.control_plane.back_office import directory
from gateway.control_plane.back_office.directory import (
    Buying,
    ListedOrganization,
    OrganizationFilter,
    Standing,
)
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.pages.admin import lists
from gateway.control_plane.pages.admin.filters import query_of
from gateway.control_plane.web.rendering import Render
from gateway.identifiers import is_id
from gateway.storage.database import Database

PATH = "/admin/organizations"
_CHARACTERS_MAX = 100


@get(PATH)
async def list_organizations(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    render: NamedDependency[Render],
    name: FromQuery[str] = "",
    domain: FromQuery[str] = "",
    network: FromQuery[str] = "",
    standing: FromQuery[Standing] = "",
    bought: FromQuery[Buying] = "",
    since: FromQuery[str] = "",
    until: FromQuery[str] = "",
    before: FromQuery[str] = "",
    format: FromQuery[str] = "",  # noqa: A002 - as the address says it
) -> Response[Any]:
    """Show a page of organizations, or all that a filter selects as CSV."""
    chosen = OrganizationFilter(
        name=name.strip()[:_CHARACTERS_MAX],
        domain=domain.strip().removeprefix("@")[:_CHARACTERS_MAX],
        network=wide(network) or network.strip()[:_CHARACTERS_MAX],
        standing=standing,
        bought=bought,
        since=_day(since),
        until=_day(until),
    )
    now = wall.now()
    if format == "csv":
        return await lists.export(
            database,
            "organizations",
            _COLUMNS,
            lambda connection, last, limit: directory.listed(
                connection, chosen, before=last.id if last else None, limit=limit, now=now
            ),
            _cells,
        )
    after = before if is_id(before) else None
    async with database.read() as connection:
        found = await directory.listed(
            connection, chosen, before=after, limit=lists.ROWS + 1, now=now
        )
        assert operator.user_id
        kept = await saved_filters.of_user(connection, operator.user_id, PATH)
    said = {
        "name": chosen.name,
        "domain": chosen.domain,
        "network": chosen.network,
        "standing": standing,
        "bought": bought,
        "since": str(chosen.since or ""),
        "until": str(chosen.until or ""),
    }
    return render(
        "admin/organizations.html",
        section="organizations",
        page=lists.keyset(PATH, said, found, lambda row: row.id, before=after),
        said=said,
        kept=kept,
        query=query_of(request),
        path_of_list=PATH,
        domain_days=directory.DOMAIN_DAYS,
    )


_COLUMNS = [
    "id",
    "name",
    "owner",
    "state",
    "available_nanos",
    "owed_nanos",
    "spent_nanos",
    "created_at",
]


def _cells(row: ListedOrganization) -> list[Any]:
    fields = msgspec.structs.asdict(row) | {
        "state": row.state,
        "created_at": row.created_at.isoformat(timespec="seconds"),
    }
    return [fields[column] for column in _COLUMNS]


def _day(text: str) -> date | None:
    """Read a day of an address; None for anything else."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
