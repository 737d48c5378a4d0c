"""`gateway run`, `migrate` and `settings`: the service itself."""

from __future__ import annotations

import asyncio
import logging
import re

import rich_click as click
import uvicorn

from gateway.app.core import worker_sources
from gateway.cli.printing import asynchronous, opened, say
from gateway.control_plane.catalog import catalog
from gateway.data_plane.api.front_door import FrontDoor
from gateway.observability.logging import configure
from gateway.settings import SECRETS, Settings, describe, variable
from gateway.storage.database import Database
from gateway.storage.migrate import upgrade

_LISTENING = re.compile(r"Uvicorn running on (.+) \(Press CTRL\+C to quit\)")


@click.command("migrate")
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


@click.command("run")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--uds", help="A unix socket to listen on instead.")
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="One per core; they share nothing but the database.",
)
def serve(*, host: str, port: int, uds: str | None, processes: int) -> None:
    """Run the gateway until SIGTERM or Ctrl-C; requests in flight are still answered."""
    settings = Settings.from_environment()  # report errors once, not in every process
    worker_sources(settings)
    asyncio.run(_check_database())
    configure(settings.log_format)
    server_log = logging.getLogger("uvicorn.error")
    server_log.setLevel(logging.INFO)
    server_log.addHandler(_Announcer(processes))
    uvicorn.run(
        "gateway.app:build",
        factory=True,
        host=host,
        port=port,
        uds=uds,
        http=FrontDoor,
        workers=processes,
        log_config=None,  # use our logging
        access_log=False,
        proxy_headers=False,  # GATEWAY_TRUSTED_PROXIES lists the trusted ones
        timeout_graceful_shutdown=round(settings.request_timeout_seconds),
    )


class _Announcer(logging.Handler):
    """Prints where the server listens, as workers do, taken from uvicorn's own log line.

    With several processes, uvicorn logs it before they have started.
    """

    def __init__(self, processes: int) -> None:
        super().__init__()
        self._doing = "listening on" if processes == 1 else f"starting {processes} processes on"

    def emit(self, record: logging.LogRecord) -> None:
        """Print the address when this is uvicorn's line about it."""
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
        say(f"{_in_files()}\n")
        say("| variable | default | what it does |\n| --- | --- | --- |")
        for name, default, sentence in rows:
            say(f"| `{name}` | `{default}` | {sentence.replace('|', '/')} |")
        return
    for name, default, sentence in rows:
        say(f"{name}={default}\n    {sentence}")


def _in_files() -> str:
    """Say which settings may come from files."""
    *names, last = (f"`{variable(field)}`" for field in SECRETS)
    return (
        f"A secret may be in a file instead: `NAME_FILE` holds the file's path, where `NAME` is "
        f"{', '.join(names)} or {last}."
    )
