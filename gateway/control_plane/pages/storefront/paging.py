"""Pages of a list: what stands on one, and the addresses of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar
from urllib.parse import urlencode

import msgspec

ItemT = TypeVar("ItemT")

_AROUND = 2
"""How many numbers stand on each side of the current one."""


class Numbered(msgspec.Struct, frozen=True):
    """A page by its number; without an address, a gap of pages that are not named."""

    number: int
    address: str | None


class Page(msgspec.Struct, Generic[ItemT], frozen=True, kw_only=True):
    """One page of a list, and the paths of its neighbors."""

    items: Sequence[ItemT]
    found: int
    number: int
    numbers: int
    previous: str | None
    next: str | None
    named: Sequence[Numbered]
    """The first, the last, and those around this one."""


def address(path: str, query: Mapping[str, object]) -> str:
    """Return an address without the parameters that say nothing."""
    said = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(said)}" if said else path


def page_of(
    items: Sequence[ItemT], number: int, path: str, query: Mapping[str, str], *, size: int
) -> Page[ItemT]:
    """Return the nearest existing page; `query` is the rest of its URL's query."""
    numbers = max(1, -(-len(items) // size))
    number = min(max(number, 1), numbers)

    def at(other: int) -> str:
        return address(path, {**query, "page": other if other > 1 else ""})

    shown = [n for n in range(1, numbers + 1) if n in (1, numbers) or abs(n - number) <= _AROUND]
    named: list[Numbered] = []
    for one in shown:
        if named and one - named[-1].number > 1:
            named.append(Numbered(one - 1, None))
        named.append(Numbered(one, at(one)))
    return Page(
        items=items[(number - 1) * size : number * size],
        found=len(items),
        number=number,
        numbers=numbers,
        previous=at(number - 1) if number > 1 else None,
        next=at(number + 1) if number < numbers else None,
        named=named,
    )
