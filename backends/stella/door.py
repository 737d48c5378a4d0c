"""Who may use a worker's own /v1/embeddings, which is no gateway's business."""

from __future__ import annotations

import hmac

from backends.asgi import Failure, Scope

KEY_VARIABLE = "STELLA_WORKER_OPENAI_KEY"
"""The variable that holds its key."""


class OpenAIDoor:
    """Open to who has the key; without a key, to this machine if others don't reach the worker."""

    def __init__(self, key: str, *, is_local: bool) -> None:
        self._key = key
        self._is_local = is_local

    @property
    def notice(self) -> str:
        """What to say of it at the start; empty where there is nothing to say."""
        if self._key or self._is_local:
            return ""
        return f"/v1/embeddings is off: others reach this worker, and no {KEY_VARIABLE} is set"

    def refusal(self, scope: Scope) -> Failure | None:
        """Say why a request may not be answered."""
        if not self._key:
            return None if self._is_local else Failure(404, "not_found", self.notice)
        given: bytes = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(given, b"Bearer " + self._key.encode()):
            return None
        return Failure(401, "invalid_api_key", "this worker's key is wanted (Bearer)")
