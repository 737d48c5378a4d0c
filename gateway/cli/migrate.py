"""`gateway migrate`: the database, brought to this version."""

from __future__ import annotations

import rich_click as click

from gateway.cli.printing import asynchronous, say
from gateway.control_plane.catalog import catalog
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.migrate import upgrade


@click.command("migrate", epilog="Example: gateway migrate")
@asynchronous
async def migrate() -> None:
    """Bring the database to this version's schema and catalog."""
    settings = Settings.from_environment()
    database = Database(settings.database_url, connections_max=2)
    try:
        await upgrade(database)
        async with database.write() as connection:
            await catalog.seed(connection)
    finally:
        await database.close()
    say("The database is up to date.")
