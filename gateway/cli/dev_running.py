"""`gateway dev`: the whole product on one machine, with nothing to configure.

One folder holds everything that is kept: the database, the secret and the developer's key, which
stays the same across restarts. Workers are processes of their own, restarted until they are closed.

Nobody vouches for the Stella that is started here, so its first answers become the golden vectors
of its revision: trust on first use, and the output says so. That catches what changes from one
start to the next (an engine, a device), not what was wrong from the beginning.

Without a Stripe key in the environment, credit is bought through a fake Stripe. It moves no money,
and forgets everything at each start.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog
import uvicorn
import uvloop

from backends.protocol import BackendError, InvalidAnswer
from gateway.app import build
from gateway.cli.dev_environment import CannotStart, read_variables, write_variables
from gateway.cli.dev_server import DevServer
from gateway.cli.dev_stripe import fake_stripe, stripe_variables
from gateway.cli.embedded_workers import RESTART_SECONDS, EmbeddedWorker
from gateway.control_plane.accounts import organizations
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.back_office import pinning
from gateway.control_plane.billing import credit
from gateway.control_plane.catalog import catalog, golden
from gateway.control_plane.operators.operators import COMMAND_LINE
from gateway.data_plane.api.front_door import FrontDoor
from gateway.data_plane.routing.router import Router
from gateway.settings import Settings, variable
from gateway.snapshots import SCOPES
from gateway.storage.database import Database
from gateway.storage.migrate import upgrade

log = structlog.get_logger()

HOST = "127.0.0.1"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
STELLA = "NovaSearch/stella_en_400M_v5"

_ORGANIZATION = "dev"
_CREDIT_NANOS = 10**9  # a dollar: 125M tokens
_PINNED = """
Pinned {rows} golden rows of Stella's revision {revision}, from this worker itself: trust on first
use. Every later start must give the same vectors; nobody has checked that these are right. To
start over, remove {data}.
"""
_SHUTDOWN_SECONDS = 10


def run(*, port: int, data: Path, stella_weights: str | None) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises CannotStart."""
    _prepare_folder(data)
    with _locked(data) as note, _listen(port) as listener, contextlib.suppress(KeyboardInterrupt):
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        note(url)
        settings = _settings(data, url)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, data, listener, stella_weights))
    _say("Stopped.")


async def _serve(
    settings: Settings, data: Path, listener: socket.socket, stella_weights: str | None
) -> None:
    async with AsyncExitStack() as stack:
        # not in the data folder: the path of a unix socket has at most 107 bytes
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stella-")))
        _say("Starting the embedded model: all-MiniLM-L6-v2 on the CPU ...")
        workers = {MODEL: EmbeddedWorker("backends.minilm", sockets / "minilm.sock")}
        if stella_weights:
            _say(
                f"Starting the Stella worker with {stella_weights}; it joins the pool when warm ..."
            )
            workers[STELLA] = EmbeddedWorker(
                "backends.stella", sockets / "stella.sock", "--weights", stella_weights
            )
        for worker in workers.values():
            await stack.enter_async_context(_background(worker.run()))
        _say("Preparing the database ...")
        key = await _prepare_database(settings, data, live=set(workers))
        await asyncio.gather(*(worker.listens for worker in workers.values()))
        if STELLA in workers:
            await stack.enter_async_context(_background(_pin(settings, data, workers[STELLA].url)))
        pairs = " ".join(f"{model}={worker.url}" for model, worker in workers.items())
        settings = replace(settings, workers=pairs)
        if not settings.stripe_secret_key:
            settings = await stack.enter_async_context(fake_stripe(settings))
        write_variables(data / "gateway.env", _environment(settings))
        made = build(settings)
        server = DevServer(
            uvicorn.Config(
                made,
                http=FrontDoor,
                log_level="warning",
                access_log=False,
                proxy_headers=False,  # as in `gateway run`
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            ),
            _banner(settings, key, data),
            partial(_is_ready, made.core.router),
            at_once=partial(_end_at_once, list(workers.values()), sockets),
        )
        await server.serve([listener])
        if not server.started:
            raise CannotStart("The gateway did not start; the lines above say why.")


def _is_ready(router: Router) -> bool:
    return any(worker.model == MODEL and worker.ready for worker in router.statuses())


def _end_at_once(workers: Sequence[EmbeddedWorker], sockets: Path) -> None:
    for worker in workers:
        worker.kill()
    shutil.rmtree(sockets, ignore_errors=True)


@asynccontextmanager
async def _background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run a coroutine while the block runs, then cancel it."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _pin(settings: Settings, data: Path, url: str) -> None:
    """Once Stella is warm, pin its answers, unless its revision has golden vectors."""
    database = Database(settings.database_url)
    try:
        while True:
            try:
                revision, rows = await pinning.pin(
                    database, COMMAND_LINE, STELLA, url, reason="gateway dev"
                )
            except golden.AlreadyPinned:
                return
            except InvalidAnswer as error:
                log.warning("Stella is not pinned", reason=str(error))
                return
            except BackendError:  # it is loading its weights or restarting
                await asyncio.sleep(RESTART_SECONDS)
            except Exception:
                log.exception("Stella is not pinned")
                return
            else:
                _say(_PINNED.format(rows=rows, revision=revision, data=data))
                return
    finally:
        await database.close()


async def _prepare_database(settings: Settings, data: Path, live: set[str]) -> str:
    """Migrate, seed, and return the developer's key: the previous one, or a new one.

    The models in `live` are served; the others are coming soon.
    """
    database = Database(settings.database_url)
    try:
        await upgrade(database)
        keys = ApiKeys(database, secret=settings.keyring)
        async with database.write() as connection:
            await catalog.seed(connection)
            for model in (MODEL, STELLA):
                await catalog.set_state(
                    connection, model, "live" if model in live else "coming_soon"
                )
            found = [o for o in await organizations.listed(connection) if o.name == _ORGANIZATION]
            owner = found[0] if found else await organizations.create(connection, _ORGANIZATION)
            await credit.grant(connection, owner.id, _CREDIT_NANOS, source_ref="dev")
        secret = read_variables(data / "dev.env").get("OPENAI_API_KEY", "")
        if not secret or await keys.recognize(secret) is None:
            secret = (await keys.create(owner.id, "developer", scopes=SCOPES)).secret
    finally:
        await database.close()
    write_variables(
        data / "dev.env",
        {"OPENAI_BASE_URL": f"{settings.public_url}/v1", "OPENAI_API_KEY": secret},
    )
    return secret


def _prepare_folder(data: Path) -> None:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data):
            pass
    except OSError as error:
        raise CannotStart(f"Can't write to {data}: {error.strerror}.") from None


@contextlib.contextmanager
def _locked(data: Path) -> Iterator[Callable[[str], None]]:
    """Lock the folder, which one process serves at a time; yield what notes its address there.

    The lock ends with the process, however it ends. Raises CannotStart.
    """
    with (data / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise CannotStart(
                f"{data} is already being served at {file.read() or 'an address not known yet'}. "
                f"Stop that, or use another folder: make run DATA={data}-2."
            ) from None

        def note(url: str) -> None:
            file.truncate(0)
            file.write(url)
            file.flush()

        yield note


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port), backlog=1024)
    except OSError as error:
        raise CannotStart(
            f"Can't listen on {HOST}:{port}: {error.strerror}. Choose another: make run PORT=8081."
        ) from None


def _settings(data: Path, url: str) -> Settings:
    secret = read_variables(data / "gateway.env").get("GATEWAY_SECRET") or secrets.token_hex(32)
    fixed = {
        "GATEWAY_SECRET": secret,
        "DATABASE_URL": f"sqlite:///{(data / 'gateway.db').absolute()}",
        "GATEWAY_PUBLIC_URL": url,
        "GATEWAY_LOG_FORMAT": "console",
        "GATEWAY_WORKERS": "",
        "GATEWAY_DEV_MAIL": "true",
    }
    chosen = {
        name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in fixed
    }
    settings = Settings.from_environment({**chosen, **fixed})
    # before the database exists: key digests are useless without the secret
    write_variables(data / "gateway.env", _environment(settings))
    return settings


def _environment(settings: Settings) -> dict[str, str]:
    fields = ("secret", "database_url", "public_url", "workers", "log_format")
    ours = {variable(field): getattr(settings, field) for field in fields}
    return ours | stripe_variables(settings)


def _banner(settings: Settings, key: str, data: Path) -> str:
    url, is_test = settings.public_url, not settings.stripe_live
    return f"""
The gateway answers at {url}. Your key, also in {data / "dev.env"}:

    {key}

Try it:

    curl {url}/v1/embeddings -H "Authorization: Bearer {key}" \\
      -H "Content-Type: application/json" \\
      -d '{{"model": "{MODEL}", "input": "Hello, world"}}'

Pages: {url}/models. Signing in sends no email here: links are shown at {url}/dev/mail.
Credit can be bought in the console{", in a test mode that moves no money" if is_test else ""}.

Ctrl-C stops everything.
"""


def _say(text: str) -> None:
    print(text, flush=True)
