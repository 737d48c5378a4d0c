"""`gateway keys mac`: the secrets by which keys of ours are told from made-up ones."""

from __future__ import annotations

import rich_click as click

from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.accounts import mac_secrets
from gateway.control_plane.back_office import keys


@click.group("mac")
def mac_group() -> None:
    """Secrets by which keys of ours are told from made-up ones."""


@mac_group.command("list", epilog="Example: gateway keys mac list")
@as_json
@asynchronous
async def list_secrets(*, as_json: bool) -> None:
    """List the secrets, newest first, and how many keys in use each has signed."""
    async with opened() as database, database.read() as connection:
        found = await mac_secrets.listed(connection)
    show(found, as_json=as_json, title="secrets")


@mac_group.command("rotate", epilog='Example: gateway keys mac rotate --reason "once a year"')
@acting_as
@because
@asynchronous
async def rotate(*, acting: str | None, reason: str) -> None:
    """Add a secret that signs new keys after two minutes; keys of older secrets stay valid."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        signs_from = await keys.rotate_mac(connection, operator, reason=reason)
    say(f"A new secret signs keys from {signs_from:%H:%M:%S} UTC on.")


@mac_group.command("drop", epilog='Example: gateway keys mac drop SECRET_ID --reason "it leaked"')
@click.argument("secret_id")
@acting_as
@because
@asynchronous
async def drop(secret_id: str, *, acting: str | None, reason: str) -> None:
    """Drop a secret that leaked; its keys go on working, like those of version 0.1."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        await keys.drop_mac(connection, operator, secret_id, reason=reason)
    say(f"Dropped {secret_id}.")
