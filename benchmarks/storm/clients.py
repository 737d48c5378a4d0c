"""Clients of many organizations, which do as OpenAI's SDKs do and recompute every vector.

A request is sent again up to twice, with the same bytes, after 408, 409, 429 and 5xx, after a
connection that ended and after a time-out; a wait that the answer names is kept. Requests come at a
rate, whatever becomes of those before.
"""

from __future__ import annotations

import asyncio
import random
import struct
import time
from typing import NamedTuple, Self

import aiohttp
import msgspec
import pybase64

from backends.fake import vector
from benchmarks.storm.record import GIVEN_UP, Attempt, Customer, Record, Request
from gateway.data_plane.metering.tokens import ReferenceCounter
from testing.gateways import MODEL
from testing.vouching import DIMENSIONS

RETRIES = 2
TIMEOUT_SECONDS = 10.0
_BACK_OFF_SECONDS, _BACK_OFF_SECONDS_MAX = 0.5, 8.0
_WAIT_SECONDS_MAX = 60.0
_LATE_SECONDS = 0.02
_CLS, _SEP = struct.pack("<I", 101), struct.pack("<I", 102)
_WORDS = ("vector", "tide", "anchor", "lantern", "harbor", "signal", "copper", "meadow", "orbit")


class Text(NamedTuple):
    """What is sent, and what must come back."""

    body: bytes
    vectors: list[bytes]
    tokens: int


class _Vector(msgspec.Struct):
    index: int
    embedding: str


class _Answer(msgspec.Struct):
    data: list[_Vector]


class _Fault(msgspec.Struct):
    code: str | None = None


class _Refusal(msgspec.Struct):
    error: _Fault = msgspec.field(default_factory=_Fault)


class Clients:
    """Sends requests and writes down what becomes of them."""

    def __init__(self, record: Record, url: str, choose: random.Random, began: float) -> None:
        self.record = record
        self.url = url
        self.patience_seconds = TIMEOUT_SECONDS
        self._choose = choose
        self._began = began
        self._number = 0
        self._counter = ReferenceCounter()
        self._http: aiohttp.ClientSession
        self._running: set[asyncio.Task[Request]] = set()

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._http.close()

    def now(self) -> float:
        """Return the seconds since the scenario began."""
        return time.monotonic() - self._began

    async def load(self, rate: float) -> None:
        """Send requests at a rate, until canceled; those in flight go on."""
        due = time.monotonic()
        while True:
            due = max(due + self._choose.expovariate(rate), time.monotonic() - 1.0)
            await asyncio.sleep(due - time.monotonic())
            self.begin(self._choose.randrange(len(self.record.customers)))

    def begin(self, customer: int) -> asyncio.Task[Request]:
        """Begin a request of a customer."""
        task = asyncio.create_task(self.ask(customer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def idle(self) -> None:
        """Wait until no request is in flight."""
        await asyncio.gather(*self._running)

    async def ask(self, customer: int, *, inputs: int = 0, url: str = "") -> Request:
        """Make a request, with its retries; it is in the record from its beginning."""
        text = self.text(inputs or self._choose.randint(1, 3))
        request = Request(customer, inputs=len(text.vectors), tokens=text.tokens)
        self.record.requests.append(request)
        for retry in range(RETRIES + 1):
            attempt, wait = await self._try(self.record.customers[customer], text, retry, url)
            request.attempts.append(attempt)
            if wait is None:
                break
            if retry < RETRIES:
                await asyncio.sleep(wait or self._back_off(retry))
        return request

    async def status(self, customer: Customer, url: str) -> int:
        """Ask once for somebody who is not in the record; return the status, 0 without one."""
        attempt, _ = await self._try(customer, self.text(1), 0, url)
        return attempt.status

    def text(self, inputs: int) -> Text:
        """Make inputs that were never sent before."""
        self._number += 1
        texts = [
            " ".join([str(self._number), str(index), *self._choose.choices(_WORDS, k=8)])
            for index in range(inputs)
        ]
        ids = [_CLS + self._counter.encode(text) + _SEP for text in texts]
        body = msgspec.json.encode({"model": MODEL, "input": texts, "encoding_format": "base64"})
        return Text(
            body, [vector(row, DIMENSIONS) for row in ids], sum(len(row) // 4 for row in ids)
        )

    async def _post(
        self, url: str, body: bytes, headers: dict[str, str]
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        async with self._http.post(f"{url}/v1/embeddings", data=body, headers=headers) as answer:
            return answer, await answer.read()

    def _back_off(self, retry: int) -> float:
        seconds = min(_BACK_OFF_SECONDS * 2.0**retry, _BACK_OFF_SECONDS_MAX)
        return seconds * self._choose.uniform(0.75, 1.0)

    async def _try(
        self, customer: Customer, text: Text, retry: int, url: str
    ) -> tuple[Attempt, float | None]:
        """Try once; return what came, and how long to wait: 0 for the client's own back-off.

        None: there is nothing more to try.
        """
        began = self.now()
        headers = {
            "authorization": f"Bearer {customer.secret}",
            "content-type": "application/json",
            "x-stainless-retry-count": str(retry),
            "x-stainless-read-timeout": f"{self.patience_seconds:g}",
        }
        posting = asyncio.create_task(self._post(url or self.url, text.body, headers))
        try:
            answer, content = await _patiently(posting, self.patience_seconds)
        except TimeoutError:
            return Attempt(began, self.now(), 0, GIVEN_UP), 0.0
        except (aiohttp.ClientError, OSError) as error:
            return Attempt(began, self.now(), 0, type(error).__name__), 0.0
        attempt = Attempt(
            began,
            self.now(),
            answer.status,
            request_id=answer.headers.get("x-request-id", ""),
            original_id=answer.headers.get("x-original-request-id", ""),
            cost_nanos=int(answer.headers.get("x-cost-nanos", 0)),
        )
        if answer.status == 200:
            attempt.wrong = _wrong(content, text)
            return attempt, None
        attempt.code = answer.headers.get("x-balancer") or _code(content)
        return attempt, _wait(answer)


async def _patiently(
    posting: asyncio.Task[tuple[aiohttp.ClientResponse, bytes]], seconds: float
) -> tuple[aiohttp.ClientResponse, bytes]:
    """Wait for an answer. Raises TimeoutError, and leaves.

    Where this process was late itself, it looks once more for what has come meanwhile: balancer and
    clients share a loop here, and no client is to blame for the time of all others.
    """
    began = time.monotonic()
    await asyncio.wait({posting}, timeout=seconds)
    late = time.monotonic() - began - seconds
    if not posting.done() and late > _LATE_SECONDS:
        await asyncio.wait({posting}, timeout=late)
    if not posting.done():
        posting.cancel()
        await asyncio.wait({posting})
        raise TimeoutError
    return await posting


def _wrong(content: bytes, text: Text) -> str:
    """Return what is wrong with the vectors of an answer."""
    try:
        data = msgspec.json.decode(content, type=_Answer).data
        found = [pybase64.b64decode(one.embedding, validate=True) for one in data]
    except (msgspec.DecodeError, ValueError) as error:
        return f"not an answer: {error}"
    if [one.index for one in data] != list(range(len(text.vectors))):
        return "not the inputs' order"
    return "" if found == text.vectors else "not the vectors of these inputs"


def _code(content: bytes) -> str:
    try:
        return msgspec.json.decode(content, type=_Refusal).error.code or "?"
    except msgspec.DecodeError:
        return "not an error of ours"


def _wait(answer: aiohttp.ClientResponse) -> float | None:
    """Return how long to wait before a retry, as OpenAI's SDKs do; None: don't retry."""
    should = answer.headers.get("x-should-retry")
    is_retryable = answer.status in (408, 409, 429) or answer.status >= 500
    if should == "false" or (should != "true" and not is_retryable):
        return None
    named = answer.headers.get("retry-after-ms")
    try:
        wait = float(named) / 1000 if named else float(answer.headers.get("retry-after", 0))
    except ValueError:
        return 0.0
    return wait if 0 < wait <= _WAIT_SECONDS_MAX else 0.0
