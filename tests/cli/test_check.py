"""`gateway check`, against servers that are right, down, hanging, or closed to us."""

import asyncio
import contextlib
import json
import shutil
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from click.testing import CliRunner
from sqlalchemy import delete, text
from sqlalchemy.engine import make_url

from gateway.cli.check import check
from gateway.cli.checks import findings
from gateway.cli.checks.agreement import agreement
from gateway.cli.checks.database import database as of_database
from gateway.cli.checks.findings import Finding, Question, asked
from gateway.cli.checks.journal import journal
from gateway.cli.checks.mail import mail
from gateway.cli.checks.redis import redis as of_redis
from gateway.cli.checks.stripe import stripe
from gateway.cli.checks.workers import workers
from gateway.control_plane.secrets.record import register
from gateway.fake_stripe.store import SECRET_KEY
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.privileges import grant_service
from gateway.storage.tables import golden_rows
from testing.certificates import Authority
from testing.gateways import MODEL, SECRET, settings
from testing.processes import Process
from testing.servers import free_port
from testing.stripe import fake_stripe

PASSWORD = "a-password-that-nobody-may-read"


async def found(question: Question, url: str = "sqlite:///", **changes: Any) -> list[Finding]:
    """Ask one question; whatever it finds holds no secret."""
    answers = await asked("it", question, settings(url, **changes))
    assert not any(secret in one.words for one in answers for secret in (PASSWORD, SECRET))
    return answers


async def the_one(question: Question, url: str = "sqlite:///", **changes: Any) -> Finding:
    (only,) = await found(question, url, **changes)
    return only


def levels(answers: list[Finding]) -> list[str]:
    return [answer.level for answer in answers]


# --- the database


async def test_a_database_that_is_right(database_url: str):
    answers = await found(of_database, database_url)
    assert "error" not in levels(answers)
    words = " ".join(answer.words for answer in answers)
    assert "which this version needs" in words
    if database_url.startswith("postgresql"):
        assert "on this machine" in words
        assert "clock agrees" in words
        assert "1 process may open 19" in words
        # who owns the schema can rewrite history
        (owner,) = [one.words for one in answers if one.level == "warning"]
        assert owner.startswith("the role postgres may change tables and history;")


async def test_the_schema_of_another_version(database: Database, database_url: str):
    async with database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999_later'"))
    (wrong,) = [one for one in await found(of_database, database_url) if one.level == "error"]
    assert "9999_later" in wrong.words


async def test_the_secret_of_another_deployment(database: Database, database_url: str):
    def secret(answers: list[Finding]) -> str:
        (told,) = [one for one in answers if one.about == "secret"]
        return f"{told.level}: {told.words}"

    assert "no gateway has started" in secret(await found(of_database, database_url))
    await register(database, Keyring("of another deployment" * 3))
    told = secret(await found(of_database, database_url))
    assert told.startswith("error: GATEWAY_SECRET (fingerprint")
    assert "another deployment" not in told


@pytest.fixture
async def role(postgresql_database_url: list[str]) -> AsyncIterator[tuple[Database, str]]:
    """A role without any right on a database: the database, and its address as that role."""
    owner = Database(postgresql_database_url[0])
    name = f"role_{new_id().replace('-', '')}"
    async with owner.write() as connection:
        await connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"))
    url = make_url(postgresql_database_url[0]).set(username=name, password=PASSWORD)
    try:
        yield owner, url.render_as_string(hide_password=False)
    finally:
        async with owner.write() as connection:
            await connection.execute(text(f"DROP OWNED BY {name}"))
            await connection.execute(text(f"DROP ROLE {name}"))
        await owner.close()


async def test_the_rights_of_a_role(role: tuple[Database, str]):
    owner, url = role
    closed = [one.words for one in await found(of_database, url) if one.level == "error"]
    assert "permission denied" in closed[0]
    assert "`gateway migrate` gives this role its rights" in closed[0]
    assert f"the role {make_url(url).username} may not read and write" in closed[1]
    async with owner.write() as connection:
        await grant_service(connection, make_url(url))
    assert set(levels(await found(of_database, url))) == {"ok"}
    async with owner.write() as connection:
        await connection.execute(text(f"REVOKE INSERT ON outbox FROM {make_url(url).username}"))
    (less,) = [one for one in await found(of_database, url) if one.level == "error"]
    assert "may not read and write outbox" in less.words


async def test_more_connections_than_there_are(role: tuple[Database, str]):
    owner, url = role
    async with owner.write() as connection:
        await grant_service(connection, make_url(url))
        await connection.execute(text(f"ALTER ROLE {make_url(url).username} CONNECTION LIMIT 40"))
    for gateways, level in ((1, "ok"), (2, "warning"), (3, "error")):
        *_, room = await found(of_database, url, gateways=gateways)
        assert room.level == level
        assert f"the role gives 40 connections, and {gateways} process" in room.words


async def test_a_clock_that_is_wrong(
    postgresql_database_url: list[str], monkeypatch: pytest.MonkeyPatch
):
    class Later:
        @staticmethod
        def time() -> float:
            return 10**10

    monkeypatch.setattr("gateway.cli.checks.database.time", Later)
    answers = await found(of_database, postgresql_database_url[0])
    assert any("ahead of the database's" in one.words for one in answers if one.level == "warning")


async def test_no_database_is_made_by_asking(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/none.db"
    assert "gateway migrate" in (await the_one(of_database, url)).words
    listed = f"{MODEL}=http://127.0.0.1:{free_port()}"
    assert (await the_one(workers, url, workers=listed)).level == "error"
    assert list(tmp_path.iterdir()) == []


# --- what is down, and what hangs


def addresses(port: int) -> list[tuple[Question, dict[str, str]]]:
    """Each question, with settings that name a server at this port."""
    return [
        (of_database, {"database_url": f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/x"}),
        (of_redis, {"redis_url": f"redis://:{PASSWORD}@127.0.0.1:{port}/0"}),
        (mail, {"smtp_url": f"smtp://u:{PASSWORD}@127.0.0.1:{port}"}),
        (workers, {"workers": f"{MODEL}=http://127.0.0.1:{port}"}),
        (stripe, {"stripe_secret_key": f"sk_test_{PASSWORD}",
                  "stripe_api_url": f"http://127.0.0.1:{port}"}),
    ]  # fmt: skip


async def test_servers_that_are_down():
    port = free_port()
    for question, changes in addresses(port):
        answer = await the_one(question, **{"url": "sqlite:////nowhere/db", **_url(changes)})
        assert answer.level == "error"
        assert str(port) in answer.words


async def test_servers_that_hang_take_no_longer_than_a_question(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(findings, "QUESTION_SECONDS", 0.2)
    connected = asyncio.Semaphore(0)

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.release()
        await reader.read(-1)  # until the client is gone
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for question, changes in addresses(port):
            answer = await the_one(question, **{"url": "sqlite:////nowhere/db", **_url(changes)})
            assert (answer.level, answer.words) == ("error", "no answer within 0 s"), question
            await connected.acquire()


def _url(changes: dict[str, str]) -> dict[str, str]:
    """Name the database as `found` does."""
    return {name.replace("database_url", "url"): value for name, value in changes.items()}


# --- Redis, mail, workers, Stripe


async def test_redis(redis_url: str):
    assert "is reached: Valkey 9" in (await the_one(of_redis, redis_url=redis_url)).words
    parts = urlsplit(redis_url)
    user = new_id()
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", user, "on", f">{PASSWORD}", "+info", "allchannels")
        try:
            address = f"redis://{user}:{{}}@{parts.hostname}:{parts.port}/0"
            wrong = await the_one(of_redis, redis_url=address.format("another"))
            assert (wrong.level, "invalid username" in wrong.words) == ("error", True)
            mute = await the_one(of_redis, redis_url=address.format(PASSWORD))
            assert (mute.level, "permissions" in mute.words) == ("error", True)
        finally:
            client.execute_command("ACL", "DELUSER", user)


@contextlib.contextmanager
def locked_mailbox(tls: ssl.SSLContext | None) -> Iterator[str]:
    """Serve SMTP to one user; give the address without scheme and user."""

    def authenticate(*arguments: Any) -> AuthResult:
        given = arguments[-1]
        is_right = (given.login, given.password) == (b"u", PASSWORD.encode())
        return AuthResult(success=is_right, handled=False)

    server = Controller(
        object(), hostname="127.0.0.1", port=free_port(), authenticator=authenticate,
        auth_require_tls=tls is not None, tls_context=tls, auth_required=True,
    )  # fmt: skip
    server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        server.stop()


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
async def test_mail_is_asked_for_its_password_and_sent_nothing():
    with locked_mailbox(None) as address:
        right = await the_one(mail, smtp_url=f"smtp://u:{PASSWORD}@{address}")
        assert (right.level, right.words) == (
            "ok",
            f"{address} is reached without TLS, signed in as u",
        )
        wrong = await the_one(mail, smtp_url=f"smtp://u:wrong-password@{address}")
        assert wrong.level == "error"
        assert "wrong-password" not in wrong.words
    assert await found(mail) == []


async def test_mail_by_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.certify("127.0.0.1"))
    with locked_mailbox(context) as address:
        unknown = await the_one(mail, smtp_url=f"smtp://u:{PASSWORD}@{address}")
        assert (unknown.level, "CERTIFICATE_VERIFY_FAILED" in unknown.words) == ("error", True)
        knowing = ssl.create_default_context(cafile=authority.path)
        monkeypatch.setattr(ssl, "create_default_context", lambda: knowing)
        right = await the_one(mail, smtp_url=f"smtp://u:{PASSWORD}@{address}")
        assert (right.level, "by TLS" in right.words) == ("ok", True), right


@pytest.mark.sqlite
async def test_workers(database: Database, database_url: str, fake_worker: Process):
    listed = f"{MODEL}={fake_worker.url}"
    pinned = await the_one(workers, database_url, workers=listed)
    assert (pinned.level, "which is pinned" in pinned.words) == ("ok", True)
    async with database.write() as connection:
        await connection.execute(delete(golden_rows))
    new = await the_one(workers, database_url, workers=listed)
    assert (new.level, "which is not pinned" in new.words) == ("warning", True)
    other = await the_one(workers, database_url, workers=f"NovaSearch/x={fake_worker.url}")
    assert "the catalog has no model NovaSearch/x" in other.words
    stella = await the_one(
        workers, database_url, workers=f"NovaSearch/stella_en_400M_v5={fake_worker.url}"
    )
    assert stella.level == "error"  # it serves another model
    name = f"dns+http://localhost:{urlsplit(fake_worker.url).port}"
    behind = await found(workers, database_url, workers=f"{MODEL}={name}")
    assert any("is reached" in one.words for one in behind)


async def test_stripe():
    assert (await the_one(stripe)).level == "ok"
    async with fake_stripe() as fake:
        named = {"stripe_api_url": fake.url, "stripe_secret_key": SECRET_KEY}
        right = await found(stripe, **named)
        assert levels(right) == ["ok", "warning"]  # it has no webhook
        assert levels(await found(stripe, **named, stripe_webhook_secrets="whsec_a")) == ["ok"] * 2
        wrong = await the_one(stripe, **{**named, "stripe_secret_key": f"sk_test_{PASSWORD}"})
        assert (wrong.level, "does not accept the key" in wrong.words) == ("error", True)
        await fake.events.close()


async def test_what_a_library_says_of_a_secret_is_hidden():
    async def talkative(given: Settings) -> AsyncIterator[Finding]:
        yield findings.ok("it", f"signed in with {given.metrics_token}")
        raise OSError(f"{given.redis_url} and\n{PASSWORD} and {given.secret} are wrong")

    told = await found(talkative, redis_url=f"redis://:{PASSWORD}@valkey/0")
    assert [(one.level, one.words) for one in told] == [
        ("ok", "signed in with ***"),
        ("error", "*** and *** and *** are wrong"),
    ]


# --- settings and the disk


OTHERS = {
    "public_url": "https://gateway.example",
    "trusted_proxies": 1,
    "smtp_url": "smtp://mail.example",
    "mail_from": "no-reply@gateway.example",
    "support": "help@gateway.example",
    "journal_path": "/var/lib/gateway",
    "legal_name": "Example Ltd",
    "legal_address": "1 Main Street, Dublin, Ireland",
    "legal_email": "hello@gateway.example",
    "legal_law": "the laws of Ireland",
    "processing_region": "Dublin, Ireland",
}


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, "ok", "nothing conflicts"),
        ({"public_url": "http://gateway.example"}, "error", "use https://"),
        ({"trusted_proxies": 0}, "warning", "all clients have its address"),
        ({"smtp_url": ""}, "error", "nobody can sign in"),
        ({"mail_from": "x@localhost"}, "error", "GATEWAY_MAIL_FROM"),
        ({"support": ""}, "warning", "GATEWAY_SUPPORT"),
        ({"legal_law": ""}, "warning", "/terms: not shown or linked without GATEWAY_LEGAL_LAW"),
        ({"journal_path": ""}, "warning", "GATEWAY_JOURNAL_PATH"),
        ({"metrics_token": ""}, "warning", "/metrics"),
        ({"stripe_secret_key": "sk_test_abc"}, "warning", "no money"),
        ({"github_client_id": "abc"}, "error", "GATEWAY_GITHUB_CLIENT_SECRET"),
        ({"url": "sqlite:///x.db"}, "warning", "use PostgreSQL"),
    ],
)
async def test_settings_that_disagree(changes: dict[str, Any], level: str, words: str):
    answer = await the_one(agreement, **{"url": "postgresql://h/x", **OTHERS, **changes})
    assert (answer.level, words in answer.words) == (level, True), answer


async def test_on_this_machine_little_is_needed():
    assert (await the_one(agreement, dev_mail=True)).level == "ok"
    assert (await the_one(agreement, role="data")).level == "ok"
    told = await the_one(agreement)
    assert (told.level, "GATEWAY_DEV_MAIL" in told.words) == ("warning", True)


async def test_the_journal_s_disk(tmp_path: Path):
    folder = str(tmp_path / "new" / "journal")
    assert (await the_one(journal, journal_path=folder)).level == "ok"
    full = await the_one(journal, journal_path=folder, journal_bytes_max=1 << 60)
    assert (full.level, "GATEWAY_JOURNAL_BYTES_MAX" in full.words) == ("warning", True)
    (tmp_path / "new").write_text("no folder")
    assert (await the_one(journal, journal_path=folder)).level == "error"
    assert await found(journal, journal_path=folder, role="control") == []


# --- the command


def run(environment: dict[str, str], *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(check, options, env=environment)
    return done.exit_code, done.output


@pytest.mark.usefixtures("bare")
def test_the_exit_status_is_the_worst(sqlite_template: Path, tmp_path: Path):
    shutil.copy(sqlite_template, tmp_path / "gateway.db")
    right = {
        "GATEWAY_SECRET": SECRET,
        "DATABASE_URL": f"sqlite:///{tmp_path}/gateway.db",
        "GATEWAY_METRICS_TOKEN": "a-token-of-monitoring",
        "GATEWAY_WORKER_SECRET": SECRET[::-1],
        "GATEWAY_DEV_MAIL": "true",
    }
    status, lines = run(right)
    assert (status, {line.split()[0] for line in lines.splitlines()}) == (0, {"ok"})
    assert run({**right, "GATEWAY_METRICS_TOKEN": ""})[0] == 1
    status, told = run({**right, "DATABASE_URL": "sqlite:///none.db"}, "--json")
    assert status == 2
    assert {
        "level": "error",
        "about": "database",
        "words": "there is no none.db; run `gateway migrate`",
    } in json.loads(told)


@pytest.mark.usefixtures("bare")
def test_settings_that_can_not_be_read_are_an_error():
    status, told = run({"GATEWAY_SECRET": "short"}, "--json")
    (only,) = json.loads(told)
    assert (status, only["level"], "GATEWAY_SECRET" in only["words"]) == (2, "error", True)
