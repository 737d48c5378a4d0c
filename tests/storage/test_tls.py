"""PostgreSQL over TLS, by a server that has it: Debian's, for that of the package has none."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from gateway.storage import migrate
from gateway.storage.database import Database, DatabaseError
from gateway.storage.own_connection import OwnConnection
from testing import servers
from testing.certificates import Authority

pytestmark = pytest.mark.long
IS_ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def _debian() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def url(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that refuses whoever comes without TLS, but for its owner."""
    binaries = _debian()
    if binaries is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL with TLS is missing: apt-get install postgresql")
        pytest.skip("PostgreSQL with TLS is missing: apt-get install postgresql")
    folder = tmp_path_factory.mktemp("postgres")
    for part in (folder, *folder.parents[:2]):
        part.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "_binaries", lambda: binaries)
        data = servers.initialise_postgres(folder)
        certified = authority.certify("localhost")
        for made in certified:
            copy = Path(shutil.copy(made, data / made.name))
            copy.chmod(0o600)
        (data / "pg_hba.conf").write_text(
            "host all postgres 127.0.0.1/32 trust\nhostssl all service 127.0.0.1/32 trust\n"
        )
        port = servers.free_port()
        tls = {
            "ssl": "on", "ssl_cert_file": certified.cert.name, "ssl_key_file": certified.key.name,
        }  # fmt: skip
        server = servers.start_postgres(data, port, is_durable=False, changes=tls)
    try:
        owner = ["psql", "-qX", f"postgresql://postgres@127.0.0.1:{port}/postgres", "-c"]
        subprocess.run(
            [str(binaries / owner[0]), *owner[1:], "CREATE ROLE service LOGIN"], check=True
        )
        yield f"postgresql://service@localhost:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # it does not wait for connections that a failure left
        server.wait(timeout=30)


async def test_every_connection_is_encrypted_and_knows_its_server(url: str, authority: Authority):
    database = Database(f"{url}?sslmode=verify-full&sslrootcert={authority.path}")
    async with database.read() as connection:
        assert await connection.scalar(text(IS_ENCRYPTED)) is True
    own = OwnConnection(database, {"jit": "off"})
    assert await (await own.prepared(IS_ENCRYPTED)).fetchval() is True
    await own.close()
    await database.close()


async def test_without_tls_nobody_is_let_in(url: str):
    own = OwnConnection(Database(f"{url}?sslmode=disable"), {})
    try:
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="no encryption"):
            await own.prepared("SELECT 1")
    finally:
        await own.close()


@pytest.mark.parametrize(
    ("host", "ca", "reason"),
    [
        ("localhost", "other.pem", "certificate verify failed"),
        ("127.0.0.1", "authority.pem", "certificate verify failed: IP address mismatch"),
        ("localhost", "missing.pem", "missing.pem"),
    ],
)
async def test_a_wrong_authority_or_name_is_told_in_one_line(
    url: str, authority: Authority, host: str, ca: str, reason: str
):
    Authority(authority.path.parent, "other")
    file = authority.path.parent / ca
    at = url.replace("localhost", host)
    database = Database(f"{at}?sslmode=verify-full&sslrootcert={file}")
    with pytest.raises(DatabaseError) as refused:
        await migrate.check(database)
    await database.close()
    (line,) = str(refused.value).splitlines()
    assert reason in line
