"""The steps that every metered request takes, for endpoints to put in order.

authenticate -> decode -> resolve -> count -> admit -> bill (dispatch, encode): each step can end
the request, with the statuses in its docstring. If it ends before it is paid for, the reservation
is returned, so only a 200 is ever charged. No step knows about a server or the format of a body.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TypeVar

from gateway.data_plane.api.bills import Bill
from gateway.data_plane.api.exchange import Exchange
from gateway.data_plane.api.preferences import Patience, urgency_of
from gateway.data_plane.api.prints import Print, print_of
from gateway.data_plane.api.replays import Replays
from gateway.data_plane.api.requests import RequestLimits
from gateway.data_plane.api.unknown_models import advice
from gateway.data_plane.auth.authenticator import Authenticator, ScopeMissing
from gateway.data_plane.limits.concurrency import InFlight
from gateway.data_plane.limits.rates import KeyRate
from gateway.data_plane.metering.port import Charge, Credits
from gateway.data_plane.metering.quote import Quote, counter_of, quote
from gateway.data_plane.metering.rows import Inputs
from gateway.data_plane.metering.tokens import (
    AT_ONCE_BYTES_MAX,
    AT_ONCE_MAX,
    CountingThreads,
    TokenCounter,
)
from gateway.data_plane.routing.admission import Offer
from gateway.data_plane.routing.request import Progress
from gateway.data_plane.routing.router import Router
from gateway.data_plane.tallies import DemandTally, NameTally
from gateway.errors import NotFound
from gateway.snapshots import Catalog, KeySnapshot, ModelSnapshot, Tier, Truncate

_ESTIMATE = " What a request would cost: POST /v1/embeddings/estimate."
_NAME_CHARACTERS_SHOWN = 100

BodyT = TypeVar("BodyT")


@dataclass(frozen=True, kw_only=True)
class HotPath:
    """The steps, and the parts that they use."""

    authenticator: Authenticator
    catalog: Callable[[], Catalog]
    counters: Mapping[str, TokenCounter]
    counting: CountingThreads
    credit: Credits
    demand: DemandTally
    estimates: KeyRate
    in_flight: InFlight
    limits: RequestLimits
    patience: Patience
    proxies: int
    """How many of our own proxies add to X-Forwarded-For."""
    public_url: str
    replays: Replays
    router: Router
    unknown: NameTally

    async def authenticate(self, exchange: Exchange) -> KeySnapshot:
        """Return the caller's key: 401, 403, 429, or 503 while keys can't be checked."""
        key = await self.authenticator.authenticate(
            exchange.header(b"authorization"), partial(exchange.network, proxies=self.proxies)
        )
        exchange.organization_id, exchange.key_id = key.organization_id, key.id
        if "embed" not in key.scopes:
            raise ScopeMissing("embed")
        return key

    async def print_of(
        self, exchange: Exchange, key: KeySnapshot, body: bytes | bytearray
    ) -> Print:
        """Return what tells a retry from a new request: 400. A thread reads a large body."""
        if len(body) <= AT_ONCE_BYTES_MAX:
            digest = sha256(body).digest()
        else:
            digest = await self.counting.run(key.organization_id, _digest, body)
        characters_max = self.limits.idempotency_key_characters_max
        return print_of(exchange, key, digest, characters_max=characters_max)

    async def decode(
        self,
        key: KeySnapshot,
        body: bytes | bytearray,
        decode: Callable[[bytes | bytearray, RequestLimits], BodyT],
    ) -> BodyT:
        """Decode a body, a large one on a thread: 400."""
        if len(body) <= AT_ONCE_BYTES_MAX:
            return decode(body, self.limits)
        return await self.counting.run(key.organization_id, decode, body, self.limits)

    def resolve(
        self, exchange: Exchange, name: str, key: KeySnapshot, *, live_only: bool = True
    ) -> tuple[ModelSnapshot, str | None]:
        """Find a model, and the prompt in its name's suffix: 404 unknown, retired, coming soon."""
        found = self.catalog().find(name)
        if found is None or found[0].state == "retired":
            shown = name[:_NAME_CHARACTERS_SHOWN]
            self.unknown.add(shown)
            raise ModelNotFound(
                f"There is no model {shown!r}; GET /v1/models lists the models. "
                + advice(self.public_url, shown),
                param="model",
            )
        exchange.model_id = model_id = found[0].id
        if live_only and found[0].state == "coming_soon":
            self.demand.add((model_id, key.organization_id))
            raise ModelComingSoon(
                f"{model_id} is coming soon and not served yet; this call was counted as demand. "
                "Vote for it, or get an email when it is live: "
                f"{self.public_url}/models/{model_id}."
                f"{_ESTIMATE if found[0].vocabulary_sha256 in self.counters else ''}",
                param="model",
            )
        return found

    async def count(
        self,
        key: KeySnapshot,
        model: ModelSnapshot,
        inputs: Inputs,
        *,
        prompt: str | None,
        dimensions: int,
        truncate: Truncate | None,
        tier: Tier,
    ) -> Quote:
        """Count and price the inputs, long ones on a thread: 400 too long, 404 uncountable."""
        count = partial(
            quote,
            counter_of(self.counters, model),
            model,
            inputs,
            prompt=prompt,
            dimensions=dimensions,
            truncate=truncate,
            tier=tier,
            tokens_max=self.limits.request_tokens_max,
        )
        if sum(map(len, inputs)) <= AT_ONCE_MAX:
            return count()
        return await self.counting.run(key.organization_id, count)

    def admit(self, exchange: Exchange, key: KeySnapshot, quoted: Quote) -> Offer:
        """Ask the router for a place in the queue: 429 not in time, 503 no worker."""
        if exchange.trace is not None:
            exchange.trace.describe(_described(quoted))
        deadline, hold_seconds = urgency_of(exchange, self.patience)
        organization, tokens, tier = key.organization_id, quoted.rows.tokens, quoted.tier
        exchange.tokens = tokens
        self.router.admit(
            quoted.model.id, Offer(organization, tokens, deadline, tier, hold_seconds)
        )
        # a client that stops waiting may come back for what was begun: the deadline is our own
        deadline = exchange.started + self.patience.timeout_seconds
        return Offer(organization, tokens, deadline, tier, hold_seconds)

    def bill(self, exchange: Exchange, key: KeySnapshot, quoted: Quote, print_: Print) -> Bill:
        """Return a bill for the request; its block reserves the cost for the work: 402, 503.

        A retry of a paid request costs nothing.
        """
        charge = Charge(
            request_id=exchange.request_id,
            organization_id=key.organization_id,
            key_id=key.id,
            model_id=quoted.model.id,
            price_id=quoted.price.id,
            inputs=len(quoted.rows.rows),
            tokens=quoted.rows.tokens,
            cost_nanos=quoted.cost_nanos,
            budget=key.budget,
            print=print_.mark,
            print_seconds=self.replays.seconds if print_.is_named else None,
            trace=exchange.trace,
        )
        return Bill(self.credit, charge, self.replays.paid(print_))

    async def dispatch(
        self, exchange: Exchange, quoted: Quote, offer: Offer, progress: Progress
    ) -> list[memoryview]:
        """Return a vector for each row: 500, 502, 503, 504."""
        await exchange.read_end()  # 499: a client that left while the process stood still
        started, trace = time.monotonic(), exchange.trace
        if trace is not None:
            trace.step("dispatch")
        try:
            vectors = await self.router.dispatch(
                quoted.model.id,
                quoted.rows.rows,
                offer,
                request_id=exchange.request_id,
                progress=progress,
                trace=trace,
            )
        finally:
            exchange.waited_seconds += time.monotonic() - started
        if trace is not None:
            trace.step("encode")
        return vectors


class ModelNotFound(NotFound):
    """There is no model of that name."""

    code = "model_not_found"
    remedy = "`GET /v1/models` lists the names."


class ModelComingSoon(NotFound):
    """The model is announced but not served yet."""

    code = "model_coming_soon"
    remedy = "Price it with `POST /v1/embeddings/estimate`, and ask to be notified on its page."


def _described(quoted: Quote) -> dict[str, str | int]:
    """Return what a request's span says about its work."""
    rows = quoted.rows.rows
    return {
        "gen_ai.request.model": quoted.model.id,
        "gen_ai.usage.input_tokens": quoted.rows.tokens,
        "gen_ai.embeddings.dimension.count": rows[0].dimensions if rows else 0,
        "gateway.inputs": len(rows),
        "gateway.tier": quoted.tier,
    }


def _digest(body: bytes | bytearray) -> bytes:
    return sha256(body).digest()
