"""Mails: what is waiting, what became of the others, and another try of one."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, get_args

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, QueryParameter, URLEncodedBody

from gateway.control_plane.back_office import mails
from gateway.control_plane.mail import upkeep
from gateway.control_plane.mail.upkeep import MailStatus, State
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.pages.admin.lists import ROWS, export, keyset
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.rendering import Render
from gateway.identifiers import is_id
from gateway.settings import Settings
from gateway.storage.database import Database

PATH = "/admin/mail"
_ONE = PATH + "/{mail_id:str}"
_COLUMNS = ("id", "kind", "recipient", "subject", "state", "attempts", "created_at", "due_at",
            "sent_at", "reason")  # fmt: skip
_STATES: dict[str, State] = {name: name for name in get_args(State)}


class ResendForm(msgspec.Struct, frozen=True):
    """Why a mail is sent again, and whether even if it may have arrived."""

    reason: str = ""
    even_unknown: str = ""


@get(PATH)
async def list_mails(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    in_state: Annotated[str, QueryParameter(name="state")] = "",
    to: FromQuery[str] = "",
    before: FromQuery[str] = "",
    written: Annotated[str, QueryParameter(name="format")] = "",
) -> Response[Any]:
    """List mails, newest first."""
    listed = partial(upkeep.listed, state=_STATES.get(in_state), recipient=to)
    if written == "csv":
        return await export(
            database,
            "mails",
            _COLUMNS,
            lambda connection, last, limit: listed(
                connection, before=last.id if last else None, limit=limit
            ),
            attrgetter(*_COLUMNS),
        )
    async with database.read() as connection:
        found = await listed(connection, before=before if is_id(before) else None, limit=ROWS + 1)
    filters = {"state": in_state, "to": to}
    return render(
        "admin/mails.html",
        section="mail",
        mails=keyset(PATH, filters, found, lambda mail: mail.id, before=before, limit=ROWS),
        chosen=filters,
        states=list(_STATES),
    )


async def _one_page(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    mail_id: FromPath[str],
    done: FromQuery[bool] = False,
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        async with database.read() as connection:
            mail: MailStatus = await upkeep.read(connection, mail_id)
        path = f"{PATH}/{mail.id}"
        return render(
            "admin/mail.html", path=path, section="mail", mail=mail, refused=refused, done=done
        )

    return page


@get(_ONE, dependencies={"page": Provide(_one_page)})
async def show_mail(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show a mail's fate, without its text, which is private."""
    return await page(None)


@post_form(f"{_ONE}/resend", "resend", _one_page)
async def resend_mail(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    settings: NamedDependency[Settings],
    mail_id: FromPath[str],
    data: URLEncodedBody[ResendForm],
) -> Response[Any]:
    """Send a mail again."""
    async with database.write() as connection:
        await mails.resend(
            connection,
            operator,
            mail_id,
            lifetime=timedelta(seconds=settings.mail_once_seconds),
            reason=data.reason.strip(),
            even_unknown=bool(data.even_unknown),
        )
    return see_other(f"{PATH}/{mail_id}?done=true")
