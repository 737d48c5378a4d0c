"""The operators: who they are, what each may do, and help for a lost second factor."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, URLEncodedBody

from gateway.control_plane.accounts import addresses, enrollments
from gateway.control_plane.accounts.sessions import OperatorRole
from gateway.control_plane.back_office import staff
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.operators.permissions import PERMISSIONS, WORDS
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.verification import fresh
from gateway.settings import Settings
from gateway.storage.database import Database

PATH = "/admin/operators"
_ONE = PATH + "/{user_id:str}"
_DONE = {"role": "The role is changed.", "removed": "They are no longer an operator."}
"""What the page says after an action."""


class NewOperatorForm(msgspec.Struct, frozen=True):
    """Whom to make an operator, and why."""

    email: str
    role: OperatorRole
    reason: str = ""


class OperatorRoleForm(msgspec.Struct, frozen=True):
    """An operator's new role, and why."""

    role: OperatorRole
    reason: str = ""


class WhyForm(msgspec.Struct, frozen=True):
    """Why an operator is removed or reset."""

    reason: str = ""


async def _operators_page(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    operator: NamedDependency[Operator],
    done: FromQuery[str] = "",
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        async with database.read() as connection:
            found = await staff.listed(connection)
        return render(
            "admin/operators.html",
            path=PATH,
            section="operators",
            refused=refused,
            done=_DONE.get(done, ""),
            operators=found,
            roles=WORDS,
            permissions=PERMISSIONS,
            allowed=operator.may("operators"),
        )

    return page


@get(PATH, dependencies={"page": Provide(_operators_page)})
async def list_operators(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show the operators, and the form that adds one."""
    return await page(None)


@post_form(PATH, "operator", _operators_page, guards=[fresh], status_code=200)
async def add_operator(
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    operator: NamedDependency[Operator],
    data: URLEncodedBody[NewOperatorForm],
) -> Response[Any]:
    """Make a person an operator, and show once where they set their second factor."""
    address = addresses.parse(data.email)
    async with database.write() as connection:
        added = await staff.add(connection, operator, address, data.role, data.reason)
    return _enrollment(render, settings, added.email, added.token)


@post_form(f"{_ONE}/role", "operators", _operators_page, guards=[fresh])
async def change_operator_role(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    user_id: FromPath[str],
    data: URLEncodedBody[OperatorRoleForm],
) -> Response[Any]:
    """Give an operator another role."""
    async with database.write() as connection:
        await staff.change_role(connection, operator, user_id, data.role, data.reason)
    return see_other(f"{PATH}?done=role")


@post_form(f"{_ONE}/reset", "operators", _operators_page, guards=[fresh], status_code=200)
async def reset_operator(
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    operator: NamedDependency[Operator],
    user_id: FromPath[str],
    data: URLEncodedBody[WhyForm],
) -> Response[Any]:
    """Remove an operator's factors and sessions, and show where they set a new factor."""
    async with database.write() as connection:
        token = await staff.reset(connection, operator, user_id, data.reason)
        email = next(one.email for one in await staff.listed(connection) if one.user_id == user_id)
    return _enrollment(render, settings, email, token)


@post_form(f"{_ONE}/remove", "operators", _operators_page, guards=[fresh])
async def remove_operator(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    user_id: FromPath[str],
    data: URLEncodedBody[WhyForm],
) -> Response[Any]:
    """Make an operator an ordinary user."""
    async with database.write() as connection:
        await staff.remove(connection, operator, user_id, data.reason)
    return see_other(f"{PATH}?done=removed")


def _enrollment(render: Render, settings: Settings, email: str, token: str) -> Response[str]:
    return render(
        "admin/enrolled.html",
        path=PATH,
        section="operators",
        email=email,
        address=f"{settings.admin_address}{enrollments.PATH}{token}",
    )


HANDLERS = (list_operators, add_operator, change_operator_role, reset_operator, remove_operator)
