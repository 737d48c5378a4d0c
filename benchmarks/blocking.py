"""How long one large request delays all others: the longest pause of the event loop.

    python -m benchmarks.blocking [--times 3]

The application runs in this process, with a fresh database and a fake worker in another process. A
task reads the clock every half millisecond; the longest time between two readings, minus that, is
how long nothing else could run.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable

import msgspec
import uvloop

from gateway.control_plane.catalog import cards, catalog
from gateway.storage import migrate
from gateway.storage.database import Database
from testing.gateways import MODEL, Api, open_api
from testing.processes import running

_READ_SECONDS = 0.0005
_SOME = random.Random(1)


def _cjk(characters: int) -> str:
    return "".join(chr(_SOME.randrange(0x4E00, 0x9FFF)) for _ in range(characters))


def _english(characters: int) -> str:
    words = ["the", "gateway", "counts", "tokens", "of", "every", "request", "before", "it", "is"]
    return " ".join(_SOME.choice(words) for _ in range(characters // 6))[:characters]


CASES: dict[str, tuple[str, Callable[[], object]]] = {
    "estimate, 8 MB of CJK": ("/v1/embeddings/estimate", lambda: [_cjk(270_000)] * 10),
    "estimate, 1.9 M characters of CJK, cut": (
        "/v1/embeddings/estimate",
        lambda: [_cjk(950_000)] * 2,
    ),
    "estimate, 1.9 M characters of English, cut": (
        "/v1/embeddings/estimate",
        lambda: [_english(1_900)] * 1_000,
    ),
    "embeddings, 2,048 inputs as 786,432 floats": ("/v1/embeddings", lambda: ["a cat"] * 2_048),
    "embeddings, one short input": ("/v1/embeddings", lambda: ["a cat"]),
}


async def longest_pause(api: Api, path: str, body: bytes) -> float:
    """Send the request; return the longest pause in seconds."""
    longest = 0.0

    async def read_clock() -> None:
        nonlocal longest
        last = time.perf_counter()
        while True:
            await asyncio.sleep(_READ_SECONDS)
            now = time.perf_counter()
            longest, last = max(longest, now - last - _READ_SECONDS), now

    reading = asyncio.create_task(read_clock())
    await asyncio.sleep(0.01)
    await api.http.post(path, content=body, headers=api.headers)
    await asyncio.sleep(0.01)  # so that a pause that lasts until now is measured
    reading.cancel()
    return longest


async def main(times: int) -> None:
    """Measure each case, and print the median of the longest pauses."""
    vocabulary = cards.reviewed()[0].vocabulary_sha256
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/gateway.db"
        database = Database(url)
        await migrate.upgrade(database)
        async with database.write() as connection:
            await catalog.seed(connection)
        await database.close()
        fake = ("--model", MODEL, "--dimensions", "384", "--vocabulary-sha256", vocabulary)
        with running("backends.fake", *fake) as worker:
            async with open_api(url, f"{MODEL}={worker.url}") as api:
                await api.ready()
                for name, (path, inputs) in CASES.items():
                    body = msgspec.json.encode(
                        {"model": MODEL, "input": inputs(), "truncate": "end"}
                    )
                    found = [await longest_pause(api, path, body) for _ in range(times)]
                    print(f"{name}: {statistics.median(found) * 1000:.0f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blocking", description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    uvloop.run(main(parser.parse_args().times))
