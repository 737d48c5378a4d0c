"""Filters of lists, kept by name. A list's page shows them with the macro `kept` of its kit."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody

from gateway.control_plane.attention import saved_filters
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.web.forms import see_other
from gateway.control_plane.web.visitors import PageNotFound
from gateway.storage.database import Database

_PLACE = ("before", "after", "format", "kept")
"""What an address says of a page, not of a filter."""


class FilterForm(msgspec.Struct, frozen=True, kw_only=True):
    """A filter to keep, of one of the lists that offer it."""

    of_list: Literal["/admin/organizations", "/admin/keys"] = "/admin/organizations"
    query: str = ""
    name: str = ""


@post("/admin/filters")
async def save_filter(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    data: URLEncodedBody[FilterForm],
) -> Response[Any]:
    """Keep a filter, and go back to its list."""
    query = cleaned(data.query)
    assert operator.user_id
    async with database.write() as connection:
        await saved_filters.save(
            connection, operator.user_id, path=data.of_list, name=data.name, query=query
        )
    return see_other(f"{data.of_list}?{query}")


@post("/admin/filters/{filter_id:str}/remove")
async def remove_filter(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    filter_id: FromPath[str],
) -> Response[Any]:
    """Remove a filter, and go back to its list."""
    assert operator.user_id
    async with database.write() as connection:
        path = await saved_filters.remove(connection, operator.user_id, filter_id)
    if path is None:
        raise PageNotFound("There is no such filter.")
    return see_other(path)


def query_of(request: Request[Any, Any, Any]) -> str:
    """Return the filter that a list's address holds, without which page it is."""
    return cleaned(request.url.query)


def cleaned(query: str) -> str:
    """Return a query without its empty parts, and without which page it is."""
    parts = [(name, value) for name, value in parse_qsl(query) if name not in _PLACE]
    return urlencode(parts)
