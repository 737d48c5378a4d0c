"""The script of `helm test` against a gateway that is wrong: it must not be content."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from testing.chart.rendering import CHART

MODEL = "a/model"
MODELS = {"data": [{"id": MODEL, "price": {"nanos_per_million_tokens": "8000001"}}]}
ANSWER = {"data": [{"embedding": [0.5, 0.5]}], "usage": {"total_tokens": 7}}


@contextmanager
def gateway(cost_nanos: int) -> Iterator[str]:
    """A gateway that charges so much for 7 tokens."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer({"status": "ready"} if self.path == "/health/ready" else MODELS)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            known = self.headers["authorization"] == "Bearer sk-good"
            self.answer(ANSWER if known else {"error": "no such key"}, 200 if known else 401)

        def answer(self, body: Any, status: int = 200) -> None:
            encoded = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(encoded)))
            self.send_header("x-cost-nanos", str(cost_nanos))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, *_said: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("cost_nanos", "environment", "status", "said"),
    [
        (57, {}, 0, "charged 57 nano-dollars, as due"),  # 56.000007, rounded up
        (56, {}, 1, "7 tokens were charged 56 nano-dollars, and cost 57"),
        (
            57,
            {"OPENAI_API_KEY": "sk-bad"},
            1,
            '/v1/embeddings answered 401: {"error": "no such key"}',
        ),
        (57, {"MODEL": "another"}, 1, "another is not in the catalog; test.model may be: a/model"),
        (57, {"OPENAI_API_KEY": ""}, 0, "not embedded: test.apiKey names no Secret with a key"),
    ],
)
def test_it_is_content_with_the_exact_charge_alone(
    cost_nanos: int, environment: dict[str, str], status: int, said: str
):
    with gateway(cost_nanos) as url:
        good = {
            "PATH": os.environ["PATH"],
            "GATEWAY": url,
            "MODEL": MODEL,
            "OPENAI_API_KEY": "sk-good",
        }
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(CHART / "files/charge.py")],
            env=good | environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert said in done.stdout + done.stderr
