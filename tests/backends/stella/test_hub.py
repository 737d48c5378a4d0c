"""Weights by hub id: a stand-in hub on loopback, the real client, the real worker process."""

import errno
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from backends.stella import hub
from testing.processes import Process
from tests.backends.stella.golden_set import FP32_MAX, TINY, Golden

COMMIT = "c0ffee00" * 5
FILES = [
    path.relative_to(TINY).as_posix()
    for path in sorted(TINY.rglob("*"))
    if path.is_file() and not path.name.startswith("expected")
]
GOLDEN = Golden(TINY)
NEVER = ["modeling.py", "pytorch_model.bin"]


class Hub(http.server.ThreadingHTTPServer):
    """Serves the tiny checkpoint as `owner/tiny`; claims that its weights have `claimed_bytes`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.claimed_bytes: int | None = None
        self.fetched: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        if self.path.startswith(f"/api/models/owner/tiny/tree/{COMMIT}"):
            return self.answer(json.dumps(self.tree()).encode(), {})
        if self.path.startswith(f"/api/models/owner/tiny/revision/{COMMIT}"):
            return self.answer(json.dumps({"id": "owner/tiny", "sha": COMMIT}).encode(), {})
        name = self.path.removeprefix(f"/owner/tiny/resolve/{COMMIT}/")
        if name not in FILES:
            return self.send_error(404)
        content = (TINY / name).read_bytes()
        tag = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if self.command == "GET":
            self.server.fetched.append(name)
        return self.answer(content, tag)

    do_HEAD = do_GET  # noqa: N815 - the library's names

    def tree(self) -> list[dict[str, object]]:
        return [
            {"type": "file", "path": name, "size": self.size(name), "oid": "0" * 40}
            for name in FILES + NEVER
        ]

    def size(self, name: str) -> int:
        if name == "model.safetensors" and self.server.claimed_bytes:
            return self.server.claimed_bytes
        return (TINY / name).stat().st_size if name in FILES else 5

    def answer(self, content: bytes, headers: dict[str, str]) -> None:
        size = len(content)
        if self.path.endswith(f"{COMMIT}/model.safetensors") and self.server.claimed_bytes:
            size = self.server.claimed_bytes
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Hub]:
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()


COMMAND = [sys.executable, "-m", "backends.stella", "--device", "cpu", "--weights", "owner/tiny"]


def environment(server: Hub, home: Path) -> dict[str, str]:
    quiet = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return os.environ | quiet | {"HF_ENDPOINT": server.url, "HF_HOME": str(home)}


def run(server: Hub, home: Path, revision: str = COMMIT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "--revision", revision],
        env=environment(server, home),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_pinned_revision_is_fetched_and_served(server: Hub, tmp_path: Path):
    process = Process([*COMMAND, "--revision", COMMIT], environment(server, tmp_path))
    try:
        process.wait_ready()
        body = {"input": GOLDEN.rows[3]["text"], "dimensions": 256}
        answer = httpx.post(f"{process.url}/v1/embeddings", json=body).json()
    finally:
        process.close()
    assert np.abs(answer["data"][0]["embedding"] - GOLDEN.expected(256)[3]).max() <= FP32_MAX
    assert sorted(server.fetched) == sorted(set(FILES) - {"modules.json"})


def test_a_disk_too_small_is_told_before_a_byte_is_fetched(server: Hub, tmp_path: Path):
    server.claimed_bytes = 1 << 60
    ended = run(server, tmp_path)
    errors = ended.stderr
    assert ended.returncode == 1
    assert "no space for owner/tiny" in errors
    assert "HF_HOME" in errors
    assert "Traceback" not in errors
    assert "model.safetensors" not in server.fetched


def test_a_disk_that_fills_on_the_way_is_told_as_well(monkeypatch: pytest.MonkeyPatch):
    def snapshot_download(*_: object, dry_run: bool = False, **__: object) -> list[object]:
        if dry_run:
            return []
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(hub.NoWeights, match=r"no space for owner/tiny .*HF_HOME"):
        hub.find_weights("owner/tiny", COMMIT, lambda _: None)


def test_an_unknown_revision_is_a_sentence(server: Hub, tmp_path: Path):
    ended = run(server, tmp_path, revision="0" * 40)
    errors = ended.stderr
    assert ended.returncode == 1
    assert "owner/tiny at 000000" in errors
    assert "check the name, the network and HF_TOKEN" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("weights", "revision", "says"),
    [
        ("/no/such/folder", None, "neither a folder"),
        ("owner/tiny", None, "pin it"),
        ("owner/tiny", "main", "pin it"),
    ],
)
def test_what_is_not_pinned_is_not_fetched(weights: str, revision: str | None, says: str):
    with pytest.raises(hub.NoWeights, match=says):
        hub.find_weights(weights, revision, lambda _: None)
