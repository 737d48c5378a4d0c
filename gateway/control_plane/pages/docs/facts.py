"""What the pages of the documentation may name: the errors, limits and fields of this gateway."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from gateway.control_plane.demand import asks
from gateway.control_plane.pages.docs import reference
from gateway.control_plane.web import client_snippets, snippets
from gateway.data_plane.api.prints import IdempotencyKeyTooLong
from gateway.data_plane.api.replays import TooManyRetries
from gateway.data_plane.limits.concurrency import TooManyBytes, TooManyInFlight
from gateway.data_plane.limits.rates import TooManyReads
from gateway.data_plane.routing.outcomes import DeadlineMissed, NoWorker
from gateway.errors import BadRequest, GatewayError, TooLarge, documented
from gateway.settings import Settings
from gateway.wings import Operation

_TRIES = 3
"""What OpenAI's clients make of a request: one and two retries."""
COMMON = (
    None, "context_length_exceeded", "unknown_token_ids", "invalid_json",
    "invalid_api_key", "missing_api_key",
    "insufficient_quota", "key_budget_exceeded",
    "scope_missing",
    "model_not_found", "not_found", "model_coming_soon",
    "too_many_in_flight", "too_many_bytes_in_flight", "organization_full",
    "upstream_error",
    "overloaded", "model_warming", "service_unavailable",
)  # fmt: skip
"""The codes that most readers look for: within its status, each stands before the others."""


class RequestLimit(NamedTuple):
    """A limit, and the error over it."""

    what: str
    most: str
    error: type[GatewayError]


def about(
    settings: Settings, model_id: str, tokens_max: int, others: Sequence[Operation] = ()
) -> dict[str, Any]:
    """Return the names that a page's file may use, for examples about a model."""
    url = settings.public_url
    error, error_example = reference.error(url)
    return {
        "public_url": url,
        "dev_mail": settings.dev_mail,
        "model": model_id,
        "tokens_max": f"{tokens_max:,}",
        "environment": snippets.environment(url),
        "calls": snippets.calls(url, model_id),
        "clients": client_snippets.clients(url, model_id),
        "openai": client_snippets.OPENAI,
        "limits": limits(settings),
        "entries": reference.entries(url, others),
        "error": error,
        "error_example": error_example,
        "errors": sorted(documented(), key=_how_rare),
        "titles": {one.status: HTTPStatus(one.status).phrase for one in documented()},
        "hold_seconds": f"{settings.hold_seconds:g}",
        "held_seconds": f"{_TRIES * settings.hold_seconds:g}",
        "timeout_seconds": f"{settings.request_timeout_seconds:g}",
        "abandoned_requests": f"{settings.abandoned_requests:,}",
        "abandoned_share": f"{settings.abandoned_tokens_share * 100:g}%",
    } | held(settings)


def _how_rare(kind: type[GatewayError]) -> int:
    return COMMON.index(kind.code) if kind.code in COMMON else len(COMMON)


def held(settings: Settings) -> dict[str, Any]:
    """Return who operates the service, where it runs, and for how long it keeps what."""
    return {
        "brand": settings.brand,
        "legal_name": settings.legal_name,
        "legal_address": settings.legal_address,
        "legal_email": settings.legal_email,
        "legal_pages": settings.legal_pages,
        "processing_region": settings.processing_region,
        "github": bool(settings.github_client_id),
        "buying": bool(settings.stripe_secret_key),
        "emailing": bool(settings.smtp_url),
        "https": settings.is_https,
        "receipts": settings.receipts,
        "replay_seconds": f"{settings.replay_seconds:g}",
        "usage_days": f"{settings.usage_retention_days:,}",
        "request_log_days": f"{settings.request_log_days:,}",
        "answer_days": f"{settings.answer_retention_days:,}",
        "demand_days": f"{settings.demand_retention_days:,}",
        "asked_names_max": f"{asks.KEPT_MAX:,}",
    }


def limits(settings: Settings) -> list[RequestLimit]:
    """Return the limits of one request and of one organization, as they are configured."""
    megabytes = settings.body_bytes_max / 2**20
    hold = f"{settings.hold_seconds:g} seconds, up to {settings.hold_seconds_max:g}"
    rows = [
        ("Inputs in one request", f"{settings.inputs_max:,} inputs", BadRequest),
        ("Length of one input", f"{settings.input_characters_max:,} characters", BadRequest),
        (
            "Length of all inputs in one request",
            f"{settings.request_characters_max:,} characters",
            BadRequest,
        ),
        ("Tokens in one request", f"{settings.request_tokens_max:,} tokens", BadRequest),
        (
            "Numbers in one response: inputs times dimensions",
            f"{settings.answer_floats_max:,} numbers",
            BadRequest,
        ),
        ("Size of the body", f"{megabytes:,.4g} MiB", TooLarge),
        (
            "Concurrent requests of one organization",
            f"{settings.organization_in_flight_max:,} requests for each gateway process",
            TooManyInFlight,
        ),
        (
            "Concurrent requests of all organizations",
            f"{settings.in_flight_max:,} requests for each gateway process",
            TooManyInFlight,
        ),
        (
            "Estimates of one key",
            f"{settings.estimates_per_minute:,} a minute for each gateway process",
            TooManyReads,
        ),
        (
            "Other free requests of one key",
            f"{settings.reads_per_minute:,} a minute for each gateway process",
            TooManyReads,
        ),
        (
            "Request bodies of one organization in memory at once",
            f"{settings.organization_bodies_bytes_max / 2**20:,.4g} MiB for each gateway process",
            TooManyBytes,
        ),
        (
            "Request bodies of all organizations in memory at once",
            f"{settings.bodies_bytes_max / 2**20:,.4g} MiB for each gateway process",
            TooManyBytes,
        ),
        (
            "Length of an `Idempotency-Key`",
            f"{settings.idempotency_key_characters_max:,} characters",
            IdempotencyKeyTooLong,
        ),
        (
            "Connections waiting for one request, retries included",
            f"{settings.replay_waiting_max:,} connections",
            TooManyRetries,
        ),
        (
            "Time until the vectors are ready",
            f"{settings.request_timeout_seconds:g} seconds",
            DeadlineMissed,
        ),
        ("Wait for a worker while none is ready", f"{hold} with `Prefer: wait`", NoWorker),
    ]
    return [RequestLimit(*row) for row in rows]
