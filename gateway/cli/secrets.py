"""`gateway secrets`: the deployment's secret while it is rotated."""

from __future__ import annotations

import secrets
from datetime import datetime

import msgspec
import rich_click as click

from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.back_office.secrets import retire
from gateway.control_plane.secrets import dependents, record, resealing
from gateway.control_plane.secrets.making import makes
from gateway.errors import BadRequest
from gateway.settings import Settings

_BYTES = 32
_KEYS_MAX = 100


@click.group("secrets")
def secrets_group() -> None:
    """The deployment's secret: create one, rotate it, see when the old one can be dropped."""


class _SecretRow(msgspec.Struct, frozen=True, kw_only=True):
    fingerprint: str
    place: str
    """Its place in GATEWAY_SECRET: first, second ...; or missing, or retired."""
    seen_at: datetime
    api_keys: int
    webhooks: int
    authenticators: int
    lasting: int
    sessions: int
    mail_links: int
    is_next: bool
    """Whether no gateway has made anything with it yet: it is to be put first next."""
    can_be_dropped: bool


@secrets_group.command("generate", epilog="Example: gateway secrets generate")
def generate() -> None:
    """Print a new secret, 32 random bytes in hex. It reads and writes nothing."""
    say(secrets.token_hex(_BYTES))


@secrets_group.command("status", epilog="Example: gateway secrets status")
@as_json
@asynchronous
async def status(*, as_json: bool) -> None:
    """Show what depends on each secret that this database was used with, newest first.

    API keys move to the first secret when they are used, sealed texts by `gateway secrets reseal`
    and an hourly job, sessions within an hour of being used. A secret that only sessions and links
    depend on can be dropped: they just end.
    """
    keyring = Settings.from_environment().keyring
    async with opened() as database, database.read() as connection:
        rows = []
        for one in await record.listed(connection):
            found = await dependents.dependents(connection, keyring, one.fingerprint)
            is_first = one.fingerprint == keyring.fingerprints[0]
            is_next = one.first_at is None and one.fingerprint in keyring.fingerprints
            rows.append(
                _SecretRow(
                    fingerprint=one.fingerprint,
                    place=_place(one, keyring.fingerprints),
                    seen_at=one.seen_at,
                    is_next=is_next,
                    can_be_dropped=not (is_first or is_next or found.must_stay),
                    **msgspec.structs.asdict(found),
                )
            )
    show(rows, as_json=as_json, title="secrets")


@secrets_group.command("keys", epilog="Example: gateway secrets keys 3f2a9c017b44")
@click.argument("fingerprint")
@as_json
@asynchronous
async def keys_under(fingerprint: str, *, as_json: bool) -> None:
    """List the first hundred active API keys that depend on a secret: they were not used since."""
    async with opened() as database, database.read() as connection:
        found = await dependents.keys_under(connection, fingerprint, most=_KEYS_MAX)
    show(found, as_json=as_json, title="keys")


@secrets_group.command("reseal", epilog="Example: gateway secrets reseal")
@asynchronous
async def reseal() -> None:
    """Seal again, with the first secret, what an older one sealed."""
    keyring = Settings.from_environment().keyring
    async with opened() as database:
        async with database.read() as connection:
            if not await makes(connection, keyring):
                raise BadRequest("No gateway has started with this first secret yet.")
        done = await resealing.reseal(database, keyring)
    say(f"Sealed again: {sum(done.values())}.")


@secrets_group.command(
    "retire", epilog='Example: gateway secrets retire 3f2a9c017b44 --reason "it leaked"'
)
@click.argument("fingerprint")
@acting_as
@because
@asynchronous
async def retire_secret(fingerprint: str, *, acting: str | None, reason: str) -> None:
    """Let gateways start without a secret; API keys that depend on it end permanently."""
    keyring = Settings.from_environment().keyring
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        found = await retire(connection, operator, keyring, fingerprint, reason=reason)
    say(
        f"Retired {fingerprint}. {found.api_keys} API keys, {found.webhooks} webhook secrets and "
        f"{found.authenticators} authenticator apps no longer work."
    )


def _place(one: record.KnownSecret, ours: tuple[str, ...]) -> str:
    if one.fingerprint in ours:
        return ("first", "second", "third", "fourth")[ours.index(one.fingerprint)]
    return "missing" if one.retired_at is None else "retired"
