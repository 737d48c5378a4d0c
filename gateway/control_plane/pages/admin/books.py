"""The books: do all accounts sum to zero, the last audits, and what is owed, free and unearned."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from gateway import wall
from gateway.control_plane.billing import audit_runs, promotions
from gateway.control_plane.billing.audit_runs import BooksAudit
from gateway.control_plane.pages.admin.lists import export, keyset
from gateway.control_plane.pages.admin.tiles import Tile, sparkline
from gateway.control_plane.trail import audits
from gateway.control_plane.web.rendering import Render
from gateway.identifiers import is_id
from gateway.money import money
from gateway.settings import Settings
from gateway.storage.database import Database

PATH = "/admin/books"
_RUNS = 20
"""Audits of a page."""
_DAYS = 14
"""Days of free credit in the line of its tile."""
_ACCOUNTS = {
    "revenue": "Revenue: credit used",
    "promo_expense": "Free credit given away",
    "breakage": "Free credit that expired",
    "receivable": "Receivable: paid, not yet at Stripe",
    "manual_adjustments": "Granted and deducted by operators",
    "tax_payable": "Tax owed to states",
    "stripe_fees": "Stripe's fees",
    "stripe_clearing": "Balance at Stripe, before payouts",
}
_COLUMNS = ("began_at", "seconds", "broken", "organizations_nanos", "owed_nanos", "paid_nanos",
            "promo_nanos", *(f"{name}_nanos" for name in _ACCOUNTS), "sum_nanos")  # fmt: skip


@get(PATH)
async def show_books(
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
    render: NamedDependency[Render],
    before: FromQuery[str] = "",
    written: Annotated[str, QueryParameter(name="format")] = "",
) -> Response[Any]:
    """Show how the books stood at the last audit, and the audits; those as CSV too."""
    if written == "csv":
        return await export(
            database,
            "audits",
            _COLUMNS,
            lambda connection, last, limit: audit_runs.recent(
                connection, before=last.id if last else None, limit=limit
            ),
            _cells,
        )
    now = wall.now()
    async with database.read() as connection:
        runs = await audit_runs.recent(
            connection, before=before if is_id(before) else None, limit=_RUNS + 1
        )
        newest = runs[:1] if not before else await audit_runs.recent(connection, limit=1)
        latest = await audits.latest(connection)
        given = await promotions.given(connection, now.date(), days=_DAYS)
    last = newest[0] if newest else None
    return render(
        "admin/books.html",
        section="books",
        last=last,
        latest=latest,
        late=[name for name, result in latest.items() if result.due_at < now],
        tiles=_tiles(last, given, settings.promotion_nanos_per_day) if last else [],
        accounts=_ACCOUNTS,
        runs=keyset(PATH, {}, runs, lambda run: run.id, before=before, limit=_RUNS),
    )


def _tiles(last: BooksAudit, given: list[int], day_nanos: int) -> list[Tile]:
    books = last.balances
    off = books.sum_nanos
    return [
        Tile(
            name="All accounts",
            value=money(off),
            note="sum to zero" if not off else "do not sum to zero",
            tone="bad" if off else "good",
        ),
        Tile(name="Unearned credit", value=money(books.paid_nanos), note="bought, not used yet"),
        Tile(name="Free credit", value=money(books.promo_nanos), note="given, not used yet"),
        Tile(name="Owed by organizations", value=money(books.owed_nanos), note="they are frozen"),
        Tile(
            name="Receivable",
            value=money(books.platform.get("receivable", 0)),
            note="paid, not yet at Stripe",
        ),
        Tile(
            name="Free credit today",
            value=money(given[-1]),
            note=f"of {money(day_nanos)} a day",
            tone="bad" if given[-1] >= day_nanos else "",
            line=sparkline(given),
        ),
    ]


def _cells(run: BooksAudit) -> list[Any]:
    books = run.balances
    return [
        run.began_at.isoformat(),
        run.seconds,
        " ".join(sorted(run.breaches)),
        books.organizations_nanos,
        books.owed_nanos,
        books.paid_nanos,
        books.promo_nanos,
        *(books.platform.get(name, 0) for name in _ACCOUNTS),
        books.sum_nanos,
    ]
