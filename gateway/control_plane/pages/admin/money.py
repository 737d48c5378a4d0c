"""Money actions: filled in, checked, posted. Two requests without a script, and one deed.

The check does what is ordered and takes it back, so it shows what will be. The form's id makes the
order one, however often it is sent; if someone else acted on the account since the check, it is
shown again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, URLEncodedBody
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office import approvals, previews, undoing
from gateway.control_plane.back_office.moves import MoveOutcome, Moves
from gateway.control_plane.back_office.orders import (
    GrantOrder,
    Order,
    RefundOrder,
    TakeOrder,
    UndoOrder,
)
from gateway.control_plane.back_office.previews import MovePreview
from gateway.control_plane.billing.credit import LedgerEntry, nanos_of_dollars
from gateway.control_plane.catalog.listings import Shelf
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.pages.admin.organization import PATH, standing
from gateway.control_plane.payments import payments
from gateway.control_plane.payments.payments import CENT_NANOS
from gateway.control_plane.web.formats import lasting
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other, whole
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.verification import fresh
from gateway.errors import BadRequest
from gateway.identifiers import is_id, new_id
from gateway.money import money
from gateway.storage.database import Database
from gateway.storage.ledger.grants import Kind

TITLES: Mapping[str, str] = {
    "grant": "Grant credit to",
    "take": "Take credit back from",
    "refund": "Refund a payment of",
    "undo": "Undo an entry of",
}
PATHS = [f"{PATH}/{{organization_id:str}}/{move}" for move in TITLES]
CAUSES: Mapping[str, str] = {
    "outage": "Outage or defect",
    "goodwill": "Goodwill",
    "contract": "Contract or invoice",
    "mistake": "Our mistake",
    "abuse": "Abuse",
    "request": "Requested by the customer",
}
_LOTS_SHOWN_MAX = 100
ENTRY_MAX = 2**63 - 1
"""Numbers of the ledger's entries are 64-bit integers."""


class MoneyForm(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it is filled in."""

    form: str = ""
    """Its id, which makes it one order."""
    step: Literal["check", "post"] = "check"
    seen: str = ""
    """The state of the account at the check."""
    amount: str = ""
    kind: Kind = "promo"
    expires_days: Literal["", "7", "30", "90", "365"] = "90"
    lot: str = ""
    payment: str = ""
    entry: str = ""
    """The number of the ledger's entry to undo."""
    cause: str = "outage"
    words: str = ""
    ticket: str = ""

    @property
    def entry_id(self) -> int:
        """The entry's number; 0 for what is none."""
        return whole(self.entry, ENTRY_MAX) or 0

    def reason(self) -> str:
        """Return why, in one line. Raises BadRequest."""
        if self.cause not in CAUSES:
            raise BadRequest("Choose a reason.", param="cause")
        words = " ".join(self.words.split())
        if not words:
            raise BadRequest("Say why, in your own words.", param="words")
        ticket = self.ticket.strip()
        return f"{self.cause}: {words}" + (f" ({ticket})" if ticket else "")

    def order(self, move: str, organization_id: str) -> Order:
        """Return what is ordered. Raises BadRequest."""
        if not is_id(self.form):
            raise BadRequest("The form was modified: open its page again.")
        if move == "undo":
            return UndoOrder(organization_id=organization_id, entry_id=self.entry_id)
        nanos = nanos_of_dollars(self.amount)
        if move == "grant":
            return GrantOrder(
                organization_id=organization_id,
                amount_nanos=nanos,
                source_ref=f"operator:{self.form}",
                kind=self.kind,
                expires_days=int(self.expires_days) if self.expires_days else None,
            )
        if move == "take":
            return TakeOrder(
                organization_id=organization_id, lot_id=self.lot, amount_nanos=nanos, ref=self.form
            )
        cents, rest = divmod(nanos, CENT_NANOS)
        if rest or not cents:
            raise BadRequest("Enter dollars and cents.", param="amount")
        return RefundOrder(
            organization_id=organization_id, payment_id=self.payment, amount_cents=cents
        )


async def _money_page(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    moves: NamedDependency[Moves],
    operator: NamedDependency[Operator],
    organization_id: FromPath[str],
) -> FormPage:
    asked = request.query_params

    async def page(refused: RefusedForm | None) -> Response[str]:
        lot, payment, entry = (asked.get(name, "") for name in ("lot", "payment", "entry"))
        form = MoneyForm(form=new_id(), lot=lot, payment=payment, entry=entry)
        return await shown(
            database,
            render,
            moves,
            operator,
            move_of(request),
            organization_id,
            refused.typed if refused else form,
            refused=refused,
        )

    return page


@get(PATHS, dependencies={"page": Provide(_money_page)})
async def show_money_form(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show the form of a grant, a taking, a refund or an undoing."""
    return await page(None)


@post_form(PATHS, "money", _money_page, status_code=200, guards=[fresh])
async def move_money(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    moves: NamedDependency[Moves],
    operator: NamedDependency[Operator],
    shelf: NamedDependency[Shelf],
    organization_id: FromPath[str],
    data: URLEncodedBody[MoneyForm],
) -> Response[Any]:
    """Check what is ordered, or post it."""
    move = move_of(request)
    async with database.read() as connection:
        await standing(connection, organization_id)
    order, reason = data.order(move, organization_id), data.reason()
    changed = False
    if data.step == "post":
        changed = await _is_changed(database, organization_id, data)
        if not changed:
            done = await moves.order(operator, order, order_id=data.form, reason=reason)
            return see_other(f"{PATH}/{organization_id}?done={_told(move, done)}")
    preview = await previews.preview(database, moves, operator, order, reason)
    return await shown(
        database,
        render,
        moves,
        operator,
        move,
        organization_id,
        data,
        preview=preview,
        effect=_effect(preview, shelf) if move == "grant" else "",
        reason=reason,
        changed=changed,
    )


async def shown(
    database: Database,
    render: Render,
    moves: Moves,
    operator: Operator,
    move: str,
    organization_id: str,
    form: MoneyForm,
    *,
    refused: RefusedForm | None = None,
    preview: MovePreview | None = None,
    **more: Any,
) -> Response[str]:
    """Render the form, and beside it what it would do once that is checked."""
    async with database.read() as connection:
        one = await standing(connection, organization_id)
        payment = await payments.get(connection, form.payment) if move == "refund" else None
        undone = await _undone(connection, organization_id, form) if move == "undo" else None
        moved = await approvals.moved_today(connection, operator)
    context = {"effect": "", "reason": "", "changed": False} | more
    return render(
        "admin/money.html",
        section="organizations",
        refused=refused,
        one=one,
        move=move,
        title=TITLES[move],
        form=form,
        causes=CAUSES,
        lots=[lot for lot in one.balance.lots if not lot.source_ref.startswith("payment:")][
            :_LOTS_SHOWN_MAX
        ],
        payment=payment,
        undone=undone,
        preview=preview,
        rules=moves.rules,
        moved=moved,
        **context,
    )


async def _undone(
    connection: AsyncConnection, organization_id: str, form: MoneyForm
) -> LedgerEntry | None:
    """Return the entry that is to be undone; None if it can't be."""
    try:
        return await undoing.find(connection, organization_id, form.entry_id)
    except undoing.CannotUndo:
        return None


def move_of(request: Request[Any, Any, Any]) -> str:
    """Return which of the actions a request is for."""
    return request.url.path.rpartition("/")[2]


def _told(move: str, done: MoveOutcome) -> str:
    """Return what the organization's page says afterwards; see its DONE."""
    if done.refund is not None and done.refund.state in {"failed", "canceled"}:
        return "refused"
    return move if done.state == "done" else done.state


async def _is_changed(database: Database, organization_id: str, data: MoneyForm) -> bool:
    """Tell whether someone acted on the account since the check, other than by this form."""
    async with database.read() as connection:
        if await approvals.known(connection, data.form) is not None:
            return False
        return await previews.stamp(connection, organization_id) != data.seen


def _effect(preview: MovePreview, shelf: Shelf) -> str:
    """Tell what credit is worth to the customer: tokens, and days at the present rate."""
    model = shelf.first.model
    price = model.price.nanos_per_million_tokens
    tokens = preview.amount_nanos * 1_000_000 // price if price else 0
    said = f"About {tokens:,} tokens at {money(price)} per million."
    if preview.after.days is None:
        return said
    before, after = lasting(preview.before.days or 0), lasting(preview.after.days)
    instead = f" instead of {before}" if before != after else ""
    return f"{said} At the current rate it lasts {after}{instead}."
