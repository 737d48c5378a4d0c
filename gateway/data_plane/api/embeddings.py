"""POST /v1/embeddings and /v1/embeddings/estimate: the steps of a request, in order."""

from __future__ import annotations

from gateway.data_plane.api import requests, responses
from gateway.data_plane.api.exchange import Exchange, Reply
from gateway.data_plane.api.hot_path import HotPath
from gateway.data_plane.api.preferences import tier_of
from gateway.data_plane.api.prints import Print
from gateway.data_plane.api.requests import EmbeddingsRequest
from gateway.data_plane.metering.quote import Quote
from gateway.snapshots import KeySnapshot


async def embed(path: HotPath, exchange: Exchange) -> Reply:
    """Embed the inputs of a request, and charge exactly that; a retry joins its original."""
    key = await path.authenticate(exchange)  # 401, 403, 429, 503
    with path.in_flight.admit(key.organization_id) as place:  # 429
        body = await exchange.body(path.limits.body_bytes_max, place)  # 408, 413, 415, 429, 499
        print_ = await path.print_of(exchange, key, body)  # 400
        original = path.replays.find(print_)  # 400, 429
        if original is None:
            return await _embed(path, exchange, key, body, print_)
        del body
    return await original.reply_to(exchange)  # 499, or as the original ends


async def _embed(
    path: HotPath, exchange: Exchange, key: KeySnapshot, body: bytes | bytearray, print_: Print
) -> Reply:
    """Do the work and deliver it; once a worker has begun, a retry may fetch the result."""
    with path.replays.begin(print_, exchange) as work:  # 499
        request = await path.decode(key, body, requests.decode)  # 400
        quoted = await _quoted(path, exchange, key, request)  # 404, 400
        offer = path.admit(exchange, key, quoted)  # 429, 503
        async with path.bill(exchange, key, quoted, print_) as bill:  # 402, 503
            vectors = await path.dispatch(exchange, quoted, offer, work.progress)  # 500, 502-504
            encoded = await responses.encode(
                vectors,
                form=request.encoding_format or "float",
                model=request.model,
                rows=quoted.rows,
            )
        return await work.deliver(encoded, bill)  # 499, 503


async def _quoted(
    path: HotPath,
    exchange: Exchange,
    key: KeySnapshot,
    request: EmbeddingsRequest,
    *,
    live_only: bool = True,
) -> Quote:
    model, suffix = path.resolve(exchange, request.model, key, live_only=live_only)  # 404
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


async def estimate(path: HotPath, exchange: Exchange) -> Reply:
    """Count and price a request without doing it: free, and available before a model is live."""
    key = await path.authenticate(exchange)  # 401, 403, 429, 503
    path.estimates.take(key.id)  # 429
    with path.in_flight.admit(key.organization_id) as place:  # 429
        body = await exchange.body(path.limits.body_bytes_max, place)  # 408, 413, 415, 429, 499
        request = await path.decode(key, body, requests.decode)  # 400
        quoted = await _quoted(path, exchange, key, request, live_only=False)  # 404, 400
    return Reply(responses.encode_estimate(request.model, quoted.rows, quoted.cost_nanos))
