"""Bulk actions: lines that were selected on a list are shown once more, then acted on one by one.

Without JavaScript too: the list is a form, its answer shows what will be done, and the form there
does it. A list offers an action with the macro `bulk` of its kit.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency, Provide

from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.back_office import (
    acting,
    bulk,
    events,
    keys,
    mails,
    selections,
    vote_reviews,
)
from gateway.control_plane.back_office.bulk import Act, NothingSelected
from gateway.control_plane.back_office.selections import Describe, SelectedLine
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.operators.permissions import Permission
from gateway.control_plane.web.forms import (
    FormPage,
    RefusedForm,
    came_from,
    post_form,
    safe_path,
)
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import PageNotFound
from gateway.settings import Settings
from gateway.storage.database import Database


class BulkAction(msgspec.Struct, frozen=True, kw_only=True):
    """An action for many lines, in words, and a list to go back to where none is known."""

    verb: str
    noun: str
    section: str
    back: str
    effect: str
    """What it does, in a sentence."""
    permission: Permission
    describe: Describe


class BulkForm(msgspec.Struct, frozen=True, kw_only=True):
    """What was selected, for which action, and the address of the list."""

    name: str
    ids: list[str]
    reason: str
    back: str

    @property
    def action(self) -> BulkAction:
        """The action."""
        return ACTIONS[self.name]


ACTIONS = {
    "revoke-keys": BulkAction(
        verb="Revoke",
        noun="key",
        section="keys",
        back="/admin/keys",
        effect="Requests with these keys are permanently refused within a second.",
        permission="support",
        describe=selections.keys,
    ),
    "resend-mails": BulkAction(
        verb="Resend",
        noun="mail",
        section="mail",
        back="/admin/mail",
        effect="They are sent within seconds, and retried if that fails.",
        permission="support",
        describe=selections.mails,
    ),
    "replay-events": BulkAction(
        verb="Replay",
        noun="event",
        section="events",
        back="/admin/events",
        effect="What they are about is read from Stripe again, and the ledger follows it.",
        permission="support",
        describe=selections.events,
    ),
    "set-aside-votes": BulkAction(
        verb="Set aside",
        noun="vote",
        section="demand",
        back="/admin/demand",
        effect="They no longer count: not in public, not in the score, not at a launch.",
        permission="support",
        describe=partial(selections.votes, aside=True),
    ),
    "restore-votes": BulkAction(
        verb="Count again",
        noun="vote",
        section="demand",
        back="/admin/demand",
        effect="They count again, as all votes do.",
        permission="support",
        describe=partial(selections.votes, aside=False),
    ),
}


async def _bulk_page(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
) -> FormPage:
    sent = await _form(request)
    action = sent.action

    async def page(refused: RefusedForm | None) -> Response[str]:
        lines: list[SelectedLine] = []
        try:
            async with database.read() as connection:
                lines = await action.describe(connection, bulk.selected(sent.ids))
        except NothingSelected as error:
            refused = RefusedForm("bulk", error)
        return render(
            "admin/bulk.html",
            section=action.section,
            refused=refused,
            sent=sent,
            action=action,
            lines=lines,
        )

    return page


@post("/admin/bulk", dependencies={"page": Provide(_bulk_page)}, status_code=200)
async def check_bulk(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show the selected lines, and what will be done to them."""
    return await page(None)


@post_form("/admin/bulk/do", "bulk", _bulk_page, status_code=200)
async def do_bulk(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    keys: NamedDependency[ApiKeys],
    settings: NamedDependency[Settings],
    operator: NamedDependency[Operator],
    render: NamedDependency[Render],
) -> Response[str]:
    """Do it, and show what became of each line."""
    sent = await _form(request)
    action, ids, reason = sent.action, sent.ids, sent.reason
    operator.must(action.permission)
    acting.checked(operator, reason)
    async with database.read() as connection:
        lines = {line.id: line for line in await action.describe(connection, bulk.selected(ids))}
    lifetime = timedelta(seconds=settings.mail_once_seconds)
    acts: dict[str, Act] = {
        "revoke-keys": partial(_revoke, keys, operator, reason),
        "resend-mails": partial(_resend, database, operator, lifetime, reason),
        "replay-events": partial(_replay, database, operator, reason),
        "set-aside-votes": partial(_review, database, operator, reason, vote_reviews.set_aside),
        "restore-votes": partial(_review, database, operator, reason, vote_reviews.restore),
    }
    outcomes = await bulk.each(ids, acts[sent.name])
    return render(
        "admin/bulk_done.html",
        section=action.section,
        action=action,
        back=sent.back,
        outcomes=[(lines.get(outcome.id), outcome) for outcome in outcomes],
        done=sum(not outcome.problem for outcome in outcomes),
    )


async def _form(request: Request[Any, Any, Any]) -> BulkForm:
    form = await request.form()
    name = str(form.get("action", ""))
    if name not in ACTIONS:
        raise PageNotFound("There is no such action.")
    back = str(form.get("back", "")) or came_from(request)
    return BulkForm(
        name=name,
        ids=[str(one) for one in form.getall("ids", [])],
        reason=str(form.get("reason", "")).strip(),
        back=back if back.startswith("/admin/") and safe_path(back) == back else ACTIONS[name].back,
    )


async def _revoke(api_keys: ApiKeys, operator: Operator, reason: str, key_id: str) -> None:
    await keys.revoke(api_keys, operator, key_id, reason=reason)


async def _resend(
    database: Database, operator: Operator, lifetime: timedelta, reason: str, mail_id: str
) -> None:
    async with database.write() as connection:
        await mails.resend(connection, operator, mail_id, lifetime=lifetime, reason=reason)


async def _replay(database: Database, operator: Operator, reason: str, event_id: str) -> None:
    async with database.write() as connection:
        await events.replay(connection, operator, event_id, reason=reason)


async def _review(
    database: Database, operator: Operator, reason: str, review: Callable[..., Any], vote_id: str
) -> None:
    async with database.write() as connection:
        await review(connection, operator, vote_id, reason=reason)
