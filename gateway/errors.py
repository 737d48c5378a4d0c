"""The errors that reach a client, and the one place where they become an HTTP answer.

Each domain declares its own subclasses beside the code that raises them; the class carries the
status, OpenAI's `type` and `code`, and headers. The message is public: it says what to do, and
never holds a secret, another customer's data or the text of a request.

    GatewayError
    ├── BadRequest          400 invalid_request_error
    ├── Unauthorized        401 authentication_error
    ├── PaymentRequired     402 insufficient_quota
    ├── NotFound            404 not_found_error
    ├── MethodNotAllowed    405 invalid_request_error
    ├── TooLarge            413 invalid_request_error
    ├── UnsupportedMedia    415 invalid_request_error
    ├── TooManyRequests     429 rate_limit_error
    ├── ServerError         500 server_error
    ├── BadGateway          502 server_error
    ├── Unavailable         503 server_error
    └── GatewayTimeout      504 server_error
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

NO_RETRY = {"x-should-retry": "false"}
"""OpenAI's SDKs obey it; without it they retry 409, 429 and 5xx twice."""


class GatewayError(Exception):
    """Base of all errors that a client may see."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.error_code = code or self.code
        self.headers = dict(headers or {})

    def envelope(self) -> bytes:
        """Return the body: OpenAI's error object, always with its four fields."""
        error: dict[str, Any] = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.error_code,
        }
        return msgspec.json.encode({"error": error})


class BadRequest(GatewayError):
    """The request can't be served as it is."""

    status = 400
    type = "invalid_request_error"


class Unauthorized(GatewayError):
    """No key, or not a good one."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class PaymentRequired(GatewayError):
    """Not enough credit. One attempt is enough, so clients are told not to retry."""

    status = 402
    type = "insufficient_quota"
    code = "insufficient_quota"

    def __init__(self, message: str, **options: Any) -> None:
        super().__init__(message, headers=NO_RETRY, **options)


class NotFound(GatewayError):
    """Nothing there, or nothing that this caller may know of."""

    status = 404
    type = "not_found_error"
    code = "not_found"


class MethodNotAllowed(GatewayError):
    """The path exists, the method doesn't."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class TooLarge(GatewayError):
    """The body is over the limit."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class UnsupportedMedia(GatewayError):
    """The body is not JSON by its own declaration."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"


class TooManyRequests(GatewayError):
    """A limit is reached; `retry_after_seconds` from now it may have passed."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after_seconds: float, **options: Any) -> None:
        super().__init__(message, headers=retry_after(retry_after_seconds), **options)


class ServerError(GatewayError):
    """Our own mistake."""

    code = "internal_error"


class BadGateway(GatewayError):
    """The workers answered, but with nothing that may be delivered."""

    status = 502
    code = "upstream_error"


class Unavailable(GatewayError):
    """Can't be served at the moment, and nothing was charged."""

    status = 503
    code = "service_unavailable"

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0, **options: Any) -> None:
        super().__init__(message, headers=retry_after(retry_after_seconds), **options)


class GatewayTimeout(GatewayError):
    """Not done in time, and nothing was charged."""

    status = 504
    code = "timeout"


def retry_after(seconds: float, *, seconds_max: float = 60.0) -> dict[str, str]:
    """Return the headers for a wait. Clients obey them to the letter, so at most a minute."""
    milliseconds = round(max(min(seconds, seconds_max), 0.001) * 1000)
    return {"retry-after": str(-(-milliseconds // 1000)), "retry-after-ms": str(milliseconds)}
