"""`gateway organizations` and `gateway keys`: who may call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
import rich_click as click
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.app.mails_and_moves import make_mail
from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.mac_secrets import mac_group
from gateway.cli.printing import DAYS, as_json, asynchronous, in_days, opened, say, show
from gateway.control_plane.accounts import organizations
from gateway.control_plane.accounts.api_key import ApiKey, NewApiKey
from gateway.control_plane.accounts.keys import DEFAULT_SCOPES, OVERLAP_HOURS_MAX, ApiKeys
from gateway.control_plane.accounts.security_mails import SecurityMails
from gateway.control_plane.back_office import limits, notes
from gateway.control_plane.back_office.keys import create, revoke, rotate, set_budget
from gateway.control_plane.back_office.organizations import make_organization
from gateway.control_plane.billing import credit
from gateway.control_plane.secrets.record import enter
from gateway.errors import BadRequest
from gateway.money import money
from gateway.settings import Settings
from gateway.snapshots import SCOPES
from gateway.storage.database import Database
from gateway.storage.ledger.budgets import Spent


class OrganizationExists(BadRequest):
    """An organization with this name exists."""

    status = 409
    code = "organization_exists"


@click.group("organizations")
def organizations_group() -> None:
    """Organizations own keys, credit and usage."""


@organizations_group.command("create", epilog="Example: gateway organizations create Acme")
@click.argument("name")
@click.option("--same-name", is_flag=True, help="Create it even if the name is taken.")
@acting_as
@because
@as_json
@asynchronous
async def create_organization(
    name: str, *, same_name: bool, acting: str | None, reason: str, as_json: bool
) -> None:
    """Create an organization without credit."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        if not same_name:
            await _check_new(connection, organizations.clean_name(name))
        created = await make_organization(connection, operator, name, reason=reason)
    show(created, as_json=as_json)


@organizations_group.command("list", epilog="Example: gateway organizations list --json")
@as_json
@asynchronous
async def list_organizations(*, as_json: bool) -> None:
    """List all organizations and what they may spend."""
    async with opened() as database, database.read() as connection:
        found = await organizations.listed(connection)
    show(found, as_json=as_json, title="organizations")


@organizations_group.command(
    "note", epilog='Example: gateway organizations note Acme "asked for an invoice"'
)
@click.argument("organization")
@click.argument("words")
@acting_as
@asynchronous
async def write_note(organization: str, words: str, *, acting: str | None) -> None:
    """Write a note about an organization, for operators."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        owner = await organizations.find(connection, organization)
        await notes.write(connection, operator, owner.id, words)
    say(f"Noted about {owner.name}.")


@organizations_group.command(
    "limit", epilog='Example: gateway organizations limit Acme 64 --reason "too many at once"'
)
@click.argument("organization")
@click.argument("requests")
@acting_as
@because
@asynchronous
async def limit_organization(
    organization: str, requests: str, *, acting: str | None, reason: str
) -> None:
    """Set how many REQUESTS may be in progress in a process at once; `none` for the default."""
    most = None if requests == "none" else int(requests) if requests.isdecimal() else 0
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        owner = await organizations.find(connection, organization)
        await limits.limit_requests(connection, operator, owner.id, most, reason=reason)
    many = "the default number of" if most is None else most
    say(f"{owner.name} may have {many} requests in progress.")


async def _check_new(connection: AsyncConnection, name: str) -> None:
    """Refuse a taken name: a repeated command seldom wants a second account."""
    ids = [known.id for known in await organizations.listed(connection) if known.name == name]
    if ids:
        raise OrganizationExists(
            f"There is already an organization {name!r} ({', '.join(ids)}); --same-name creates "
            "another."
        )


@click.group("keys")
def keys_group() -> None:
    """API keys."""


keys_group.add_command(mac_group)


@keys_group.command(
    "create", epilog="Example: gateway keys create Acme --name laptop --expires-days 90"
)
@click.argument("organization")
@click.option("--name", default="default", show_default=True, help="What the key is for.")
@click.option("--expires-days", type=DAYS, help="Days until it expires.")
@click.option(
    "--token-ids-from",
    type=click.Choice(["model"]),
    help="Read arrays of integers as token ids of the model's own vocabulary.",
)
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    default=DEFAULT_SCOPES,
    show_default=True,
    help="What it may do: embed, or read credit and usage. Repeat it for several.",
)
@acting_as
@because
@as_json
@asynchronous
async def create_key(
    organization: str,
    *,
    name: str,
    expires_days: int | None,
    token_ids_from: Any,
    scopes: Any,
    acting: str | None,
    reason: str,
    as_json: bool,
) -> None:
    """Create a key, and mail the owners. It is shown only now: we keep only a digest."""
    async with opened() as database, opened_keys(database) as keys:
        async with database.read() as connection:
            operator = await operator_of(connection, acting)
            owner = await organizations.find(connection, organization)
        made = await create(
            keys,
            operator,
            owner.id,
            name,
            reason=reason,
            expires_at=in_days(expires_days),
            token_ids_from=token_ids_from,
            scopes=scopes,
        )
    _show_new(made, as_json=as_json)


def _show_new(made: NewApiKey, *, as_json: bool) -> None:
    if as_json:
        show({**msgspec.to_builtins(made.key), "secret": made.secret}, as_json=True)
    else:
        show(made.key, as_json=False, columns=["id", "name", "scopes", "expires_at"])
        say(f"\n{made.secret}\n\nKeep it: it is not shown again.")


@keys_group.command("rotate", epilog="Example: gateway keys rotate KEY_ID --overlap-hours 48")
@click.argument("key_id")
@click.option(
    "--overlap-hours",
    type=click.IntRange(0, OVERLAP_HOURS_MAX),
    default=24,
    show_default=True,
    help="How many hours the previous secret keeps working; 0 ends it at once.",
)
@acting_as
@because
@as_json
@asynchronous
async def rotate_key(
    key_id: str, *, overlap_hours: int, acting: str | None, reason: str, as_json: bool
) -> None:
    """Give a key a new secret; its id, budget and usage stay. It is shown only now."""
    async with opened() as database, opened_keys(database) as keys:
        async with database.read() as connection:
            operator = await operator_of(connection, acting)
        overlap = timedelta(hours=overlap_hours)
        made = await rotate(keys, operator, key_id, overlap=overlap, reason=reason)
    _show_new(made, as_json=as_json)


@keys_group.command("list", epilog="Example: gateway keys list Acme")
@click.argument("organization", required=False)
@as_json
@asynchronous
async def list_keys(organization: str | None, *, as_json: bool) -> None:
    """List the keys of one organization or all."""
    async with opened() as database, opened_keys(database) as keys:
        owner_id = None
        if organization is not None:
            async with database.read() as connection:
                owner_id = (await organizations.find(connection, organization)).id
        found = await keys.listed(owner_id)
        budgets: dict[str, Spent] = {}
        for one in sorted({key.organization_id for key in found}):
            budgets |= await keys.budgets(one)
    if as_json:
        listed = [{**msgspec.to_builtins(k), "budget": budgets.get(k.id)} for k in found]
        show(listed, as_json=True)
        return
    rows = [
        _KeyRow(**msgspec.structs.asdict(key), budget=_describe(budgets.get(key.id)))
        for key in found
    ]
    columns = [
        "id",
        "name",
        "last_four",
        "scopes",
        "budget",
        "created_at",
        "expires_at",
        "revoked_at",
    ]
    show(rows, as_json=False, title="keys", columns=columns)


class _KeyRow(ApiKey, frozen=True, kw_only=True):
    """A row of the printed table."""

    budget: str | None


def _describe(budget: Spent | None) -> str | None:
    if budget is None:
        return None
    period = "this month" if budget.period == "month" else "in total"
    return f"{money(budget.spent_nanos)} of {money(budget.limit_nanos)} {period}"


@keys_group.command("budget", epilog="Example: gateway keys budget KEY_ID 5 --period month")
@click.argument("key_id")
@click.argument("dollars")
@click.option("--period", type=click.Choice(["month", "total"]), default="month", show_default=True)
@acting_as
@because
@asynchronous
async def set_key_budget(
    key_id: str, dollars: str, *, period: Any, acting: str | None, reason: str
) -> None:
    """Limit what a key may spend per month or in total; `none` removes the limit."""
    limit = None if dollars == "none" else credit.nanos_of_dollars(dollars)
    async with opened() as database, opened_keys(database) as keys:
        async with database.read() as connection:
            operator = await operator_of(connection, acting)
        await set_budget(keys, operator, key_id, limit, period, reason=reason)
    say(f"Budget of {key_id}: {'none' if limit is None else f'{money(limit)} ({period})'}.")


@keys_group.command("revoke", epilog='Example: gateway keys revoke KEY_ID --reason "it leaked"')
@click.argument("key_id")
@acting_as
@because
@asynchronous
async def revoke_key(key_id: str, *, acting: str | None, reason: str) -> None:
    """Revoke a key permanently; running gateways refuse it within a second."""
    async with opened() as database, opened_keys(database) as keys:
        async with database.read() as connection:
            operator = await operator_of(connection, acting)
        await revoke(keys, operator, key_id, reason=reason)
    say(f"Revoked {key_id}.")


@asynccontextmanager
async def opened_keys(database: Database) -> AsyncIterator[ApiKeys]:
    """Open the key service; with Redis it announces changes to running gateways.

    Raises WrongSecret.
    """
    settings = Settings.from_environment()
    await enter(database, settings.keyring)
    writer, outbox = make_mail(settings, database)
    mails = SecurityMails(outbox, writer, public_url=settings.public_url)
    if not settings.redis_url:
        yield ApiKeys(database, secret=settings.keyring, mails=mails)
        return
    from gateway.storage.redis import KeyAnnouncements  # noqa: PLC0415 - 7 MB, 60 ms

    announcements = KeyAnnouncements(settings.redis_url, lambda _digest: None)
    announce = announcements.announce
    try:
        yield ApiKeys(database, secret=settings.keyring, announce=announce, mails=mails)
    finally:
        await announcements.stop()
