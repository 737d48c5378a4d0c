"""Orders of money that wait for a second operator."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, URLEncodedBody

from gateway.control_plane.back_office import approvals
from gateway.control_plane.back_office.approvals import MoneyOrder
from gateway.control_plane.back_office.moves import Moves
from gateway.control_plane.back_office.orders import GrantOrder, TakeOrder, UndoOrder
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.pages.admin.lists import as_csv
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.verification import fresh
from gateway.money import money
from gateway.storage.database import Database

_PATH = "/admin/approvals"
_COLUMNS = ("id", "organization_id", "what", "amount_nanos", "ordered_by", "created_at", "due_at")

_DONE = {
    "approved": "Approved, and done.",
    "refused": "Approved, but Stripe refused the refund: nothing was paid back.",
    "rejected": "Rejected: nothing was moved.",
}
"""What the page says after a decision."""


class DecisionForm(msgspec.Struct, frozen=True, kw_only=True):
    """Why an order is rejected."""

    words: str = ""


async def _approvals_page(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    operator: NamedDependency[Operator],
    done: FromQuery[str] = "",
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        async with database.read() as connection:
            waiting = await approvals.waiting(connection)
        return render(
            "admin/approvals.html",
            section="approvals",
            refused=refused,
            done=_DONE.get(done, ""),
            decided=request.path_params.get("order_id", ""),
            waiting=[(one, what(one), denied(operator, one)) for one in waiting],
        )

    return page


@get(_PATH, dependencies={"page": Provide(_approvals_page)})
async def list_approvals(
    database: NamedDependency[Database],
    page: NamedDependency[FormPage],
    format: FromQuery[str] = "",  # noqa: A002 - the address says so
) -> Response[Any]:
    """List what waits."""
    if format != "csv":
        return await page(None)
    async with database.read() as connection:
        waiting = await approvals.waiting(connection)
    rows = (
        (one.id, one.organization_id, what(one), one.amount_nanos, one.operator or "",
         one.created_at.isoformat(), one.due_at.isoformat() if one.due_at else "")
        for one in waiting
    )  # fmt: skip
    return as_csv("approvals", _COLUMNS, rows)


@post_form(_PATH + "/{order_id:str}/approve", "approval", _approvals_page, guards=[fresh])
async def approve_order(
    moves: NamedDependency[Moves],
    operator: NamedDependency[Operator],
    order_id: FromPath[str],
) -> Response[Any]:
    """Do what another operator ordered."""
    done = await moves.approve(operator, order_id)
    is_refused = done.refund is not None and done.refund.state in {"failed", "canceled"}
    return see_other(f"{_PATH}?done={'refused' if is_refused else 'approved'}")


@post_form(_PATH + "/{order_id:str}/reject", "approval", _approvals_page)
async def reject_order(
    moves: NamedDependency[Moves],
    operator: NamedDependency[Operator],
    order_id: FromPath[str],
    data: URLEncodedBody[DecisionForm],
) -> Response[Any]:
    """Refuse it, or take one's own back."""
    await moves.reject(operator, order_id, reason=data.words)
    return see_other(f"{_PATH}?done=rejected")


def what(one: MoneyOrder) -> str:
    """Return an order in words."""
    order, amount = one.order, money(one.amount_nanos)
    if isinstance(order, GrantOrder):
        lasts = f", for {order.expires_days} days" if order.expires_days else ""
        return f"Grant {amount} ({order.kind}{lasts})"
    if isinstance(order, TakeOrder):
        return f"Take {amount} back"
    if isinstance(order, UndoOrder):
        return f"Undo entry {order.entry_id} of the ledger: {amount}"
    return f"Refund {amount}"


def denied(operator: Operator, one: MoneyOrder) -> str:
    """Return why an operator may not approve an order; empty if they may."""
    if not operator.may("approve"):
        return f"Your role, {operator.role}, does not allow this."
    if one.operator_id == operator.user_id:
        return "You ordered this, so someone else must approve it."
    return ""
