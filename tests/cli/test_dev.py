"""`make run` as a newcomer meets it: one command, a real model, a line to paste."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from testing.gateways import MODEL, STELLA
from tests.backends.stella.golden_set import TINY
from tests.cli.test_cli import Shell

pytestmark = pytest.mark.timeout(300)  # starts follow each other, and each loads a model


class Dev:
    """`gateway dev`, and what it printed until it was ready."""

    def __init__(self, data: Path, *options: str) -> None:
        started = time.monotonic()
        self.data = data
        self.errors = data.with_suffix(".errors")
        command = [sys.executable, "-m", "gateway", "dev", "--port", "0", "--data", str(data)]
        with self.errors.open("w") as errors:
            self.child = subprocess.Popen(
                [*command, *options],
                stdout=subprocess.PIPE, stderr=errors, text=True, env=clean_environment(),
            )  # fmt: skip
        assert self.child.stdout
        self.said = ""
        self.hear("Ctrl-C")
        self.seconds_to_start = time.monotonic() - started
        self.variables = variables(data / "dev.env")

    def hear(self, words: str) -> None:
        """Read on until a line has these words, unless one had; or it has nothing more to say."""
        assert self.child.stdout
        if words in self.said:
            return
        for line in self.child.stdout:
            self.said += line
            if words in line:
                return

    def stop(self, number: int = signal.SIGINT, *, times: int = 1) -> tuple[int, str]:
        for _ in range(times):
            self.child.send_signal(number)
            time.sleep(0.01)  # two at once would be one: the kernel keeps a signal, not a count
        rest, _ = self.child.communicate(timeout=30)
        return self.child.returncode, rest


def variables(file: Path) -> dict[str, str]:
    lines = [line.removeprefix("export ") for line in file.read_text().splitlines()]
    return dict(line.split("=", 1) for line in lines)


def clean_environment() -> dict[str, str]:
    unwanted = ("GATEWAY_", "DATABASE_URL", "REDIS_URL")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    running = Dev(tmp_path_factory.mktemp("dev") / "data")
    yield running
    if running.child.poll() is None:
        running.stop(signal.SIGKILL)


def test_it_says_what_it_is_doing_and_where_it_is(dev: Dev):
    assert "Starting the embedded model" in dev.said
    assert "Preparing the database" in dev.said
    assert dev.variables["OPENAI_API_KEY"] in dev.said
    assert (dev.data / "dev.env").stat().st_mode & 0o777 == 0o600
    assert (dev.data / "gateway.env").stat().st_mode & 0o777 == 0o600
    print(f"start-up took {dev.seconds_to_start:.1f} s")


def test_the_printed_line_works_when_pasted(dev: Dev):
    if shutil.which("curl") is None:
        if os.environ.get("CI"):
            pytest.fail("curl is not installed")
        pytest.skip("curl is not installed")
    command = re.search(r"curl .*?\}'", dev.said, re.DOTALL)
    assert command
    # it is printed once the model is loaded, so nothing has to wait for that
    done = subprocess.run(
        ["bash", "-c", f"{command[0]} -H 'Prefer: wait=0' --silent --fail-with-body"],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert len(json.loads(done.stdout)["data"][0]["embedding"]) == 384


@pytest.mark.usefixtures("bare")
def test_openai_finds_the_similar_sentences_and_pays_exactly(dev: Dev):
    sentences = [
        "A cat sleeps on the warm sofa.",
        "A kitten is napping on the couch.",
        "The central bank raised interest rates.",
        "Inflation made the bank lift its rates again.",
    ]
    with openai.OpenAI(
        base_url=dev.variables["OPENAI_BASE_URL"], api_key=dev.variables["OPENAI_API_KEY"]
    ) as client:
        before = client.embeddings.with_raw_response.create(model=MODEL, input="hi")
        raw = client.embeddings.with_raw_response.create(model=MODEL, input=sentences)
    answer = raw.parse()
    cats, kittens, rates, inflation = (item.embedding for item in answer.data)

    def similarity(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    near = min(similarity(cats, kittens), similarity(rates, inflation))
    far = max(similarity(one, other) for one in (cats, kittens) for other in (rates, inflation))
    assert near > far + 0.2
    cost = answer.usage.total_tokens * 8
    assert int(raw.headers["x-cost-nanos"]) == cost
    left = int(before.headers["x-balance-nanos"]) - cost
    assert int(raw.headers["x-balance-nanos"]) == left
    shell = Shell.bare()
    shell.environment = variables(dev.data / "gateway.env")
    shell.run("audit")
    assert shell.json("credits", "balance", "dev")["available_nanos"] == left


def test_health(dev: Dev):
    base = dev.variables["OPENAI_BASE_URL"].removesuffix("/v1")
    assert httpx.get(f"{base}/health/live").status_code == 200
    ready = httpx.get(f"{base}/health/ready")
    assert ready.json() == {"status": "ready"}, "where workers are known is monitoring's"


@pytest.mark.usefixtures("bare")
def test_a_port_that_is_taken_is_one_line(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused("--port", port, "--data", str(tmp_path))
    assert "Can't listen on 127.0.0.1" in said
    assert "make run PORT=8081" in said


@pytest.mark.usefixtures("bare")
def test_a_folder_is_served_once_and_its_files_stay_as_they_are(dev: Dev):
    url = dev.variables["OPENAI_BASE_URL"].removesuffix("/v1")
    kept = {file: file.read_bytes() for file in (dev.data / "dev.env", dev.data / "gateway.env")}
    said = refused("--port", "0", "--data", str(dev.data))
    assert f"{dev.data} is already being served at {url}. Stop that, or use another folder" in said
    assert all(file.read_bytes() == content for file, content in kept.items())


def test_a_broken_database_is_one_line(tmp_path: Path):
    (tmp_path / "gateway.db").write_text("no database " * 1000)
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "dev", "--port", "0", "--data", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=60, env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("gateway: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "file is not a database" in done.stderr


@pytest.mark.usefixtures("bare")
def test_a_folder_that_cannot_be_written_is_one_line():
    assert "Can't write to /proc/none" in refused("--port", "0", "--data", "/proc/none")


def refused(*options: str) -> str:
    """Return the one line of a start that ends before anything is started."""
    said = Shell.bare().run("dev", *options, status=1)
    assert said.startswith("gateway: ")
    assert said.count("\n") == 1, said
    return said


def test_the_worker_is_started_again_when_it_dies(dev: Dev):
    (worker,) = children(dev.child.pid)
    os.kill(worker, signal.SIGKILL)
    base = dev.variables["OPENAI_BASE_URL"]
    headers = {"authorization": f"Bearer {dev.variables['OPENAI_API_KEY']}"}
    with httpx.Client(base_url=base, headers=headers, timeout=30) as client:
        for _ in range(300):
            answer = client.post("/embeddings", json={"model": MODEL, "input": "hi"})
            if answer.status_code == 200 and worker not in children(dev.child.pid):
                break
            assert answer.status_code in (200, 502, 503), answer.text
            time.sleep(0.1)
        else:
            pytest.fail("the worker did not come back")


def is_running(pid: int) -> bool:
    """Tell whether a process runs or is frozen: one that is dead may wait to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.long
def test_ctrl_c_stops_everything_and_the_key_stays(dev: Dev):
    """Last in this file: it ends what the others use."""
    workers = children(dev.child.pid)
    status, rest = dev.stop()
    assert (status, rest.splitlines()[-1]) == (0, "Stopped.")
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    again = Dev(dev.data)
    assert again.variables["OPENAI_API_KEY"] == dev.variables["OPENAI_API_KEY"]
    workers = children(again.child.pid)
    os.kill(workers[0], signal.SIGSTOP)  # a worker that is frozen would be waited for
    again.child.send_signal(signal.SIGINT)
    again.hear("Waiting for backends.minilm to end, at most 10 s. Ctrl-C again ends at once.")
    status, rest = again.stop()
    assert (status, rest) == (130, "")
    assert "Traceback" not in again.errors.read_text()
    for _ in range(100):
        if not any(map(is_running, workers)):
            break
        time.sleep(0.02)
    else:
        pytest.fail("its worker was left")
    third = Dev(dev.data)
    status, rest = third.stop(signal.SIGTERM)
    assert (status, rest.splitlines()[-1]) == (0, "Stopped.")


@pytest.mark.long
def test_with_weights_stella_is_live_too(tmp_path: Path):
    running = Dev(tmp_path, "--stella-weights", str(TINY))
    try:
        with httpx.Client(
            base_url=running.variables["OPENAI_BASE_URL"],
            headers={"authorization": f"Bearer {running.variables['OPENAI_API_KEY']}"},
            timeout=30,
        ) as client:
            for _ in range(600):
                answer = client.post("/embeddings", json={"model": STELLA, "input": "hi"})
                if answer.status_code == 200:
                    break
                assert answer.json()["error"]["code"] == "model_warming", answer.text
                time.sleep(0.1)
            assert len(answer.json()["data"][0]["embedding"]) == 1024
            assert answer.headers["x-cost-nanos"] == "24"
            assert client.get(f"/models/{STELLA}").json()["state"] == "live"
            running.hear("nobody has checked")
    finally:
        running.stop()
    assert "Pinned 5 golden rows" in running.said
    assert "trust on first\nuse" in running.said
    pinned = golden_of_stella(tmp_path)
    another_start(tmp_path, pinned)
    again = Dev(tmp_path)
    answer = httpx.get(f"{again.variables['OPENAI_BASE_URL']}/models/{STELLA}")
    again.stop()
    assert answer.json()["state"] == "coming_soon"


def golden_of_stella(data: Path) -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(data / "gateway.db")) as database:
        query = "SELECT revision, pinned_at FROM golden_rows WHERE model_id = ?"
        return database.execute(query, [STELLA]).fetchall()


def another_start(data: Path, pinned: list[tuple[str, str]]) -> None:
    """The same weights again: held to what was pinned, and nothing is pinned anew."""
    running = Dev(data, "--stella-weights", str(TINY))
    with contextlib.closing(sqlite3.connect(data / "gateway.db")) as database:
        query = "SELECT view FROM worker_reports WHERE model_id = ?"
        for _ in range(300):
            views = [json.loads(view) for (view,) in database.execute(query, [STELLA])]
            if proved := any("on 40 golden vectors" in view["reason"] for view in views):
                break  # and not what the gateway before this one wrote
            time.sleep(0.1)
    _, said = running.stop()
    assert proved, views
    assert "Pinned" not in running.said + said
    assert golden_of_stella(data) == pinned


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]
