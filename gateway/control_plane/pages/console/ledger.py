"""The ledger: every change of the balance, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.billing import credit
from gateway.control_plane.billing.credit import LedgerEntry
from gateway.control_plane.catalog.listings import Shelf
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import having
from gateway.storage.database import Database

_PAGE = 50
_ID_MAX = 2**63 - 1


@get("/console/ledger", guards=[having("see_money")])
async def show_ledger(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    visitor: NamedDependency[Visitor],
    before: Annotated[int | None, QueryParameter(ge=1, le=_ID_MAX)] = None,
) -> Response[str]:
    """Show one page of the ledger; the next one continues before its last entry."""
    async with database.read() as connection:
        balance = await credit.balance(connection, visitor.organization_id)
        entries = await credit.ledger(
            connection, visitor.organization_id, before=before, limit=_PAGE + 1
        )
        given = [entry.ref for entry in entries if entry.kind == "grant"]
        sources = await credit.sources(connection, given)
        after = await credit.balances_after(connection, visitor.organization_id, entries)
    return render(
        "console/ledger.html",
        section="ledger",
        balance=balance,
        entries=[(entry, _words(entry, sources, shelf)) for entry in entries[:_PAGE]],
        after=after[:_PAGE] if after is not None else None,
        newer_max=credit.NEWER_MAX,
        next_before=entries[_PAGE - 1].id if len(entries) > _PAGE else None,
    )


def _words(entry: LedgerEntry, sources: Mapping[str, str], shelf: Shelf) -> str:
    """Describe an entry, and for granted credit its reason."""
    if entry.kind != "grant":
        return _WORDS[entry.kind]
    what, _, rest = sources.get(entry.ref, "").partition(":")
    if what == "launch":
        model_id = rest.rpartition(":")[0]
        known = shelf.by_id.get(model_id)
        return f"Free credit: {known.page.title if known else model_id} is live"
    return "Free credit: welcome" if what == "signup" else "Credit"


_WORDS = {
    "usage": "Requests",
    "expiry": "Expired free credit",
    "topup": "Credit bought",
    "reversal": "Refunded or disputed",
    "takeback": "Taken back",
}
