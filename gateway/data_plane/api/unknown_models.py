"""What a request for a model that is not here is told: another provider's own model has a guide."""

from __future__ import annotations

from urllib.parse import quote as quoted_name

_OPENAI = frozenset({"text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"})
"""Models that nobody else can serve: asking for them would lead nowhere."""


def advice(public_url: str, name: str) -> str:
    """Return what to do about a name, ending in an address."""
    if name.removeprefix("openai/") in _OPENAI:
        return (
            "It is OpenAI's own, and the models here have other vectors. "
            f"How to move: {public_url}/docs/from-openai"
        )
    return f"Ask us for it: {public_url}/ask?model={quoted_name(name, safe='/')}"
