"""Methods of HTTP as logs and spans name them: a client may send any word as one."""

_KNOWN = frozenset(["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"])
OTHER = "_OTHER"
"""What OpenTelemetry calls the rest."""


def known_method(method: str) -> str:
    """Return a method, or what stands for all that aren't known."""
    return method if method in _KNOWN else OTHER
