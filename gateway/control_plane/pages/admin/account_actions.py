"""What else operators do to an organization, each on a page that says what follows and asks why."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
from litestar import Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.handlers.base import BaseRouteHandler
from litestar.params import FromPath, URLEncodedBody

from gateway.control_plane.accounts import organization_limits
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.back_office import freezes, limits, mails, notes, selections, views
from gateway.control_plane.back_office.account_mails import SUSPENDED, UNSUSPENDED, AccountMails
from gateway.control_plane.back_office.keys import revoke, set_budget
from gateway.control_plane.back_office.payments import give_payment_up, read_payment, see_payment
from gateway.control_plane.back_office.selections import Describe
from gateway.control_plane.billing.credit import nanos_of_dollars
from gateway.control_plane.mail.upkeep import NothingToRetry
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.operators.permissions import Permission
from gateway.control_plane.pages.admin.money import move_of
from gateway.control_plane.pages.admin.organization import PATH, provide_organization_page, standing
from gateway.control_plane.payments import payments
from gateway.control_plane.payments.reconciler import Reconciler
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other, whole
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.verification import fresh
from gateway.data_plane.metering.port import Period
from gateway.identifiers import is_id
from gateway.settings import Settings
from gateway.storage.database import Database


class AccountAction(NamedTuple):
    """An action: its name, the permission, what follows, and the words of its button."""

    title: str
    permission: Permission
    follows: str
    button: str
    kind: str = "primary"
    describe: Describe | None = None
    """Tells what it is done to, if that is not the organization as a whole."""


ACTIONS = {
    "suspend": AccountAction(
        "Suspend",
        "money",
        "The organization's requests get 403 within a second. Its credit stays, and nothing is "
        "posted to the ledger. Its owners get an email.",
        "Suspend the account",
        "danger",
    ),
    "unsuspend": AccountAction(
        "Lift the suspension of",
        "money",
        "Requests are served again, unless something else freezes the account: debt, dispute or "
        "audit. Usage that the ledger refused is posted now, or freezes the account again. Its "
        "owners are "
        "emailed.",
        "Lift the suspension",
    ),
    "release": AccountAction(
        "Allow buying again:",
        "money",
        "An early fraud warning put buying on hold. The hold ends now; a later warning starts a "
        "new one. Nothing is posted, and no email is sent.",
        "Let it buy",
    ),
    "top-up-off": AccountAction(
        "Switch off auto top-up of",
        "money",
        "Nothing more is bought automatically until an owner switches it on again. What is under "
        "way "
        "goes on.",
        "Switch auto top-up off",
        "danger",
    ),
    "reconcile": AccountAction(
        "Read from Stripe a payment of",
        "support",
        "The payment is read from Stripe now, and the ledger follows what Stripe says.",
        "Read it now",
        describe=selections.payments,
    ),
    "seen": AccountAction(
        "Take off the list a payment of",
        "support",
        "The payment needs no more attention unless something else is odd about it. Nothing is "
        "posted.",
        "Mark it as seen",
        describe=selections.payments,
    ),
    "abandon": AccountAction(
        "Give up a payment of",
        "money",
        "For a payment that Stripe no longer shows: it is no longer read, and the freeze for its "
        "dispute ends. Credit already added stays.",
        "Give it up",
        "danger",
        describe=selections.payments,
    ),
    "revoke": AccountAction(
        "Revoke a key of",
        "support",
        "Requests with this key are permanently refused within a second.",
        "Revoke the key",
        "danger",
        describe=selections.keys,
    ),
    "budget": AccountAction(
        "Limit a key of",
        "money",
        "The key spends at most this much per period; without an amount, it may spend the whole "
        "balance.",
        "Set the limit",
        describe=selections.keys,
    ),
    "requests": AccountAction(
        "Limit requests of",
        "money",
        "This many requests may be in progress at once in each gateway process; more get 429. "
        "Without a number, the default applies. Processes follow within seconds.",
        "Set the limit",
    ),
    "resend": AccountAction(
        "Resend an email to",
        "support",
        "A running gateway sends it. An email with a link is never resent; its recipient can ask "
        "for a new one.",
        "Send it again",
        describe=selections.mails,
    ),
}
_MAILED = {"suspend": SUSPENDED, "unsuspend": UNSUSPENDED}
"""What is mailed, by action."""
_OF_PAYMENTS = ("reconcile", "seen", "abandon")
PATHS = [f"{PATH}/{{organization_id:str}}/{name}" for name in ACTIONS]


class AccountForm(msgspec.Struct, frozen=True, kw_only=True):
    """Why, and on what."""

    words: str = ""
    target: str = ""
    amount: str = ""
    period: Period = "month"


async def _action_page(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    account_mails: NamedDependency[AccountMails],
    organization_id: FromPath[str],
) -> FormPage:
    name = move_of(request)
    act = ACTIONS[name]

    async def page(refused: RefusedForm | None) -> Response[str]:
        form = (
            refused.typed if refused else AccountForm(target=request.query_params.get("target", ""))
        )
        async with database.read() as connection:
            one = await standing(connection, organization_id)
            subject = _MAILED.get(name, "")
            mail = await account_mails.example(connection, one.id, subject) if subject else None
            lines = await act.describe(connection, [form.target]) if act.describe else []
        return render(
            "admin/account_action.html",
            section="organizations",
            refused=refused,
            one=one,
            name=name,
            act=act,
            mail=mail,
            line=lines[0] if lines else None,
            form=form,
        )

    return page


@get(PATHS, dependencies={"page": Provide(_action_page)})
async def show_action(page: NamedDependency[FormPage]) -> Response[Any]:
    """Say what an action does, and ask why."""
    return await page(None)


def fresh_for_money(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """Require a fresh proof for what only those who move money may do."""
    if ACTIONS[connection.scope["path"].rpartition("/")[2]].permission == "money":
        fresh(connection, handler)


@post_form(PATHS, "act", _action_page, guards=[fresh_for_money])
async def act_on_account(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
    keys: NamedDependency[ApiKeys],
    account_mails: NamedDependency[AccountMails],
    reconciler: NamedDependency[Reconciler | None],
    operator: NamedDependency[Operator],
    organization_id: FromPath[str],
    data: URLEncodedBody[AccountForm],
) -> Response[Any]:
    """Do it."""
    name = move_of(request)
    async with database.read() as connection:
        await standing(connection, organization_id)
        if name in _OF_PAYMENTS:
            await payments.find_own(connection, organization_id, data.target)
    if name == "reconcile":
        await read_payment(database, operator, reconciler, data.target, reason=data.words)
    elif name == "revoke":
        await revoke(
            keys, operator, data.target, reason=data.words, organization_id=organization_id
        )
    elif name == "budget":
        limit = nanos_of_dollars(data.amount, param="budget") if data.amount.strip() else None
        await set_budget(
            keys,
            operator,
            data.target,
            limit,
            data.period,
            reason=data.words,
            organization_id=organization_id,
        )
    else:
        await _act(database, settings, account_mails, operator, organization_id, name, data)
    return see_other(f"{PATH}/{organization_id}?done={name}")


@post_form(PATH + "/{organization_id:str}/note", "note", provide_organization_page)
async def write_note(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    organization_id: FromPath[str],
    data: URLEncodedBody[AccountForm],
) -> Response[Any]:
    """Write a note for operators."""
    async with database.write() as connection:
        await standing(connection, organization_id)
        await notes.write(connection, operator, organization_id, data.words)
    return see_other(f"{PATH}/{organization_id}?done=note")


@post(PATH + "/{organization_id:str}/view")
async def view_as(
    request: Request[Any, Any, Any],
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    organization_id: FromPath[str],
) -> Response[Any]:
    """Show the console as the organization sees it, to look at only."""
    visitor: Visitor = request.user
    async with database.write() as connection:
        await standing(connection, organization_id)
        await views.begin(connection, operator, visitor.session_id, organization_id)
    return see_other(f"{settings.public_url}/console")


async def _act(
    database: Database,
    settings: Settings,
    told: AccountMails,
    operator: Operator,
    organization_id: str,
    name: str,
    data: AccountForm,
) -> None:
    why = data.words
    async with database.write() as connection:
        if name == "suspend":
            await freezes.suspend(connection, operator, organization_id, reason=why, mails=told)
        elif name == "unsuspend":
            await freezes.unsuspend(connection, operator, organization_id, reason=why, mails=told)
        elif name == "release":
            await limits.release(connection, operator, organization_id, reason=why)
        elif name == "requests":
            most = _number(data.amount)
            await limits.limit_requests(connection, operator, organization_id, most, reason=why)
        elif name == "top-up-off":
            await limits.switch_off_top_up(connection, operator, organization_id, reason=why)
        elif name == "seen":
            await see_payment(connection, operator, data.target, reason=why)
        elif name == "abandon":
            await give_payment_up(connection, operator, data.target, reason=why)
        else:
            lifetime = timedelta(seconds=settings.mail_once_seconds)
            if not is_id(data.target):
                raise NothingToRetry("There is no such email.")
            await mails.resend(connection, operator, data.target, lifetime=lifetime, reason=why)


def _number(text: str) -> int | None:
    """Read a number of requests; None if there is none. One that can't be read is out of bounds."""
    return (whole(text, organization_limits.IN_FLIGHT_MAX) or 0) if text.strip() else None
