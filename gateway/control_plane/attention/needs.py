"""A need: something that an operator must look at, with its evidence and what to do about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Literal, get_args

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

Severity = Literal["critical", "warning", "notice"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""The worst first."""


class Step(msgspec.Struct, frozen=True):
    """Something to do about a need: words for a button, and the page that it opens."""

    words: str
    href: str


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """One line of "Needs attention".

    `key` names the cause, the same each time that it is told (as for snoozing); `words` say what,
    with the number; `since` is when it began, if that is known; the likelier step comes first.
    """

    key: str
    severity: Severity
    subject: str
    """Whom or what it is about, as people call it."""
    words: str
    since: datetime | None = None
    steps: tuple[Step, ...] = ()


NEEDS_MAX = 50
"""Most needs that one source tells."""

_Ask = Callable[[AsyncConnection, datetime], Awaitable[list[Need]]]


class Source:
    """Tells what one domain needs now, NEEDS_MAX at most, in one or two statements.

    `rule` says to people when it tells something, with its thresholds.
    """

    def __init__(self, ask: _Ask, rule: str) -> None:
        self._ask = ask
        self.rule = rule

    async def __call__(self, connection: AsyncConnection, now: datetime) -> list[Need]:
        """Tell it."""
        return await self._ask(connection, now)


def tells(rule: str) -> Callable[[_Ask], Source]:
    """Make a source of a function, by its rule."""
    return lambda ask: Source(ask, rule)
