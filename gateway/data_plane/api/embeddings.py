"""POST /v1/embeddings and /v1/embeddings/estimate: the steps of a request, in order."""

from __future__ import annotations

from functools import partial

from gateway.data_plane.api import requests, responses
from gateway.data_plane.api.exchange import Exchange
from gateway.data_plane.api.hot_path import HotPath
from gateway.data_plane.api.preferences import tier_of
from gateway.data_plane.api.replays import Reply
from gateway.data_plane.api.requests import EmbeddingsRequest
from gateway.data_plane.metering.quote import Quote
from gateway.data_plane.routing.request import Progress
from gateway.snapshots import KeySnapshot


async def embed(path: HotPath, exchange: Exchange) -> bytes:
    """Embed the inputs of a request, and charge exactly that; a retry joins its original."""
    async with path.authenticated(exchange) as key:  # 401, 503
        exchange.organization_id = key.organization_id
        work = path.replays.join(  # 400, 429
            exchange,
            key,
            await exchange.body(path.limits.body_bytes_max),  # 413, 415; kept by the work alone
            partial(_embed, path, exchange, key),
        )
        reply = await work.reply_to(exchange)  # 499, or as the work ends
    exchange.answer_headers += reply.headers
    return reply.body


async def _embed(
    path: HotPath, exchange: Exchange, key: KeySnapshot, body: bytes, progress: Progress
) -> Reply:
    """Do the work and charge it; in a task of its own, since its client may leave."""
    with path.in_flight.admit(key.organization_id):  # 429
        request = await path.decode(key, body, requests.decode)  # 400
        quoted = await _quoted(path, exchange, key, request)  # 404, 400
        offer = path.admit(exchange, key, quoted)  # 429, 503
        async with path.paid(exchange.request_id, key, quoted) as bill:  # 402, 503
            vectors = await path.dispatch(exchange, quoted, offer, progress)  # 500, 502, 503, 504
            body = await responses.encode(
                vectors,
                form=request.encoding_format or "float",
                model=request.model,
                rows=quoted.rows,
            )
    return Reply(body, bill)


async def _quoted(
    path: HotPath,
    exchange: Exchange,
    key: KeySnapshot,
    request: EmbeddingsRequest,
    *,
    live_only: bool = True,
) -> Quote:
    model, suffix = path.resolve(request.model, key, live_only=live_only)  # 404
    dimensions = requests.dimensions_of(request, model)
    prompt = requests.prompt_of(request, model, suffix)
    inputs = requests.inputs_of(request, key, model, path.limits)
    requests.check_floats(len(inputs) * dimensions, path.limits)
    return await path.count(
        key,
        model,
        inputs,
        prompt=prompt,
        dimensions=dimensions,
        truncate=request.truncate or key.truncate,
        tier=tier_of(exchange, request.service_tier),
    )


async def estimate(path: HotPath, exchange: Exchange) -> bytes:
    """Count and price a request without doing it: free, and before a model is live too."""
    async with path.authenticated(exchange) as key:  # 401, 503
        body = await exchange.body(path.limits.body_bytes_max)  # 413, 415
        with path.in_flight.admit(key.organization_id):  # 429
            request = await path.decode(key, body, requests.decode)  # 400
            quoted = await _quoted(path, exchange, key, request, live_only=False)  # 404, 400
    return responses.encode_estimate(request.model, quoted.rows, quoted.cost_nanos)
