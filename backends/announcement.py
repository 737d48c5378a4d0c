"""Announces a worker to gateways, for GPUs that are in no list and no DNS.

Every five seconds, as long as the worker can serve, each gateway gets the signed announcement that
`POST /internal/workers` takes (JSON, signed with the worker's key in `x-signature`), and a last one
when the worker leaves. Gateways are told in parallel: a slow one delays nobody, and gets its next
announcement after the current one was answered or timed out. A refusal is logged once.

A worker whose clock is wrong can announce itself too: each gateway states its time in its answer,
signed as well, and the next announcement to that gateway goes by its time.
"""

from __future__ import annotations

import hmac
import json
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import httpx

from backends import authentication
from backends.server import WorkerApp

_EVERY_SECONDS = 5.0
_NOT_YET_SECONDS = 0.2
"""Pause between checks until the worker can serve."""
_TIMEOUT_SECONDS = 3.0
_REFUSED = 401


class Announcer:
    """Announces one worker on its own thread. Call `start`, and `leave` before exiting."""

    def __init__(
        self, app: WorkerApp, *, url: str, gateways: Sequence[str], keys: Sequence[bytes]
    ) -> None:
        self._app = app
        self._url = url
        self._gateways = [f"{gateway.rstrip('/')}/internal/workers" for gateway in gateways]
        self._keys = keys
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)
        self._refused: set[str] = set()
        self._telling: dict[str, Future[None]] = {}
        self._ahead: dict[str, float] = {}
        """Seconds by which each gateway's clock is ahead of ours."""

    def start(self) -> None:
        """Begin to announce as soon as the worker can serve."""
        self._thread.start()

    def leave(self) -> None:
        """Tell all gateways that the worker leaves; return once they have answered or timed out."""
        self._leaving.set()
        self._thread.join(timeout=3 * _TIMEOUT_SECONDS)

    def _run(self) -> None:
        pause, turn_at = _NOT_YET_SECONDS, time.monotonic()
        threads = ThreadPoolExecutor(len(self._gateways), "announcer")
        with httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False) as client, threads:
            while not self._leaving.wait(max(turn_at + pause - time.monotonic(), 0)):
                turn_at = time.monotonic()
                pause = _EVERY_SECONDS if self._app.serving else _NOT_YET_SECONDS
                if self._app.serving:
                    self._tell_all(client, threads, leaving=False)
            wait(self._telling.values(), timeout=_TIMEOUT_SECONDS)
            if self._app.has_engine:
                self._tell_all(client, threads, leaving=True)

    def _tell_all(
        self, client: httpx.Client, threads: ThreadPoolExecutor, *, leaving: bool
    ) -> None:
        for gateway in self._gateways:
            before = self._telling.get(gateway)
            if before is None or before.done():
                self._telling[gateway] = threads.submit(
                    self._tell, client, gateway, leaving=leaving
                )

    def _tell(self, client: httpx.Client, gateway: str, *, leaving: bool) -> None:
        try:
            answer = self._announce(client, gateway, leaving=leaving)
            if answer.status_code == _REFUSED and gateway in self._ahead:
                answer = self._announce(client, gateway, leaving=leaving)  # by its own clock
            problem = "" if answer.is_success else f"{answer.status_code} {answer.text[:200]}"
        except httpx.HTTPError as error:
            problem = f"{type(error).__name__}: {error}"
        if problem and gateway not in self._refused:
            sys.stderr.write(f"announcement to {gateway} failed: {problem}\n")
            sys.stderr.flush()
        (self._refused.add if problem else self._refused.discard)(gateway)

    def _announce(self, client: httpx.Client, gateway: str, *, leaving: bool) -> httpx.Response:
        said = {
            "model": self._app.engine.info.model,
            "url": self._url,
            "issued_at": time.time() + self._ahead.get(gateway, 0.0),
            "leaving": leaving,
        }
        body = json.dumps(said).encode()
        # with each key while they are rotated: a gateway may have only one of them
        signature = ",".join(authentication.sign_announcement(key, body) for key in self._keys)
        answer = client.post(gateway, content=body, headers={"x-signature": signature})
        told = answer.headers.get("x-time", "")
        proof = answer.headers.get("x-time-signature", "")
        if any(
            hmac.compare_digest(authentication.sign_time(key, body, told), proof)
            for key in self._keys
        ):
            self._ahead[gateway] = float(told) - time.time()
        return answer
