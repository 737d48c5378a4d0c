"""Release 0.1.0 as it was shipped: its processes, and a database that it filled.

`tests/data/0.1.0` has its wheel and what `python -m testing.first_release` wrote there: it runs
that wheel on both databases, as an operator, two developers and their programs would, and keeps
what is in the databases then. Its dependencies are those that are installed.
"""

from __future__ import annotations

import gzip
import html
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import httpx

from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from testing import servers
from testing.browsing import field
from testing.gateways import MODEL, SECRET, STELLA
from testing.processes import Process, running

DATA = Path(__file__).parents[1] / "tests" / "data" / "0.1.0"
WHEEL = DATA / "stella_gateway-0.1.0-py3-none-any.whl"
REVISION = "0001_first_schema"
_DUMPS = {"postgresql": DATA / "postgresql.sql.gz", "sqlite": DATA / "sqlite.sql.gz"}
_REQUESTS = 12


class FirstRelease:
    """The wheel, unpacked into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with zipfile.ZipFile(WHEEL) as wheel:
            wheel.extractall(folder)

    def environment(self, database_url: str, **changes: str) -> Mapping[str, str]:
        """Return what its processes need."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        return {
            **kept,
            "PYTHONPATH": str(self._folder),
            "PYTHONSAFEPATH": "1",  # the package in the current folder is another version
            "GATEWAY_SECRET": SECRET,
            "DATABASE_URL": database_url,
            **changes,
        }

    def said(self, database_url: str, *words: str, status: int = 0, **changes: str) -> str:
        """Run one of its commands, and return what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *words],
            cwd=self._folder, env=self.environment(database_url, **changes),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout
        return done.stdout


async def restore(database_url: str) -> None:
    """Fill an empty database with what 0.1.0 left."""
    if database_url.startswith("sqlite"):
        with sqlite3.connect(database_url.removeprefix("sqlite:///")) as file:
            file.executescript(_dump("sqlite"))
        file.close()
        return
    connection = await asyncpg.connect(database_url)
    await connection.execute(_dump("postgresql"))
    await connection.close()


def key_of(database_url: str) -> str:
    """Return the secret of a key with credit, in the database that `restore` fills."""
    kind = "sqlite" if database_url.startswith("sqlite") else "postgresql"
    return (DATA / f"{kind}.key").read_text().strip()


def _dump(kind: str) -> str:
    return gzip.decompress(_DUMPS[kind].read_bytes()).decode()


# -- how the dumps were made ----------------------------------------------------------------------


def _fill(release: FirstRelease, url: str) -> str:
    """Use a database as people would; returns the secret of the key with the most credit."""

    def run(*words: str) -> str:
        return release.said(url, *words)

    run("migrate")
    secrets = []
    for name, dollars, kind in (("Acme", "25", "paid"), ("Globex", "1.5", "promo")):
        made = json.loads(run("organizations", "create", name, "--json"))
        run("credits", "grant", made["id"], dollars, "--kind", kind, "--ref", f"{name}-1")
        run("credits", "grant", made["id"], "0.25", "--ref", f"{name}-2", "--expires-days", "300")
        for use in ("search", "batch"):
            key = json.loads(run("keys", "create", made["id"], "--name", use, "--json"))
            secrets.append(key["secret"])
    options = ["--model", MODEL, "--dimensions", "384", "--vocabulary-sha256", BERT_UNCASED_SHA256]
    with running("backends.fake", *options) as worker:
        run("workers", "pin", MODEL, worker.url)
        port = servers.free_port()
        environment = release.environment(
            url,
            GATEWAY_WORKERS=f"{MODEL}={worker.url}",
            GATEWAY_DEV_MAIL="true",
            GATEWAY_PUBLIC_URL=f"http://127.0.0.1:{port}",
        )
        command = [sys.executable, "-m", "gateway", "run", "--port", str(port)]
        gateway = Process(command, dict(environment))
        with httpx.Client(base_url=gateway.url, follow_redirects=True, timeout=60) as http:
            for number in range(_REQUESTS):
                for secret in secrets:
                    body = {"model": MODEL, "input": [f"text {number} of 0.1.0"] * (number + 1)}
                    bearer = {"authorization": f"Bearer {secret}"}
                    assert http.post("/v1/embeddings", json=body, headers=bearer).is_success
            for name in ("ada", "grace"):
                _vote(http, f"{name}@example.org")
        gateway.kill(15)
        gateway.close()
    run("keys", "revoke", json.loads(run("keys", "list", "--json"))[-1]["id"])
    run("audit")
    return str(secrets[0])


def _vote(http: httpx.Client, address: str) -> None:
    """Sign in by mail, vote for a model that is to come, and leave."""

    def submit(path: str, page: httpx.Response, **fields: str) -> httpx.Response:
        fields["csrf_token"] = field(page.text, "csrf_token")
        answer = http.post(path, data=fields)
        assert answer.is_success, answer.text
        return answer

    submit("/sign-in", http.get("/sign-in"), email=address, next="")
    mail = re.search(r"http://[^\s\"<]+/sign-in/link[^\s\"<]+", http.get("/dev/mail").text)
    assert mail
    page = http.get(html.unescape(mail[0]))
    submit("/sign-in/link", page, token=field(page.text, "token"))
    page = http.get(f"/models/{STELLA}")
    submit("/vote", page, model=STELLA, volume="", price="", use_case="a search of ours")
    http.cookies.clear()


def _dumped(url: str) -> str:
    """Write a database as the statements that make it."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as file:
            text = "\n".join(file.iterdump())
        file.close()
        return text
    options = ["--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=100"]
    done = subprocess.run(
        [*servers.postgres_command("pg_dump"), *options, url],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    return "\n".join(line for line in lines if line and not line.startswith(("--", "\\")))


def main() -> None:
    """Make the dumps anew."""
    with tempfile.TemporaryDirectory() as folder, servers.postgresql() as postgresql:
        release = FirstRelease(Path(folder, "wheel"))
        for kind, url in (("sqlite", f"sqlite:///{folder}/a.db"), ("postgresql", postgresql)):
            secret = _fill(release, url)
            _DUMPS[kind].write_bytes(gzip.compress(_dumped(url).encode(), mtime=0))
            (DATA / f"{kind}.key").write_text(secret + "\n")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
