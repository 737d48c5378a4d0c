"""A worker without a model, but with faults on demand: `python -m backends.fake --port N`.

Its vectors depend on the ids alone, so a test can recompute what each caller must get (`vector`).
`PUT /fault` with `{"kind", "times", "seconds"}` makes the next `times` calls of `/embed` fail (-1:
all of them); `DELETE /fault` ends that. Kinds, by what they affect:

- the answer: `nan`, `zero`, `foreign` (vectors of another text), `permuted`, `missing`,
  `dimension`, `truncated`, `html`
- the status: `error` (500), `busy` (429), `refuse` (400); `poison` and `poison_error` answer 400
  and 500 to calls with a row that has the id `POISON`, and serve all others
- the process: `deadly` ends it `seconds` after such a row came, `breaking` as a broken engine does
- the truth: `cheat` and `cheat_rows` answer calls, or rows, correctly if they came three times
  before, and lie about all others, which a test with the same rows each time never notices
- the connection: `hang` and `slow` (answer after `seconds`), `crawl` (takes `seconds` for each
  token), `reset`, `short` (sends fewer bytes than it declares), `drip` (a byte at a time, `seconds`
  apart)

`--salt` makes it return the vectors of another model, which only golden vectors can reveal.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import random
import struct
import time
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import msgspec

from backends import asgi, hop, process, server
from backends.engine import Computed, EngineBroken
from backends.options import add_options, options_of
from backends.protocol import TokenRow, WorkerInfo

Kind = Literal[
    "nan", "zero", "foreign", "permuted", "missing", "dimension", "truncated", "html",
    "error", "busy", "refuse", "poison", "poison_error", "deadly", "breaking",
    "hang", "slow", "crawl", "reset", "short", "drip",
    "cheat", "cheat_rows",
]  # fmt: skip

_LEARNED_AFTER = 3
"""How often a cheat must see something to recognize it."""
_LEARNED_MAX = 100_000
_WIRE_FAULTS = ("reset", "short", "drip")
_ON_DEMAND = b'{"error":{"code":"fault","message":"on demand"}}'

POISON = 30_521
"""Id in a row that a poisoned worker fails on: the last of BERT's vocabulary."""


class Fault(msgspec.Struct, kw_only=True):
    """What goes wrong, for how many calls (-1: all), and its duration."""

    kind: Kind
    times: int = 1
    seconds: float = 0.0


@lru_cache(maxsize=4_096)
def vector(ids: bytes, dimensions: int, salt: str = "") -> bytes:
    """Return the unit vector that a fake worker computes for these ids: little-endian float32."""
    # seeded by the ids, so that every worker and every test agrees
    source = random.Random(hashlib.sha256(salt.encode() + ids).digest())  # noqa: S311
    values = [source.gauss(0.0, 1.0) for _ in range(dimensions)]
    length = sum(value * value for value in values) ** 0.5
    return struct.pack(f"<{dimensions}f", *(value / length for value in values))


class FakeEngine:
    """Computes `vector`, one call at a time, taking `seconds_per_token`."""

    def __init__(self, info: WorkerInfo, seconds_per_token: float = 0.0, salt: str = "") -> None:
        self.info = info
        self.seconds_per_token = seconds_per_token
        self.cheats: Kind | None = None
        self._salt = salt
        self._seen: Counter[bytes] = Counter()
        self._turn = asyncio.Lock()

    async def embed(self, rows: Sequence[TokenRow], deadline: float) -> Computed:  # noqa: ARG002
        """Compute every row, in order."""
        arrived = time.monotonic()
        async with self._turn:
            started = time.monotonic()
            if self.seconds_per_token:
                await asyncio.sleep(self.seconds_per_token * sum(row.tokens for row in rows))
            vectors = [
                vector(row.ids, row.dimensions, self._salt + lie) for row, lie in self._lies(rows)
            ]
            return Computed(vectors, started - arrived, time.monotonic() - started)

    def _lies(self, rows: Sequence[TokenRow]) -> list[tuple[TokenRow, str]]:
        """Learn a call and its rows; return the salt of the lie about each row, or no salt."""
        if len(self._seen) > _LEARNED_MAX:
            self._seen.clear()
        call = b"call" + b"".join(row.ids for row in rows)
        keys = [call if self.cheats == "cheat" else row.ids for row in rows]
        lies = ["a lie" if self.cheats and self._seen[key] < _LEARNED_AFTER else "" for key in keys]
        self._seen.update({call, *(row.ids for row in rows)})
        return list(zip(rows, lies, strict=True))

    async def probe(self) -> None:
        """Do nothing: it is always ready."""


class FaultyApp(server.WorkerApp):
    """A worker's application that injects faults."""

    def __init__(self, engine: FakeEngine, fault: Fault | None) -> None:
        super().__init__(engine)
        self._fake = engine
        self._healthy_seconds_per_token = engine.seconds_per_token
        self._fault: Fault | None = None
        self._set(fault)

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Answer one request, or break its connection."""
        fault = self._fault
        if fault and fault.kind in _WIRE_FAULTS and _is_embed(scope):
            await self._break_off(self._take(fault), receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def answer(self, scope: asgi.Scope, receive: asgi.Receive) -> asgi.Answer:
        """Answer one request, set a fault, or answer with one."""
        match scope["method"], scope["path"]:
            case "PUT", "/fault":
                body = await asgi.read(receive, 4096)
                self._set(msgspec.json.decode(body or b"", type=Fault))
                return 204, [], b""
            case "DELETE", "/fault":
                self._set(None)
                return 204, [], b""
        if self._fault and _is_embed(scope):
            return await self._go_wrong(self._take(self._fault), scope, receive)
        return await super().answer(scope, receive)

    def _set(self, fault: Fault | None) -> None:
        crawling = fault is not None and fault.kind == "crawl"
        self._fake.seconds_per_token = (
            fault.seconds if fault and crawling else self._healthy_seconds_per_token
        )
        cheats = fault is not None and fault.kind in ("cheat", "cheat_rows")
        self._fake.cheats = fault.kind if fault and cheats else None
        self._fault = None if crawling or cheats else fault

    def _take(self, fault: Fault) -> Fault:
        fault.times -= 1
        if fault.times == 0:
            self._fault = None
        return fault

    async def _go_wrong(
        self, fault: Fault, scope: asgi.Scope, receive: asgi.Receive
    ) -> asgi.Answer:
        match fault.kind:
            case "error" | "refuse":
                return 500 if fault.kind == "error" else 400, [], _ON_DEMAND
            case "busy":
                return 429, [(b"retry-after", b"0.05")], b""
            case "html":
                return 200, [], b"<html>a proxy's error page</html>"
            case "poison" | "poison_error" | "deadly" | "breaking":
                return await self._poisoned(fault, scope, receive)
            case "hang" | "slow":
                await asyncio.sleep(fault.seconds)
                return await super().answer(scope, receive)
            case _:
                return 200, [], await self._wrong_vectors(fault.kind, receive)

    async def _poisoned(
        self, fault: Fault, scope: asgi.Scope, receive: asgi.Receive
    ) -> asgi.Answer:
        body = await self._read(receive)
        if any(struct.pack("<I", POISON) in row.ids for row in self._rows(body)):
            match fault.kind:
                case "deadly":
                    await asyncio.sleep(fault.seconds)
                    os._exit(process.BROKEN_EXIT_STATUS)
                case "breaking":
                    self._break("on demand")
                    return asgi.error_answer(server.explain(EngineBroken("on demand")))
            return 400 if fault.kind == "poison" else 500, [], _ON_DEMAND
        return await super().answer(scope, asgi.again(body, receive))

    async def _wrong_vectors(self, kind: Kind, receive: asgi.Receive) -> bytes:
        rows = self._rows(await self._read(receive))
        vectors = (await self.engine.embed(rows, 0.0)).vectors
        match kind:
            case "nan":
                vectors[-1] = struct.pack("<f", float("nan")) + vectors[-1][4:]
            case "zero":
                vectors[-1] = bytes(len(vectors[-1]))
            case "foreign":
                rows = [TokenRow(row.ids[::-1] + b"\0\0\0\0", row.dimensions) for row in rows]
            case "permuted":
                rows, vectors = rows[::-1], vectors[::-1]
            case "missing":
                rows, vectors = rows[:-1], vectors[:-1]
            case "dimension":
                vectors = [vector[:-4] for vector in vectors]
        answer = hop.encode_answer(rows, vectors)
        return answer[:-3] if kind == "truncated" else answer

    async def _break_off(self, fault: Fault, receive: asgi.Receive, send: asgi.Send) -> None:
        # uvicorn's `send` is a method of the connection's cycle: no other way to its socket
        transport = send.__self__.transport  # type: ignore[attr-defined]
        if fault.kind == "reset":
            transport.abort()
            return
        answer = await self._wrong_vectors(fault.kind, receive)
        length = str(len(answer)).encode()
        headers = [(b"content-length", length), (server.PROCESS_HEADER, self.process)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if fault.kind == "short":
            await send({"type": "http.response.body", "body": answer[:-3], "more_body": True})
            transport.close()
            return
        for at in range(len(answer)):
            part, more = answer[at : at + 1], at + 1 < len(answer)
            await send({"type": "http.response.body", "body": part, "more_body": more})
            await asyncio.sleep(fault.seconds)

    async def _read(self, receive: asgi.Receive) -> bytes:
        info = self.engine.info
        return await asgi.read(receive, hop.request_bytes_max(info)) or b""

    def _rows(self, body: bytes) -> list[TokenRow]:
        info = self.engine.info
        return hop.decode_request(body, rows_max=info.rows_max, tokens_max=info.batch_tokens_max)


def _is_embed(scope: asgi.Scope) -> bool:
    return (scope.get("method"), scope.get("path")) == ("POST", "/embed")


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m backends.fake", description=__doc__)
    add_options(parser)
    parser.add_argument("--model", default="fake")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[8])
    parser.add_argument("--vocabulary-sha256", default="")
    parser.add_argument("--seconds-per-token", type=float, default=0.0)
    parser.add_argument("--revision", default="fake")
    parser.add_argument("--salt", default="")
    parser.add_argument("--fault", default="null", help="the JSON of a fault to start with")
    args = parser.parse_args()
    fault = msgspec.json.decode(args.fault, type=Fault | None)
    info = WorkerInfo(
        model=args.model,
        revision=args.revision,
        dtype="float32",
        dimensions=tuple(args.dimensions),
        tokens_max=8192,
        rows_max=2048,
        batch_tokens_max=300_000,
        vocabulary_sha256=args.vocabulary_sha256,
    )
    app = FaultyApp(FakeEngine(info, args.seconds_per_token, args.salt), fault)
    process.serve(app, options_of(args), service="fake-worker")


if __name__ == "__main__":
    main()
