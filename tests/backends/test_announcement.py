"""A worker that announces itself is found and serves, and is removed when it leaves."""

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import pytest

from backends import announcement
from backends.authentication import sign_time
from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from gateway.data_plane.routing.discovery.registrations import LEASE_SECONDS
from testing.gateways import METRICS_TOKEN, MODEL, MONITORING, SECRET
from testing.processes import Process

WORKER_SECRET = "a secret of workers, long enough to pass"
KEY = b"of the worker at gpu:1"


@pytest.fixture
def gateway(sqlite_database_url: list[str]) -> Iterator[Process]:
    environment = {
        **os.environ,
        "GATEWAY_SECRET": SECRET,
        "GATEWAY_WORKER_SECRET": WORKER_SECRET,
        "DATABASE_URL": sqlite_database_url[0],
        "GATEWAY_WORKERS": "",
        "GATEWAY_METRICS_TOKEN": METRICS_TOKEN,
        "GATEWAY_WORKER_NETWORKS": "127.0.0.0/8",
    }
    process = Process([sys.executable, "-m", "testing.serve"], environment)
    yield process
    process.close()


def worker(gateway: Process, secret: str) -> Process:
    command = [
        *(sys.executable, "-m", "backends.fake", "--model", MODEL, "--dimensions", "384"),
        *("--vocabulary-sha256", BERT_UNCASED_SHA256, "--announce", gateway.url),
    ]
    return Process(command, {**os.environ, "GATEWAY_WORKER_SECRET": secret})


def ready(gateway: Process) -> int:
    return httpx.get(f"{gateway.url}/health/ready", headers=MONITORING).json()["ready_workers"][
        MODEL
    ]


def metrics(gateway: Process) -> str:
    return httpx.get(f"{gateway.url}/metrics", headers=MONITORING).text


def until_ready(gateway: Process, count: int) -> None:
    end = time.monotonic() + 20
    while ready(gateway) != count:
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def test_it_comes_serves_and_goes(gateway: Process):
    announced = worker(gateway, WORKER_SECRET)
    try:
        until_ready(gateway, 1)
        assert announced.url in metrics(gateway)
        assert announced.kill(signal.SIGTERM) == 0
        # it announced that it leaves; a worker that just vanishes stays listed until its lease ends
        end = time.monotonic() + LEASE_SECONDS / 2
        while announced.url in metrics(gateway):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert ready(gateway) == 0
    finally:
        announced.close()


def test_another_secret_is_refused_and_said_once(
    gateway: Process, capfd: pytest.CaptureFixture[str]
):
    announced = worker(gateway, "x" * 32)
    try:
        end = time.monotonic() + 20
        said = ""
        while "failed: 401" not in said:
            assert time.monotonic() < end, said
            time.sleep(0.05)
            said += capfd.readouterr().err
        assert ready(gateway) == 0
        assert "x" * 32 not in said
    finally:
        announced.close()


def test_without_a_secret_it_says_what_to_set():
    done = subprocess.run(
        [sys.executable, "-m", "backends.fake", "--announce", "http://127.0.0.1:1"],
        env={name: value for name, value in os.environ.items() if name != "GATEWAY_WORKER_SECRET"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "GATEWAY_WORKER_KEY" in done.stderr


class Gateway:
    """Records announcements: whether each says that the worker leaves."""

    def __init__(self, *, hangs: bool = False, clock: float = 0.0) -> None:
        """With a clock it refuses the first announcement, and says that this is the time."""
        self.heard: list[bool] = []
        self.dates: list[float] = []
        self.answers = threading.Event()
        """Cleared while it hangs."""
        if not hangs:
            self.answers.set()
        self._news = threading.Condition()
        gateway = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                said = json.loads(body)
                with gateway._news:
                    gateway.heard.append(said["leaving"])
                    gateway.dates.append(said["issued_at"])
                    gateway._news.notify_all()
                gateway.answers.wait()
                refuses = clock and len(gateway.dates) == 1
                with contextlib.suppress(OSError):
                    self.send_response(401 if refuses else 204)
                    if refuses:
                        self.send_header("x-time", str(clock))
                        self.send_header("x-time-signature", sign_time(KEY, body, str(clock)))
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://{}:{}".format(*self.server.server_address)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, count: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: len(self.heard) >= count, timeout=20), self.heard

    def close(self) -> None:
        self.answers.set()
        self.server.shutdown()
        self.server.server_close()


def app() -> SimpleNamespace:
    info = SimpleNamespace(model="m")
    return SimpleNamespace(serving=True, has_engine=True, engine=SimpleNamespace(info=info))


def test_a_worker_whose_clock_is_wrong_goes_on_with_each_gateway_s_time(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(announcement, "_EVERY_SECONDS", 0.05)
    ahead, right = Gateway(clock=time.time() - 600), Gateway()
    announcer = announcement.Announcer(
        app(), url="http://gpu:1", gateways=[ahead.url, right.url], keys=[KEY]
    )
    announcer.start()
    try:
        for gateway in (ahead, right):
            gateway.wait(3)
        announcer.leave()
        now = time.time()
        assert all(now - 660 < date < now - 540 for date in ahead.dates[1:])
        assert all(now - 60 < date <= now for date in [ahead.dates[0], *right.dates])
        assert "failed" not in capfd.readouterr().err
    finally:
        ahead.close()
        right.close()


def test_a_time_that_is_not_the_gateway_s_is_not_believed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(announcement, "_EVERY_SECONDS", 0.05)
    stranger = Gateway(clock=time.time() + 600)
    announcer = announcement.Announcer(
        app(), url="http://gpu:1", gateways=[stranger.url], keys=[b"another"]
    )
    announcer.start()
    try:
        stranger.wait(2)
        announcer.leave()
        assert max(stranger.dates) <= time.time()
    finally:
        stranger.close()


def test_a_gateway_that_hangs_keeps_no_other_from_hearing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(announcement, "_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(announcement, "_TIMEOUT_SECONDS", 30)
    slow, prompt = Gateway(hangs=True), Gateway()
    announcer = announcement.Announcer(
        app(), url="http://gpu:1", gateways=[slow.url, prompt.url], keys=[KEY]
    )
    announcer.start()
    try:
        prompt.wait(4)
        assert slow.heard == [False], "it has not answered, and gets no second one"
        slow.answers.set()
        announcer.leave()
        assert (slow.heard[-1], prompt.heard[-1]) == (True, True)
    finally:
        slow.close()
        prompt.close()
