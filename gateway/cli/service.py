"""`gateway migrate`, `gateway settings` and `gateway dev`: the service itself."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from gateway import dev as development
from gateway.cli.support import asynchronous
from gateway.control_plane.catalog import models as catalog
from gateway.observability.console import say
from gateway.settings import Settings, describe
from gateway.storage import migrate as schema
from gateway.storage.database import Database


@click.command("migrate")
@asynchronous
async def migrate() -> None:
    """Bring the database to this version's schema and catalogue."""
    settings = Settings.from_environment()
    database = Database(settings.database_url, connections_max=2)
    try:
        await schema.upgrade(database)
        async with database.write() as connection:
            await catalog.seed(connection)
    finally:
        await database.close()
    say("The database is up to date.")


@click.command("settings")
@click.option("--markdown", is_flag=True, help="Print docs/settings.md.")
def settings(*, markdown: bool) -> None:
    """List every setting, its default and what it does."""
    rows = describe()
    if markdown:
        say("# Settings\n\nPrinted by `gateway settings --markdown`.\n")
        say("| variable | default | what it does |\n| --- | --- | --- |")
        for name, default, sentence in rows:
            say(f"| `{name}` | `{default}` | {sentence.replace('|', '/')} |")
        return
    for name, default, sentence in rows:
        say(f"{name}={default}\n    {sentence}")


@click.command("dev")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--data", type=click.Path(path_type=Path), default=development.DATA)
@click.option("--stella-weights", help="Serve Stella too: a folder of weights, or a hub id.")
def dev(*, port: int, data: Path, stella_weights: str | None) -> None:
    """Run everything on this machine: database, a model, the gateway, a key to call it with."""
    development.run(port, data, stella_weights)
