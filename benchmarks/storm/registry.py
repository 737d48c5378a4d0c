"""What a scenario is, and the list of them.

    @scenario("PostgreSQL", fails={"503 credit_unavailable": 0.5})
    async def postgresql_is_away_for_long(storm: Storm) -> None:
        \"\"\"PostgreSQL crashes and stays away for longer than leased credit lasts.\"\"\"
        await storm.through(storm.deployment.postgres.away(), seconds=20)

Its docstring is what the page says of it. `fails` says with what requests may end for good, after
their retries, and how many of them, as a share; `unasked` how many charges may have reached nobody,
`written_off` how many answers may be free, `whole_seconds` how long after the fault anything may
still go wrong.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from benchmarks.storm.storm import Storm

Run = Callable[["Storm"], Awaitable[None]]

SCENARIOS: list[Scenario] = []
SHORT = "Short"
"""The group of what the suite runs; a run of all leaves it out."""


class Scenario(NamedTuple):
    """A fault, and what may come of it."""

    name: str
    group: str
    about: str
    run: Run
    fails: Mapping[str, float]
    unasked: int
    written_off: int
    whole_seconds: float
    rate: float
    settings: Mapping[str, str]


def scenario(
    group: str,
    *,
    fails: Mapping[str, float] | None = None,
    unasked: int = 0,
    written_off: int = 0,
    whole_seconds: float = 10.0,
    rate: float = 30.0,
    settings: Mapping[str, str] | None = None,
) -> Callable[[Run], Run]:
    """Add a function to the list; `settings` are those of the gateways, by variable."""

    def add(run: Run) -> Run:
        name = getattr(run, "__name__", "").replace("_", "-")
        assert name not in (one.name for one in SCENARIOS), f"two scenarios are {name}"
        SCENARIOS.append(
            Scenario(
                name=name,
                group=group,
                about=" ".join(inspect.cleandoc(run.__doc__ or "").split()),
                run=run,
                fails=fails or {},
                unasked=unasked,
                written_off=written_off,
                whole_seconds=whole_seconds,
                rate=rate,
                settings=settings or {},
            )
        )
        return run

    return add
