"""What one request to the data plane may ask for, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gateway.settings.declaring import Count, Seconds, Share, text


@dataclass(frozen=True, kw_only=True)
class RequestSettings:
    """What one request to the data plane may ask for, and how often."""

    inputs_max: Annotated[Count, text("Most inputs in one request (400).")] = 2_048
    input_characters_max: Annotated[Count, text("Longest single input (400).")] = 1_000_000
    request_characters_max: Annotated[Count, text("Most characters in a request (400).")] = (
        2_000_000
    )
    request_tokens_max: Annotated[Count, text("Most tokens in one request (400).")] = 300_000
    counting_threads: Annotated[
        Count, text("Threads for counting the tokens of long requests.")
    ] = 2
    answer_floats_max: Annotated[Count, text("Most numbers, inputs times dimensions (400).")] = (
        2_097_152
    )
    request_timeout_seconds: Annotated[Seconds, text("Longest wait for the vectors (504).")] = 30.0
    in_flight_max: Annotated[Count, text("Most requests in flight in one process (429).")] = 2_048
    organization_in_flight_max: Annotated[Count, text("The same, of one organization (429).")] = 512
    idempotency_key_characters_max: Annotated[Count, text("Longest Idempotency-Key (400).")] = 255
    replay_seconds: Annotated[Seconds, text("How long a response is kept for a free retry.")] = 60.0
    replay_bytes_max: Annotated[
        Count, text("Most bytes kept for retries in one process, shared between organizations.")
    ] = 67_108_864
    replay_waiting_max: Annotated[
        Count, text("Most connections waiting for one request, retries included (429).")
    ] = 64
    abandoned_requests: Annotated[
        Count,
        text(
            "An organization pays for abandoned responses if within ten minutes it has more of "
            "them than this, with more than `abandoned_tokens_share` of its tokens."
        ),
    ] = 100
    abandoned_tokens_share: Annotated[Share, text("See `abandoned_requests`.")] = 0.05
    reads_per_minute: Annotated[
        Count,
        text(
            "Requests for models, credit, usage and the like per API key and process (429); "
            "verifying credit counts as ten."
        ),
    ] = 300
    estimates_per_minute: Annotated[Count, text("Estimates per API key and process (429).")] = 600
