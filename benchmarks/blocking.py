"""How long one request delays all others: the longest pause of the event loop.

    python -m benchmarks.blocking [--times 5] [--only TEXT]

The gateway runs in this process behind a socket, with a fresh database and a fake worker in another
process. The client is a thread, which holds the GIL for moments only. A task reads the clock every
half millisecond; the longest time between two readings, minus that, is how long nothing else could
run. The last case is what the machine and the client add to every other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import uvloop

from gateway.control_plane.accounts import organizations
from gateway.control_plane.catalog import catalog, golden
from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from gateway.storage import migrate
from gateway.storage.database import Database
from testing import door
from testing.gateways import MODEL, Api, open_api
from testing.processes import running
from testing.vouching import fake_golden

_READ_SECONDS = 0.0005
_BODY_BYTES = 4_000_000
_HEADER_BYTES = 30_000_000
_ESTIMATE = "/v1/embeddings/estimate"
_SOME = random.Random(1)


class Keys(NamedTuple):
    """Who asks."""

    funded: str
    penniless: str


Case = Callable[[Keys], bytes]
"""Makes what is sent; it need not be a valid request."""


def _cjk(characters: int) -> str:
    return "".join(chr(_SOME.randrange(0x4E00, 0x9FFF)) for _ in range(characters))


def _english(characters: int) -> str:
    words = ["the", "gateway", "counts", "tokens", "of", "every", "request", "before", "it", "is"]
    return " ".join(_SOME.choice(words) for _ in range(characters // 6))[:characters]


def _texts(inputs: Callable[[], list[str]], path: str = "/v1/embeddings") -> Case:
    return lambda keys: door.request(
        keys.funded, {"model": MODEL, "input": inputs(), "truncate": "end"}, path
    )


def _hostile(fill: bytes, *, before: bytes, after: bytes) -> Case:
    """Fill a body with one piece, again and again, from a key without credit."""
    times = (_BODY_BYTES - len(before) - len(after)) // len(fill)
    return lambda keys: door.request(keys.penniless, before + fill * times + after)


def _chunks(keys: Keys) -> bytes:
    head = door.request(keys.penniless, b"", transfer_encoding="chunked")
    head = head.replace(b"content-length: 0\r\n", b"")
    return head + b"1\r\n \r\n" * (_BODY_BYTES // 6) + b"0\r\n\r\n"


_INPUT = b'{"model":"%b","input":' % MODEL.encode()

CASES: Mapping[str, Case] = {
    "estimate, 3.9 MB of CJK": _texts(lambda: [_cjk(130_000)] * 10, _ESTIMATE),
    "estimate, 1.3 M characters of CJK, cut": _texts(lambda: [_cjk(650_000)] * 2, _ESTIMATE),
    "estimate, 1.9 M characters of English, cut": _texts(
        lambda: [_english(1_900)] * 1_000, _ESTIMATE
    ),
    "embeddings, 2,048 inputs as 786,432 floats": _texts(lambda: ["a cat"] * 2_048),
    "hostile: 4 MB of empty lists, and a key twice": _hostile(
        b"[],", before=_INPUT + b"[", after=b'[]],"model":"a"}'
    ),
    "hostile: 4 MB of lists in lists": _hostile(b"[", before=_INPUT, after=b""),
    "hostile: 4 MB of small objects": _hostile(b'{"a":1},', before=_INPUT + b"[", after=b"{}]}"),
    "hostile: 4 MB of token ids": _hostile(
        b"1,",
        before=b'{"model":"%b","token_ids_from":"model","input":[' % MODEL.encode(),
        after=b"1]}",
    ),
    "hostile: 4 MB of one number": _hostile(b"1", before=_INPUT, after=b"}"),
    "hostile: 4 MB of escapes": _hostile(rb"\u00e9", before=_INPUT + b'"', after=b'"}'),
    "hostile: 4 MB of escaped keys": _hostile(
        rb'"\u006dodel":1,', before=_INPUT + b'"a",', after=b'"b":1}'
    ),
    "hostile: 4 MB in chunks of a byte": _chunks,
    "hostile: 4 MB without a key": lambda _: door.request("none", b" " * _BODY_BYTES),
    "hostile: a header of 30 MB": lambda _: door.request("none", {}, filler="a" * _HEADER_BYTES),
    "hostile: 100,000 headers": lambda _: door.request(
        "none", {}, **{f"x-{n}": "1" for n in range(100_000)}
    ),
    "hostile: 5,000 requests at once": lambda _: door.request("none", {}) * 5_000,
    "embeddings, one short input": _texts(lambda: ["a cat"]),
}


async def longest_pause(port: int, data: bytes) -> float:
    """Send it over a connection of its own; return the longest pause in seconds."""
    longest = 0.0

    async def read_clock() -> None:
        nonlocal longest
        last = time.perf_counter()
        while True:
            await asyncio.sleep(_READ_SECONDS)
            now = time.perf_counter()
            longest, last = max(longest, now - last - _READ_SECONDS), now

    def ask() -> None:
        client = door.Client(port)
        with contextlib.suppress(OSError):  # it is refused before all of it is sent
            client.send(data)
        with contextlib.suppress(OSError):
            client.receive()
        client.close()

    reading = asyncio.create_task(read_clock())
    await asyncio.sleep(0.01)
    await door.in_thread(ask)
    await asyncio.sleep(0.05)  # so that a pause that lasts until now is measured
    reading.cancel()
    return longest


async def main(times: int, only: str) -> None:
    """Measure each case, and print the median of the longest pauses."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/gateway.db"
        database = Database(url)
        await migrate.upgrade(database)
        async with database.write() as connection:
            await catalog.seed(connection)
            await golden.pin(connection, MODEL, "fake", fake_golden())
        await database.close()
        fake = ("--model", MODEL, "--dimensions", "384", "--vocabulary-sha256", BERT_UNCASED_SHA256)
        with running("backends.fake", *fake) as worker:
            async with (
                open_api(url, f"{MODEL}={worker.url}", log_format="console") as api,
                door.listening(api.gateway) as port,
            ):
                await api.ready()
                keys = await _keys(api)
                for name, case in CASES.items():
                    if only in name:
                        data = case(keys)
                        found = [await longest_pause(port, data) for _ in range(times)]
                        print(f"{name}: {statistics.median(found) * 1000:.0f} ms", flush=True)


async def _keys(api: Api) -> Keys:
    async with api.gateway.core.database.write() as connection:
        poor = await organizations.create(connection, "poor")
    made = await api.keys.create(poor.id, "bench")
    return Keys(api.ledger.secret, made.secret)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blocking", description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", default="", help="names that hold this text")
    chosen = parser.parse_args()
    uvloop.run(main(chosen.times, chosen.only))
