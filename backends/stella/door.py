"""Who may use a worker's own /v1/embeddings, which gateways don't use."""

from __future__ import annotations

import hmac

from backends.asgi import Failure, Scope

KEY_VARIABLE = "STELLA_WORKER_OPENAI_KEY"
"""The variable that holds its key."""


class OpenAIDoor:
    """Admits requests with the key; without a key, all, if only this machine can send them."""

    def __init__(self, key: str, *, is_local: bool) -> None:
        self._key = key
        self._is_local = is_local

    @property
    def notice(self) -> str:
        """What to say about it at the start; empty if there is nothing to say."""
        if self._key or self._is_local:
            return ""
        return f"/v1/embeddings is off: others reach this worker, and no {KEY_VARIABLE} is set"

    def refusal(self, scope: Scope) -> Failure | None:
        """Return why a request may not be answered; None if it may."""
        if not self._key:
            return None if self._is_local else Failure(404, "not_found", self.notice)
        given: bytes = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(given, b"Bearer " + self._key.encode()):
            return None
        return Failure(401, "invalid_api_key", "this worker's key is required (Bearer)")
