"""Every error that a customer of the API can meet, read from the classes that are raised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.errors import GatewayError


def documented() -> Sequence[type[GatewayError]]:
    """Return the errors that have a remedy of their own, by status and code.

    What declares them is imported by now: the reference beside this needs the whole API.
    """
    found = {kind for kind in _descendants(GatewayError) if "remedy" in vars(kind)}
    return sorted(found, key=lambda kind: (kind.status, kind.code or ""))


def _descendants(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)
