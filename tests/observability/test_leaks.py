"""All output of real processes, at the level debug, holds no text, no secret and no address."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from litestar.routes import HTTPRoute

from gateway.app import build
from gateway.app.process import Process as Gateway
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from gateway.keyring import Keyring
from gateway.settings import Settings
from gateway.snapshots import SCOPES
from testing.browsing import Browser
from testing.gateways import MODEL, Ledger
from testing.operators import sign_in_operator
from testing.processes import Process
from testing.servers import free_port

MARK = "m4rk3d"
"""In everything that must not be seen."""
SECRET = f"{MARK} 0123456789 abcdefghijklmnopqrst"
WORDS = {
    "authorization": f"Bearer sk-{MARK}{MARK}",
    "idempotency-key": MARK,
    "traceparent": f"00-{MARK}",
    "user-agent": MARK,
    "x-forwarded-for": MARK,
    "x-request-id": MARK,
    "stripe-signature": f"t=1,v1={MARK}",
}
FIELDS = {
    "code": MARK, "email": f"{MARK}@example.com", "input": MARK, "model": MARK, "name": MARK,
    "note": MARK, "reason": MARK, "text": MARK, "token": MARK, "url": f"https://{MARK}.example",
    "user": MARK,
}  # fmt: skip


def environment(database_url: str, folder: Path) -> dict[str, str]:
    """Settings of which each secret has the mark, and each other server is down."""
    down = f"127.0.0.1:{free_port()}"
    return os.environ | {
        "DATABASE_URL": database_url,
        "REDIS_URL": f"redis://user:{MARK}@{down}/0",
        "GATEWAY_SECRET": SECRET,
        "GATEWAY_WORKER_SECRET": SECRET,
        "GATEWAY_METRICS_TOKEN": SECRET,
        "GATEWAY_SMTP_URL": f"smtp://user:{MARK}@{down}?tls=opportunistic",
        "GATEWAY_GITHUB_CLIENT_ID": "client",
        "GATEWAY_GITHUB_CLIENT_SECRET": MARK,
        "GATEWAY_GITHUB_URL": f"http://{down}",
        "GATEWAY_GITHUB_API_URL": f"http://{down}",
        "GATEWAY_STRIPE_SECRET_KEY": f"sk_test_{MARK}",
        "GATEWAY_STRIPE_WEBHOOK_SECRETS": f"whsec_{MARK}",
        "GATEWAY_STRIPE_API_URL": f"http://{down}",
        "GATEWAY_JOURNAL_PATH": str(folder / "journal"),
        "GATEWAY_LOG_LEVEL": "debug",
        "GATEWAY_ACCESS_LOG": "all",
        "GATEWAY_DRAIN_SECONDS": "0",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:{MARK}@{down}",
        "OTEL_TRACES_SAMPLER": "always_on",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }


@asynccontextmanager
async def visiting(url: str, gateway: Gateway) -> AsyncIterator[Browser]:
    """An operator's browser at a gateway of another process."""
    browser = Browser(None)
    await browser.close()
    browser.http = httpx.AsyncClient(base_url=url, timeout=60, follow_redirects=False)
    try:
        await sign_in_operator(browser, gateway, f"{MARK}@example.com")
        yield browser
    finally:
        await browser.close()


def routes(gateway: Gateway) -> list[tuple[str, str]]:
    """Every method and path, the mark in place of what is variable."""
    return [
        (method, re.sub(r"\{[^}]*\}", MARK, route.path))
        for route in gateway.app.routes
        if isinstance(route, HTTPRoute)
        for method in sorted(route.methods - {"OPTIONS"})
    ]


async def drive(browser: Browser, gateway: Gateway, key: str) -> None:
    """Send marked words to every route: by strangers, with a key, and as an operator's forms."""
    token = {"x-csrf-token": browser.token}
    bearer = WORDS | {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=browser.http.base_url, timeout=60) as stranger:
        stranger.cookies.set("session", MARK)
        for method, path in [*routes(gateway), ("POST", "/v1/embeddings")]:
            query = {"q": MARK, "next": f"/{MARK}", "code": MARK, "state": MARK, "token": MARK}
            asked = {"url": path, "params": query}
            known = bearer if path.startswith("/v1") else WORDS
            await stranger.request(method, headers=known, json=FIELDS, **asked)
            if path != "/sign-out":
                await browser.http.request(method, headers=token, data=FIELDS, **asked)
        body = {"model": MODEL, "input": [MARK, f"and {MARK}"]}
        good = await stranger.post("/v1/embeddings", json=body, headers=bearer)
        assert good.status_code == 200, good.text
        await stranger.post("/v1/embeddings", content=MARK * 9, headers=bearer)


@pytest.mark.long
async def test_no_process_writes_what_it_was_told(sqlite_database_url: list[str], tmp_path: Path):
    named = environment(sqlite_database_url[0], tmp_path)
    output = tmp_path / "output"
    fake = ["--model", MODEL, "--dimensions", "384", "--vocabulary-sha256", BERT_UNCASED_SHA256]
    started: list[Process] = []
    with output.open("wb") as written:

        def start(*command: str) -> Process:
            process = Process([sys.executable, "-m", *command], named, stderr=written)
            started.append(process)
            return process

        try:
            worker = start("backends.fake", *fake)
            named["GATEWAY_WORKERS"] = f"{MODEL}={worker.url}"
            url = start("gateway", "run", "--port", "0").url
            gateway = build(Settings.from_environment(named | {"GATEWAY_LOG_LEVEL": "error"}))
            database = gateway.core.database
            ledger = await Ledger.create(database, 10**9)
            keys = ApiKeys(database, secret=Keyring(SECRET))
            key = await keys.create(ledger.organization_id, "tests", scopes=SCOPES)
            async with visiting(url, gateway) as browser:
                await drive(browser, gateway, key.secret)
            await database.close()
            for process in started:
                assert process.kill(signal.SIGTERM) == 0
        finally:
            for process in started:
                process.close()
        away = {"DATABASE_URL": f"postgresql://user:{MARK}@127.0.0.1:{free_port()}/name"}
        for command in (["run", "--port", "0"], ["check"]):
            program = [sys.executable, "-m", "gateway", *command]
            options = {"env": named | away, "stdout": written, "stderr": written}
            ended = await asyncio.to_thread(subprocess.run, program, check=False, **options)
            assert ended.returncode != 0
    said = output.read_text()
    for came in ("answered", "does not take traces", "mail not sent", "/v1/embeddings"):
        assert came in said, "the output is that of processes at work"
    assert not [line for line in said.splitlines() if MARK in line or key.secret in line]
