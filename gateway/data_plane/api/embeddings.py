"""POST /v1/embeddings: the way of a request.

Each step of `answer` can end it, with the status in its comment. Whatever ends it before the
answer is settled gives the reservation back, so only a 200 is ever charged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from gateway.data_plane.api import requests, responses
from gateway.data_plane.api.exchange import Exchange, connections_read
from gateway.data_plane.api.preferences import Patience, tier_of, urgency_of
from gateway.data_plane.api.replays import Replays, Reply, Work
from gateway.data_plane.api.requests import EmbeddingsRequest, Limits
from gateway.data_plane.auth.authenticator import Authenticator
from gateway.data_plane.limits.concurrency import InFlight
from gateway.data_plane.metering.counting import AT_ONCE_BYTES_MAX, AT_ONCE_MAX, CountingThreads
from gateway.data_plane.metering.port import Charge, Credits
from gateway.data_plane.metering.rows import RowMaker, Rows
from gateway.data_plane.metering.tokens import TokenCounter
from gateway.data_plane.routing.admission import Offer
from gateway.data_plane.routing.request import Progress
from gateway.data_plane.routing.router import Router
from gateway.data_plane.tallies import Demand
from gateway.errors import NotFound
from gateway.observability import metrics
from gateway.snapshots import Catalog, KeySnapshot, ModelSnapshot, PriceSnapshot, Tier

_NAME_CHARACTERS_SHOWN = 100


class ModelNotFound(NotFound):
    """No model of that name."""

    code = "model_not_found"


class ModelComingSoon(NotFound):
    """A model that is announced and not served yet."""

    code = "model_coming_soon"


class Order(msgspec.Struct, frozen=True):
    """A request that was understood and counted: what to embed, and what it costs."""

    model: ModelSnapshot
    rows: Rows
    tier: Tier
    price: PriceSnapshot
    cost_nanos: int


class EmbeddingsEndpoint:
    """The endpoint, and the parts it takes along the way."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        catalog: Callable[[], Catalog],
        counters: Mapping[str, TokenCounter],
        counting: CountingThreads,
        credit: Credits,
        demand: Demand,
        in_flight: InFlight,
        limits: Limits,
        public_url: str,
        replays: Replays,
        router: Router,
        sign: Callable[[Charge], str] | None,
        body_bytes_max: int,
        patience: Patience,
    ) -> None:
        self.authenticator = authenticator
        self.catalog = catalog
        self._counters = counters
        self._counting = counting
        self._credit = credit
        self._demand = demand
        self.in_flight = in_flight
        self._limits = limits
        self._public_url = public_url
        self._replays = replays
        self._router = router
        self._sign = sign
        self._body_bytes_max = body_bytes_max
        self._patience = patience

    async def answer(self, exchange: Exchange) -> bytes:
        """Embed what a request asks for, and charge exactly that."""
        key = await self.authenticator.authenticate(exchange.header("authorization"))  # 401, 503
        exchange.organization_id = key.organization_id
        try:
            reply = await self._reply(exchange, key)
        finally:
            exchange.answer_headers += self.in_flight.headers(key.organization_id)
        exchange.answer_headers += reply.headers
        return reply.body

    async def _reply(self, exchange: Exchange, key: KeySnapshot) -> Reply:
        # nothing here keeps the body: a retry that joins waits without it
        work = self._work(exchange, key, await exchange.body(self._body_bytes_max))  # 413, 415
        return await work.reply_to(exchange)  # 499 the client left, or as the work ends

    def _work(self, exchange: Exchange, key: KeySnapshot, body: bytes) -> Work:
        print_ = self._replays.print_of(exchange, key, body)  # 400 a key too long
        work = self._replays.find(print_)  # 400 a key used twice, 429 too many retries
        if work is None:
            run = partial(self._embed, exchange, body, key)
            work = self._replays.begin(print_, exchange.request_id, run)
        return work

    async def _embed(
        self, exchange: Exchange, body: bytes, key: KeySnapshot, progress: Progress
    ) -> Reply:
        """Do the work, and charge it; on its own, since its client may leave."""
        with self.in_flight.admit(key.organization_id):  # 429
            request = await self._decoded(key, body)  # 400
            tier = tier_of(exchange, request.service_tier)
            order = await self.order(request, key, tier)  # 404 unknown, coming soon, 400 too much
            offer = self._offer(exchange, key, order)
            self._router.admit(order.model.id, offer)  # 429 can't be done in time, 503 no worker
            charge = self._charge(exchange.request_id, key, order)
            balance_nanos = await self._credit.reserve(charge)  # 402, 503
            try:
                # a client that waits no longer may come back for what was begun: our own deadline
                offer = offer._replace(deadline=exchange.started + self._patience.timeout_seconds)
                await connections_read()  # a client that left while we stood still: 499
                vectors = await self._dispatch(exchange, order, offer, progress)  # 5xx
                answer = await responses.encode(
                    vectors,
                    form=request.encoding_format or "float",
                    model=request.model,
                    rows=order.rows,
                )
            except BaseException:
                await self._credit.release(charge)
                raise
            await self._credit.settle(charge)  # 503
        metrics.count_tokens(order.model.id, charge.tokens)
        headers = [
            ("x-cost-nanos", str(charge.cost_nanos)),
            ("x-balance-nanos", str(balance_nanos)),
        ]
        if self._sign is not None:
            headers.append(("x-receipt", self._sign(charge)))
        return Reply(answer, headers)

    async def estimate(self, exchange: Exchange) -> bytes:
        """Count and price a request without doing it: free, and before a model is live too."""
        key = await self.authenticator.authenticate(exchange.header("authorization"))
        body = await exchange.body(self._body_bytes_max)
        try:
            with self.in_flight.admit(key.organization_id):  # 429
                request = await self._decoded(key, body)
                tier = tier_of(exchange, request.service_tier)
                order = await self.order(request, key, tier, live_only=False)
        finally:
            exchange.answer_headers += self.in_flight.headers(key.organization_id)
        return responses.encode_estimate(request.model, order.rows, order.cost_nanos)

    async def order(
        self,
        request: EmbeddingsRequest,
        key: KeySnapshot,
        tier: Tier = "default",
        *,
        live_only: bool = True,
    ) -> Order:
        """Understand and count a request. Raises ModelNotFound, ModelComingSoon or BadRequest."""
        model, suffix = self._resolve(request.model, key, live_only=live_only)
        dimensions = requests.dimensions_of(request, model)
        prompt = requests.prompt_of(request, model, suffix)
        inputs = requests.inputs_of(request, key, model, self._limits)
        requests.check_floats(len(inputs) * dimensions, self._limits)
        maker = RowMaker(
            self._counters[model.vocabulary_sha256],
            dimensions=dimensions,
            tokens_max=model.tokens_max,
            prompt=prompt,
            request_tokens_max=self._limits.request_tokens_max,
        )
        truncate = request.truncate or key.truncate
        if inputs.texts:
            count = partial(maker.from_texts, inputs.texts, truncate)
        else:
            count = partial(maker.from_ids, inputs.ids, truncate)
        rows = (
            count()
            if inputs.size <= AT_ONCE_MAX
            else await self._counting.run(key.organization_id, count)
        )
        price = model.price_of(tier)
        return Order(model, rows, tier, price, price.cost_nanos(rows.tokens))

    async def _decoded(self, key: KeySnapshot, body: bytes) -> EmbeddingsRequest:
        if len(body) <= AT_ONCE_BYTES_MAX:
            return requests.decode(body)
        return await self._counting.run(key.organization_id, requests.decode, body)

    def _resolve(
        self, name: str, key: KeySnapshot, *, live_only: bool
    ) -> tuple[ModelSnapshot, str | None]:
        found = self.catalog().find(name)
        if found is None or found[0].state == "retired":
            shown = name[:_NAME_CHARACTERS_SHOWN]
            raise ModelNotFound(
                f"There is no model {shown!r}; GET /v1/models lists those there are.", param="model"
            )
        if live_only and found[0].state == "coming_soon":
            self._demand.called(found[0].id, key.organization_id)
            raise ModelComingSoon(
                f"{found[0].id} is coming soon and not served yet; this call was counted as "
                f"demand. Vote for it, or be told when it is live: "
                f"{self._public_url}/models/{found[0].id}. What a request would cost: "
                "POST /v1/embeddings/estimate.",
                param="model",
            )
        return found

    def _offer(self, exchange: Exchange, key: KeySnapshot, order: Order) -> Offer:
        urgency = urgency_of(exchange, self._patience)
        return Offer(
            organization=key.organization_id,
            tokens=order.rows.tokens,
            deadline=urgency.deadline,
            tier=order.tier,
            hold_seconds=urgency.hold_seconds,
        )

    async def _dispatch(
        self, exchange: Exchange, order: Order, offer: Offer, progress: Progress
    ) -> list[memoryview]:
        started = time.monotonic()
        try:
            return await self._router.dispatch(
                order.model.id,
                order.rows.rows,
                offer,
                request_id=exchange.request_id,
                progress=progress,
            )
        finally:
            exchange.waited_seconds += time.monotonic() - started

    @staticmethod
    def _charge(request_id: str, key: KeySnapshot, order: Order) -> Charge:
        return Charge(
            request_id=request_id,
            organization_id=key.organization_id,
            key_id=key.id,
            model_id=order.model.id,
            price_id=order.price.id,
            inputs=len(order.rows.rows),
            tokens=order.rows.tokens,
            cost_nanos=order.cost_nanos,
            budget=key.budget,
        )
