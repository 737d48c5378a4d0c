"""`gateway run`, `migrate`, `settings` and `dev`: the service itself."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import rich_click as click
import uvicorn

from gateway.app.core import worker_sources
from gateway.cli import dev as development
from gateway.cli.printing import say
from gateway.cli.support import asynchronous, opened
from gateway.control_plane.catalog import catalog
from gateway.observability import logging as logs
from gateway.settings import Settings, describe
from gateway.storage import migrate as schema
from gateway.storage.database import Database

_LISTENING = re.compile(r"Uvicorn running on (.+) \(Press CTRL\+C to quit\)")


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


@click.command("run")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--uds", help="A unix socket to listen on instead.")
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="One a core; they share the database, and nothing else.",
)
def serve(*, host: str, port: int, uds: str | None, processes: int) -> None:
    """Run the gateway until SIGTERM or Ctrl-C, when what is under way is still answered."""
    settings = Settings.from_environment()  # what is wrong is said once, and here
    worker_sources(settings)
    asyncio.run(_check_database())
    logs.configure(settings.log_format)
    server_log = logging.getLogger("uvicorn.error")
    server_log.setLevel(logging.INFO)
    server_log.addHandler(_Announcer(processes))
    uvicorn.run(
        "gateway.app:create_app",
        factory=True,
        host=host,
        port=port,
        uds=uds,
        workers=processes,
        log_config=None,  # its warnings go where ours go
        access_log=False,
        proxy_headers=False,  # GATEWAY_TRUSTED_PROXIES says which are believed
        timeout_graceful_shutdown=round(settings.request_timeout_seconds),
    )


class _Announcer(logging.Handler):
    """Prints where the server listens once it does, as workers do; uvicorn alone knows when.

    Of several processes it knows only when they begin to start.
    """

    def __init__(self, processes: int) -> None:
        super().__init__()
        self._doing = "listening on" if processes == 1 else f"starting {processes} processes on"

    def emit(self, record: logging.LogRecord) -> None:
        """Look for the one line of uvicorn's log that tells."""
        said = _LISTENING.fullmatch(record.getMessage())
        if said:
            say(f"{self._doing} {said[1].replace('unix socket ', 'unix:')}")


async def _check_database() -> None:
    async with opened():
        pass


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
