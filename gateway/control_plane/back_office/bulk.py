"""The same action for many, each in its own transaction and with its own entry in the trail.

One that fails doesn't stop the others. Each does what the single action does, so repeating it does
nothing twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from gateway.errors import BadRequest, GatewayError

BULK_MAX = 500
"""Most lines that are acted on at once."""

Act = Callable[[str], Awaitable[object]]
"""The single action, for one id."""


class NothingSelected(BadRequest):
    """No line was selected, or more than can be acted on at once."""

    code = "nothing_selected"


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of one line: `problem` says why nothing was done, if nothing was."""

    id: str
    problem: str = ""


def selected(ids: Sequence[str]) -> list[str]:
    """Return the selected ids, each once. Raises NothingSelected."""
    chosen = list(dict.fromkeys(ids))
    if not 0 < len(chosen) <= BULK_MAX:
        raise NothingSelected(f"Select from 1 to {BULK_MAX} lines.")
    return chosen


async def each(ids: Sequence[str], act: Act) -> list[Outcome]:
    """Do it for each, in turn; return the outcomes. Raises NothingSelected."""
    outcomes = []
    for one in selected(ids):
        try:
            await act(one)
        except GatewayError as error:
            outcomes.append(Outcome(one, error.message))
        else:
            outcomes.append(Outcome(one))
    return outcomes
