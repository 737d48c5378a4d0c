"""The errors that a client can see: their status and code, what they mean and what to do.

Each domain declares its own subclasses beside the code that raises them. A class says everything
once: `status`, OpenAI's `type` and `code`, whether a retry helps, and, where customers of the API
can meet it, a `remedy`. Its docstring is then its public meaning: /docs/errors and the responses of
/openapi.json are printed from both, in Markdown of which only `code` is used. A message is public
too: it says what to do, and never holds a secret, another customer's data or the text of a request.

    GatewayError
    ├── BadRequest          400 invalid_request_error
    ├── Unauthorized        401 authentication_error
    ├── PaymentRequired     402 insufficient_quota
    ├── Forbidden           403 permission_error
    ├── NotFound            404 not_found_error
    ├── MethodNotAllowed    405 invalid_request_error
    ├── RequestTimeout      408 invalid_request_error
    ├── TooLarge            413 invalid_request_error
    ├── UnsupportedMedia    415 invalid_request_error
    ├── TooManyRequests     429 rate_limit_error
    ├── HeadTooLarge        431 invalid_request_error
    ├── ServerError         500 server_error
    ├── Unavailable         503 server_error
    └── RoutingError        see gateway.data_plane.routing.outcomes
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

Retry = Literal["no", "yes", "later"]
"""Whether sending the same request again may help; later: after the time in Retry-After."""

NO_RETRY = {"x-should-retry": "false"}
"""OpenAI's SDKs obey it; without it they retry 409, 429 and 5xx twice."""


RETRY_SPREAD = 0.5
"""Share by which a wait may be longer than was meant."""


class GatewayError(Exception):
    """Base of all errors that a client may see."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None
    retry: ClassVar[Retry] = "no"
    remedy: ClassVar[str] = ""
    """What to do about it. A class with a remedy of its own is listed in the documentation."""

    def __init__(
        self, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = dict(headers or {})

    @classmethod
    def meaning(cls) -> str:
        """Return the docstring as one line: what the error means to a client."""
        return " ".join(inspect.cleandoc(cls.__doc__ or "").split())

    @classmethod
    def anchor(cls) -> str:
        """Return the id on /docs/errors under which the documentation says more."""
        return cls.code or f"without-code-{cls.status}"

    def envelope(self) -> bytes:
        """Return the body: OpenAI's error object, always with its four fields."""
        error = ErrorBody(self.message, self.type, self.param, self.code)
        return msgspec.json.encode(ErrorEnvelope(error))


class BadRequest(GatewayError):
    """A field is missing, wrong, empty or too large.

    `param` names it, and the message says what it may be.
    """

    status = 400
    type = "invalid_request_error"
    remedy = "Correct that field."


class Unauthorized(GatewayError):
    """There is no such API key, or it was revoked."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"
    remedy = "Check that the key was copied whole, or create a new one in the console."


class PaymentRequired(GatewayError):
    """Your credit does not cover this request."""

    status = 402
    type = "insufficient_quota"
    code = "insufficient_quota"
    remedy = "Add credit in the console, or send less: a smaller request may still fit."

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message, param=param, headers=NO_RETRY)


class Forbidden(GatewayError):
    """Your organization may not do this."""

    status = 403
    type = "permission_error"


class NotFound(GatewayError):
    """There is nothing at this path."""

    status = 404
    type = "not_found_error"
    code = "not_found"
    remedy = "Check the base URL: it ends in `/v1`."


class MethodNotAllowed(GatewayError):
    """The path exists, but not with this method."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"
    remedy = "Use a method that the `Allow` header names."


class RequestTimeout(GatewayError):
    """The request came too slowly, or not to its end."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"
    retry = "yes"
    remedy = "Send it again, whole and without pauses."


class TooLarge(GatewayError):
    """The body has too many bytes."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"
    remedy = "Send fewer or shorter inputs at once."


class UnsupportedMedia(GatewayError):
    """The body is not declared as plain JSON."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"
    remedy = "Send `Content-Type: application/json`, and no `Content-Encoding`."


class TooManyRequests(GatewayError):
    """A limit was reached; nothing was charged."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    retry = "later"

    def __init__(
        self, message: str, *, retry_after_seconds: float, spread: float = RETRY_SPREAD
    ) -> None:
        super().__init__(message, headers=retry_after(retry_after_seconds, spread=spread))


class HeadTooLarge(GatewayError):
    """The request has too many headers, or too long ones."""

    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"
    remedy = "Send fewer or shorter headers; no request needs many."


class ServerError(GatewayError):
    """Something went wrong on our side; nothing was charged."""

    code = "internal_error"
    retry = "yes"
    remedy = "Try again; if it keeps failing, send us the `x-request-id`."


class Unavailable(GatewayError):
    """The service is temporarily unavailable; nothing was charged."""

    status = 503
    code = "service_unavailable"
    retry = "later"
    remedy = "Try again."

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message, headers=retry_after(retry_after_seconds))


def documented() -> Sequence[type[GatewayError]]:
    """Return the errors that have a remedy of their own, by status and code.

    They are those of the modules that are imported: where the API is, all of them.
    """
    found = {kind for kind in _descendants(GatewayError) if "remedy" in vars(kind)}
    return sorted(found, key=lambda kind: (kind.status, kind.code or ""))


def _descendants(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


class ErrorBody(msgspec.Struct, frozen=True):
    """OpenAI's error object."""

    message: Annotated[str, Meta(description="What is wrong and what to do, for people.")]
    type: Annotated[str, Meta(description="The kind of error, as OpenAI names it.")]
    param: Annotated[str | None, Meta(description="The field at fault, if there is one.")]
    code: Annotated[
        str | None, Meta(description="What programs tell errors apart by, if there is one.")
    ]


class ErrorEnvelope(msgspec.Struct, frozen=True):
    """What every error under /v1 looks like."""

    error: ErrorBody


def retry_after(
    seconds: float, *, seconds_max: float = 60.0, spread: float = RETRY_SPREAD
) -> dict[str, str]:
    """Return the headers for a wait. Clients obey them to the letter, so at most a minute.

    All who are refused at a moment would come back at another one: so each is told to wait a little
    longer, by at most the share `spread` (0 where each has a time of its own already).
    """
    longest = min(seconds * (1.0 + spread), seconds_max)
    wait = random.uniform(min(seconds, longest / (1.0 + spread)), longest)  # noqa: S311 - no secret
    milliseconds = round(max(wait, 0.001) * 1000)
    return {"retry-after": str(-(-milliseconds // 1000)), "retry-after-ms": str(milliseconds)}
