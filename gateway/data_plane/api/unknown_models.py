"""What a request for an unknown model is told: for other providers' models there is a guide."""

from __future__ import annotations

from urllib.parse import quote as quoted_name

_OPENAI = frozenset({"text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"})
"""Models that only their provider can serve: requesting them here would be pointless."""


def advice(public_url: str, name: str) -> str:
    """Return what to do about a name, ending in an address."""
    if name.removeprefix("openai/") in _OPENAI:
        return (
            "It is OpenAI's own, and the models here have other vectors. "
            f"How to move: {public_url}/docs/from-openai"
        )
    return f"Ask us for it: {public_url}/ask?model={quoted_name(name, safe='/')}"
