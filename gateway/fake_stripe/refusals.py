"""What the API refuses, in Stripe's error shape."""

from collections.abc import Mapping
from typing import Any


class ApiRefusal(Exception):
    """An answer with `{"error": ...}`.

    What is refused before an operation ran is not kept for its idempotency key, as at Stripe.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",  # noqa: A002 - Stripe's word
        code: str | None = None,
        param: str | None = None,
        executed: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.executed = executed
        named = {"code": code, "param": param, **more}
        self.body: Mapping[str, Any] = {
            "error": {
                "message": message,
                "type": type,
                **{name: value for name, value in named.items() if value is not None},
            }
        }


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiRefusal:
    """Refuse a request whose parameters contradict each other or the object's state."""
    return ApiRefusal(400, message, code=code, param=param, executed=True)


def missing(kind: str, identifier: str, param: str | None = None) -> ApiRefusal:
    """Refuse an id that names nothing: 404 in the path, 400 in a parameter."""
    return ApiRefusal(
        400 if param else 404,
        f"No such {kind}: '{identifier}'",
        code="resource_missing",
        param=param or "id",
        executed=True,
    )
