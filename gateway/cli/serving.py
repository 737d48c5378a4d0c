"""Serves for `gateway run`, with uvicorn, in one process or several."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from gateway.app.worker_sources import worker_sources
from gateway.cli.draining import DrainingServer
from gateway.cli.printing import opened, say
from gateway.cli.processes import NOT_STARTED, Processes
from gateway.control_plane.secrets.record import register
from gateway.observability.logging import configure
from gateway.settings import Settings, variable

_LISTENING = re.compile(r"Uvicorn running on (.+) \(Press CTRL\+C to quit\)")
_FOLDER_CHARACTERS_MAX = 60
"""Longest temporary folder to use: a unix socket's path has at most 107 characters."""


def run(*, host: str, port: int, uds: str | None, processes: int) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises SettingsError or DatabaseError."""
    settings = Settings.from_environment()  # report errors once, not in every process
    worker_sources(settings)
    asyncio.run(_check_database(settings))
    configure(settings.log_format, settings.log_level)
    server_log = logging.getLogger("uvicorn.error")
    server_log.setLevel(logging.INFO)
    server_log.addHandler(_Announcer(processes))
    config = uvicorn.Config(
        "gateway.app:build",
        factory=True,
        host=host,
        port=port,
        uds=uds,
        http="gateway.data_plane.api.front_door:FrontDoor",
        workers=processes,
        log_config=None,  # use our logging
        access_log=False,
        proxy_headers=False,  # GATEWAY_TRUSTED_PROXIES lists the trusted ones
        timeout_graceful_shutdown=round(settings.request_timeout_seconds),
    )
    try:
        with contextlib.suppress(KeyboardInterrupt), _meeting(processes):
            _serve(config, settings.drain_seconds)
    finally:
        if uds:
            Path(uds).unlink(missing_ok=True)


def _serve(config: uvicorn.Config, drain_seconds: float) -> None:
    if config.workers > 1:
        sys.exit(Processes(config, drain_seconds=drain_seconds).run())
    server = DrainingServer(config, drain_seconds=drain_seconds)
    server.run()
    if not server.started:
        sys.exit(NOT_STARTED)


@contextlib.contextmanager
def _meeting(processes: int) -> Iterator[None]:
    """Give several processes a folder to meet in, and tell them how many they are."""
    if processes == 1:
        yield
        return
    usual = tempfile.gettempdir()
    place = usual if len(usual) <= _FOLDER_CHARACTERS_MAX else "/tmp"  # noqa: S108 - 0700, and random
    with tempfile.TemporaryDirectory(prefix="gateway-", dir=place) as folder:
        os.environ[variable("siblings")] = folder
        os.environ[variable("processes")] = str(processes)
        yield


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


async def _check_database(settings: Settings) -> None:
    async with opened() as database:
        await register(database, settings.keyring)
