"""`gateway export` and `gateway import`: an organization moves to another deployment."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.printing import asynchronous, patient, say
from gateway.control_plane.accounts import organizations
from gateway.control_plane.back_office.acting import checked
from gateway.control_plane.secrets import record
from gateway.control_plane.transfers import closing, exports, imports, organization_file
from gateway.control_plane.transfers.organization_file import OtherSecret
from gateway.errors import BadRequest
from gateway.money import money
from gateway.settings import Settings
from gateway.storage.database import DatabaseError

_FILE = click.Path(dir_okay=False, path_type=Path)


class FileExists(BadRequest):
    """The file to write already exists."""

    code = "file_exists"


@click.command("export", epilog="Example: gateway export Acme acme.jsonl.gz --reason moves-to-eu")
@click.argument("organization")
@click.argument("file", type=_FILE)
@acting_as
@because
@asynchronous
async def export_organization(
    *, organization: str, file: Path, acting: str | None, reason: str
) -> None:
    """Close a suspended organization here, and write the file that continues it elsewhere.

    Its credit leaves these books permanently and is then in the file: guard it like money. If the
    file is lost, the same command writes it again.
    """
    if file.exists():  # noqa: ASYNC240 - a command has nothing else to do
        raise FileExists(f"{file} already exists.")
    async with patient() as database:
        async with database.write() as connection:
            operator = await operator_of(connection, acting)
            operator.must("operators")
            reason = checked(operator, reason)
            owner = await organizations.find(connection, organization)
            closed = await closing.close(connection, operator, owner.id, reason=reason)
        try:
            footer = await exports.write(
                database, owner.id, closed, file, secret=Settings.from_environment().keyring
            )
        except OSError as error:
            raise DatabaseError(
                f"{file} can't be written: {error.strerror}. {owner.name} is closed; run the "
                "same command with another path to write the file"
            ) from error
    rows = sum(footer.rows.values())
    say(f"{owner.name} is closed. {file}: {rows} rows, {money(closed.balance_nanos)} of credit.")


@click.command("import", epilog="Example: gateway import acme.jsonl.gz --reason moves-to-eu")
@click.argument("file", type=_FILE)
@click.option(
    "--join-members",
    is_flag=True,
    help="Members may be matched to existing users here, by address.",
)
@click.option(
    "--without-keys",
    is_flag=True,
    help="For a file from another GATEWAY_SECRET, which can't be verified: keys arrive revoked.",
)
@acting_as
@because
@asynchronous
async def import_organization(
    *, file: Path, join_members: bool, without_keys: bool, acting: str | None, reason: str
) -> None:
    """Continue an organization here, once, from a file that `gateway export` wrote."""
    try:
        header, footer, ours = organization_file.checked(file, Settings.from_environment().keyring)
    except OSError as error:
        raise DatabaseError(f"{file} can't be read: {error.strerror}") from error
    if not ours and not without_keys:
        raise OtherSecret(
            "The file was written under another GATEWAY_SECRET, or was changed. Its keys can't "
            "work here: --without-keys imports them revoked, if you trust the file."
        )
    async with patient() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        operator.must("operators")
        is_new = await imports.bring_in(
            connection,
            operator,
            file,
            header,
            footer,
            has_keys=ours,
            joins_members=join_members,
            reason=checked(operator, reason),
        )
        unstarted = await record.unstarted(connection)
    if not is_new:
        say(f"{header.name} was already imported; nothing changed.")
        return
    counts = footer.rows
    say(
        f"{header.name} continues here with {money(int(footer.sums.balance_nanos))}, "
        f"{counts['memberships']} members and {counts['api_keys']} keys"
        f"{'' if ours else ', all of them revoked'}."
    )
    for fingerprint, keys in unstarted.items():
        say(f"{record.unstarted_words(fingerprint, keys)}.")
