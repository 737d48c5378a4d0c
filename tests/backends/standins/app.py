"""What the stand-ins share: an HTTP application, faults on demand, and a record of the calls.

`PUT /fault {"kind", "times"}` makes the next `times` calls go wrong (-1: all) until `DELETE
/fault`, which also lets go whatever hangs. `GET /seen` tells the bodies and headers of the calls so
far, `GET /hanging` answers once a call hangs, so that a test waits for that and not for a time.
"""

import argparse
import asyncio
import json
import socket
import sys
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from tokenizers import BertWordPieceTokenizer

from tests.backends.standins.vectors import normalised, pooled

SEEN_MAX = 10_000

WIRE_FAULTS = {"reset", "short", "flood"}
FLOOD_BYTES = 4 << 20

Answer = tuple[int, dict[str, str], bytes]


class StandIn(ABC):
    """An engine's HTTP application. Subclasses answer its paths."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self._kind = ""
        self._times = 0
        self._wire = ""
        self._released = asyncio.Event()
        self._hanging = asyncio.Event()
        self._seen: deque[dict[str, Any]] = deque(maxlen=SEEN_MAX)
        self._tokenizer = BertWordPieceTokenizer(str(args.vocabulary), lowercase=True)

    async def __call__(self, scope, receive, send) -> None:
        body = await read(receive)
        match scope["method"], scope["path"]:
            case "PUT", "/fault":
                wanted = json.loads(body)
                self._kind, self._times = wanted["kind"], wanted["times"]
                self._released.clear()
                answer = 204, {}, b""
            case "DELETE", "/fault":
                self._kind, self._times = "", 0
                self._released.set()
                self._hanging.clear()
                answer = 204, {}, b""
            case "GET", "/seen":
                answer = json_answer(200, list(self._seen))
            case "GET", "/hanging":
                await self._hanging.wait()
                answer = 204, {}, b""
            case "GET", "/health":
                answer = 200, {}, b""  # whatever is wrong
            case method, path:
                headers = {key.decode(): value.decode() for key, value in scope["headers"]}
                parsed = json.loads(body) if body else None
                self._seen.append({"path": path, "body": parsed, "headers": headers})
                if method == "POST" and self._kind in WIRE_FAULTS and self.take():
                    await break_off(send, self._wire)
                    return
                answer = await self.answer(method, path, parsed, len(body))
        await send_answer(send, *answer)

    @abstractmethod
    async def answer(self, method: str, path: str, body: Any, size: int) -> Answer:
        """Answer as the engine does."""

    def take(self) -> str:
        """The fault of this call, or ""."""
        if self._times == 0:
            return ""
        self._times -= 1
        self._wire = self._kind
        return self._kind

    async def hang(self) -> None:
        self._hanging.set()
        await self._released.wait()

    def tokenise(self, text: str) -> list[int]:
        return self._tokenizer.encode(text).ids

    def vectors(self, ids: list[list[int]], kind: str, *, normalise: bool) -> list[np.ndarray]:
        """Compute, with the faults that any engine can have."""
        make = normalised if normalise else pooled
        found = [make(row, self.args.width) for row in ids]
        match kind:
            case "nan":
                found[-1] = np.full_like(found[-1], np.nan)
            case "zero":
                found[-1] = np.zeros_like(found[-1])
            case "missing":
                found.pop()
            case "dimension":
                found = [vector[:-1] for vector in found]
            case "constant":
                found = [found[0]] * len(found)
            case "ragged":
                found[-1] = found[-1][:-1]
        return found


async def break_off(send, kind: str) -> None:
    """Break the connection, or send more or less than declared."""
    # uvicorn's `send` is a method of the connection's cycle: no other way to its socket
    transport = send.__self__.transport
    if kind == "reset":
        transport.abort()
        return
    length = {"short": "99", "flood": str(FLOOD_BYTES)}[kind].encode()
    headers = [(b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    body = bytes(FLOOD_BYTES) if kind == "flood" else b"[["
    await send({"type": "http.response.body", "body": body, "more_body": True})
    transport.close()


def json_answer(status: int, value: Any, headers: dict[str, str] | None = None) -> Answer:
    return status, headers or {}, json.dumps(value).encode()


async def read(receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def send_answer(send, status: int, headers: dict[str, str], body: bytes) -> None:
    raw = [(key.encode(), value.encode()) for key, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser()
    found.add_argument("--vocabulary", type=Path, required=True)
    found.add_argument("--width", type=int, default=16)
    found.add_argument("--tokens-max", type=int, default=512)
    found.add_argument("--normalise", action=argparse.BooleanOptionalAction, default=True)
    found.add_argument("--key", default="")
    return found


def serve(app: StandIn) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    sys.stdout.write(f"listening on {url}\n")  # what the tests wait for
    sys.stdout.flush()
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])
