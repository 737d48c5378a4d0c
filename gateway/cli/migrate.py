"""`gateway migrate`: the database, brought to this version."""

from __future__ import annotations

import rich_click as click

from gateway.cli.printing import asynchronous, say
from gateway.control_plane.catalog import catalog
from gateway.settings import Settings
from gateway.storage.database import Database, parse
from gateway.storage.migrate import upgrade
from gateway.storage.privileges import grant_service


@click.command("migrate", epilog="Example: gateway migrate")
@asynchronous
async def migrate() -> None:
    """Bring the database to this version's schema and catalog.

    With GATEWAY_MIGRATION_DATABASE_URL it does so as that role, which owns the schema, and lets the
    role of DATABASE_URL read and write rows: add only, where history is kept.
    """
    settings = Settings.from_environment()
    owner_url = settings.migration_database_url
    database = Database(owner_url or settings.database_url, connections_max=2)
    try:
        await upgrade(database)
        async with database.write() as connection:
            await catalog.seed(connection)
            if owner_url:
                await grant_service(connection, parse(settings.database_url))
    finally:
        await database.close()
    say("The database is up to date.")
