"""`gateway migrate`: brings the database to this version, or to a revision of the schema."""

from __future__ import annotations

import sys

import rich_click as click

from gateway.cli.printing import asynchronous, say
from gateway.control_plane.catalog import catalog
from gateway.settings import Settings
from gateway.storage import schema
from gateway.storage.database import Database, parse
from gateway.storage.migrate import Plan, downgrade, plan, upgrade
from gateway.storage.privileges import grant_service


@click.command("migrate", epilog="Example: gateway migrate --plan")
@click.option("--to", metavar="REVISION", default="", help="A revision, up or down; 0027 will do.")
@click.option("--plan", "is_plan", is_flag=True, help="Say what would be done, without doing it.")
@click.option(
    "--status",
    "is_status",
    is_flag=True,
    help="Say which schema the database has; exit with 1 if this version does not run on it.",
)
@asynchronous
async def migrate(*, to: str, is_plan: bool, is_status: bool) -> None:
    """Bring the database to this version's schema and catalog.

    With GATEWAY_MIGRATION_DATABASE_URL it does so as that role, which owns the schema, and lets the
    role of DATABASE_URL read and write rows; where history is kept, it may only add rows.

    A newer version's schema stays as it is, if this version runs on it. Going down is refused if
    rows would be lost; docs/upgrading.md says when to use it.
    """
    settings = Settings.from_environment()
    address = settings.migration_database_url or settings.database_url
    database = Database(address, connections_max=2)
    try:
        if is_status:
            _show_status(await schema.read(database))
        elif is_plan:
            _show_plan(await plan(database, to))
        elif (await plan(database, to)).is_down:
            await downgrade(database, to, say=say)
            say(f"The database is at {(await schema.read(database)).current}.")
        else:
            await _upgrade(database, to, settings)
    finally:
        await database.close()


async def _upgrade(database: Database, to: str, settings: Settings) -> None:
    before = await upgrade(database, to, say=say)
    if before.is_newer:
        say(f"The database is at {before.current}, from a newer version; this one runs on it.")
        return
    now = await schema.read(database)
    if now.current != now.needed:
        say(f"The database is at {now.current}.")
        return
    async with database.write() as connection:
        await catalog.seed(connection)
        if settings.migration_database_url:
            await grant_service(connection, parse(settings.database_url))
    say("The database is up to date.")


def _show_status(found: schema.Schema) -> None:
    say(f"schema          {found.current or 'none'}")
    say(f"runs code from  {found.runs_from or '-'}")
    say(f"this version    {found.needed}")
    if found.flaw:
        sys.exit(found.flaw)
    say("This version runs on it.")


def _show_plan(found: Plan) -> None:
    if not found.steps:
        say("There is nothing to do.")
    for step in found.steps:
        say(f"{'take back' if found.is_down else 'apply'} {step}")
    for table, count in found.losses.items():
        say(f"refused: {count:,} rows of {table} would be lost")
