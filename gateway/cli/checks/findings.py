"""The findings of `gateway check`, and how questions are asked: with a time limit, no secrets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Literal

import msgspec
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from gateway.settings import SECRETS, Settings

Level = Literal["ok", "warning", "error"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "error")
"""From good to bad; the index of the worst is the exit status."""
QUESTION_SECONDS = 5.0
"""How long one question may take, all its steps together."""
_HIDDEN = "***"
_SECRET_CHARACTERS_MIN = 4


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line: what was checked, and the result."""

    level: Level
    about: str
    """`database`, `workers` and so on."""
    words: str


Question = Callable[[Settings], AsyncIterator[Finding]]


async def asked(about: str, question: Question, settings: Settings) -> list[Finding]:
    """Return a question's findings; one that takes too long, or fails, is an error."""
    found: list[Finding] = []
    try:
        async with asyncio.timeout(QUESTION_SECONDS):
            async for finding in question(settings):
                found.append(finding)  # noqa: PERF401 - those before a failure count
    except TimeoutError:
        found.append(error(about, f"no answer within {QUESTION_SECONDS:.0f} s"))
    except Exception as failure:  # noqa: BLE001 - whatever it is, the other questions count
        words = " ".join(str(failure).split())
        found.append(error(about, words or type(failure).__name__))
    hidden = list(_secrets(settings))
    return [msgspec.structs.replace(each, words=_without(each.words, hidden)) for each in found]


def ok(about: str, words: str) -> Finding:
    """Make a finding that all is well."""
    return Finding(level="ok", about=about, words=words)


def warning(about: str, words: str) -> Finding:
    """Make a finding about something that works, but should be changed."""
    return Finding(level="warning", about=about, words=words)


def error(about: str, words: str) -> Finding:
    """Make a finding about something that does not work."""
    return Finding(level="error", about=about, words=words)


def _secrets(settings: Settings) -> Iterator[str]:
    """Yield what no line may hold: each secret, its parts, and the passwords in addresses."""
    for field in SECRETS:
        value = str(getattr(settings, field))
        for part in (value, *value.replace(",", " ").split()):
            if len(part) >= _SECRET_CHARACTERS_MIN:
                yield part
        try:
            password = make_url(value).password
        except ArgumentError:
            continue
        if password:
            yield str(password)


def _without(words: str, hidden: list[str]) -> str:
    for secret in sorted(hidden, key=len, reverse=True):
        words = words.replace(secret, _HIDDEN)
    return words
