"""How much one request makes the event loop do in one turn, in bytes, characters and floats.

A turn is what nobody else can interrupt. What is counted is what reads, hashes, decodes, counts,
checks and writes; on a thread it holds up nobody. Times are measured by benchmarks/blocking.py.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.data_plane.api import hot_path, requests, responses
from gateway.data_plane.api.front_door import FrontDoor
from gateway.data_plane.metering.tokens import AT_ONCE_BYTES_MAX, AT_ONCE_MAX
from testing import door
from testing.gateways import MODEL, Api

pytestmark = pytest.mark.sqlite

READ_BYTES = 32 * 262_144
"""libuv reads up to 32 times in one turn, 256 kB each; parsing takes a millisecond a megabyte."""
SLICE_BYTES = 262_144
"""Of vectors; as floats, about 5 ms."""
CHECKED_FLOATS = 524_288
"""Of the answers to a worker's calls that come together; half a millisecond."""
DIMENSIONS = 384
BOUNDS = {
    "bytes parsed": READ_BYTES,
    "bytes hashed": AT_ONCE_BYTES_MAX,
    "bytes decoded": AT_ONCE_BYTES_MAX,
    "characters counted": AT_ONCE_MAX,
    "floats checked": CHECKED_FLOATS,
    "floats written": SLICE_BYTES // 4 + DIMENSIONS,
}


class Work:
    """The most that was done in any turn of the loop, of each kind."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.most: Counter[str] = Counter()
        self.all: Counter[str] = Counter()
        self._now: Counter[str] = Counter()
        self._thread = threading.get_ident()
        self._handle: asyncio.Handle | None = None

    def add(self, kind: str, amount: int) -> None:
        self.all[kind] += amount
        if threading.get_ident() != self._thread:
            return
        if self._handle is None:  # the first of its turn
            self._handle = self.loop.call_soon(self._end_turn)
        self._now[kind] += amount
        self.most[kind] = max(self.most[kind], self._now[kind])

    def _end_turn(self) -> None:
        self._handle = None
        self._now.clear()


@contextmanager
def watched(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    work = Work()

    def count(owner: Any, name: str, kind: str, size: Callable[..., int]) -> None:
        call = getattr(owner, name)

        def counted(*given: Any, **named: Any) -> Any:
            work.add(kind, size(*given))
            return call(*given, **named)

        patch.setattr(owner, name, counted)

    with monkeypatch.context() as patch:
        count(FrontDoor, "_read", "bytes parsed", lambda _door, piece: len(piece))
        count(hot_path, "sha256", "bytes hashed", len)
        count(requests, "decode", "bytes decoded", lambda body, _limits: len(body))
        count(
            hot_path, "quote", "characters counted",
            lambda _counter, _model, inputs: sum(map(len, inputs)),
        )  # fmt: skip
        count(
            api.gateway.core.router.pools[MODEL].core, "_flaw", "floats checked",
            lambda _rows, vectors: sum(vector.nbytes for vector in vectors) // 4,
        )  # fmt: skip
        for name in ("_base64", "_floats"):
            count(responses, name, "floats written", lambda vector: vector.nbytes // 4)
        yield work


def cjk(characters: int) -> str:
    return "".join(chr(0x4E00 + n % 20_000) for n in range(characters))


CASES: dict[str, tuple[int, Any]] = {
    "most inputs, base64": (200, {"input": ["a cat"] * 2_048, "encoding_format": "base64"}),
    "most inputs, floats": (200, {"input": ["a cat"] * 2_048}),
    "long texts": (200, {"input": [cjk(60_000)] * 16, "truncate": "end"}),
    "just below what is read at once": (200, {"input": [cjk(4_000)] * 5, "truncate": "end"}),
    "token ids": (400, {"input": [1] * 1_300_000, "token_ids_from": "model"}),
    "no JSON": (400, b'{"model": ' + b"[" * 4_000_000),
    "too large": (413, b" " * 20_000_000),
}


@pytest.mark.parametrize("case", CASES)
async def test_no_request_does_more_in_one_turn_than_is_allowed(
    case: str, api: Api, monkeypatch: pytest.MonkeyPatch
):
    status, body = CASES[case]
    if isinstance(body, dict):
        body = {"model": MODEL, **body}
    await api.ready()
    async with door.listening(api.gateway) as port:
        client = door.Client(port)
        with watched(api, monkeypatch) as work:
            assert await door.in_thread(client.ask, door.request(api.ledger.secret, body)) == status
        client.close()
    assert work.all["bytes parsed"] > 10_000
    assert {kind: most for kind, most in work.most.items() if most > BOUNDS[kind]} == {}, work.most
    if case == "most inputs, floats":
        assert work.all["floats written"] == 2_048 * DIMENSIONS
        ridden = work.all["floats checked"] - work.all["floats written"]
        assert ridden in (0, DIMENSIONS), "all are checked, and a row that rides along"
