"""Money comes in, in any order, while anything fails: our books against what Stripe truly received.

The auditor (testing/auditing.py) reads the fake Stripe's objects. After every step no payment may
have more credit than was received for it, and every invariant of the ledger holds; after a sweep
all credit is exactly what is left of what was received. The same steps run over a naive handler,
which the auditor must catch: see the last tests. `make explore-payments` runs them for minutes.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import make_url

from gateway.fake_stripe import cards
from gateway.identifiers import new_id
from tests.control_plane.payments.naive import NaiveGateway
from tests.control_plane.payments.steps import Payments

NewUrl = Callable[[], str]

SETTINGS = settings(
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
    database=None,
    # a step takes its time: to find shorter steps takes minutes, see EXAMPLES below
    phases=[Phase.generate],
)
SEED = os.environ.get("EXPLORE_SEED")
EXPLORE_EXAMPLES = int(os.environ.get("EXPLORE_EXAMPLES", "0"))
"""`make explore-payments` sets it: so many histories, and a failure is shortened."""


@pytest.fixture
def sqlite_urls(sqlite_template: Path, tmp_path: Path) -> NewUrl:
    def new_url() -> str:
        return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / f'{new_id()}.db')}"

    return new_url


@pytest.fixture
def postgresql_urls(postgres_url: str, postgres_template: str) -> NewUrl:
    """Give databases that stay until the server ends: the run is short."""

    def new_url() -> str:
        name = f"payments_{new_id().replace('-', '')}"
        asyncio.run(_create(postgres_url, name, postgres_template))
        return make_url(postgres_url).set(database=name).render_as_string(hide_password=False)

    return new_url


async def _create(url: str, name: str, template: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    await connection.close()


def explore(new_url: NewUrl, examples: int) -> None:
    """Run histories over fresh databases; the seed is printed, so that they can be had again."""

    class OnDatabase(Payments):
        new_world = staticmethod(new_url)
        had: ClassVar[Counter[str]] = Counter()

    number = int(SEED or random.SystemRandom().randrange(2**32))
    print(f"EXPLORE_SEED={number}")
    chosen = settings(SETTINGS, max_examples=EXPLORE_EXAMPLES or examples)
    if EXPLORE_EXAMPLES:
        chosen = settings(chosen, phases=[Phase.generate, Phase.shrink])
    run_state_machine_as_test(seed(number)(OnDatabase), settings=chosen)
    print(", ".join(f"{count} {name}" for name, count in OnDatabase.had.items()))


@pytest.mark.parametrize(
    "examples", [1, pytest.param(5, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_credit_is_what_is_left_of_what_was_received(
    request: pytest.FixtureRequest, database: str, examples: int
):
    explore(request.getfixturevalue(f"{database}_urls"), examples)


class NaivePayments(Payments):
    """A naive handler has no sweep, so only what may never be is asked of it."""

    gateway_class = NaiveGateway

    def sweep_of_minutes(self) -> None:
        """Have no sweep."""

    def sweep_of_a_day(self) -> None:
        """Have no sweep."""


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_auditor_catches_a_naive_handler(sqlite_urls: NewUrl):
    class Naive(NaivePayments):
        new_world = staticmethod(sqlite_urls)

    # the same examples each time
    chosen = settings(SETTINGS, max_examples=60, derandomize=True)
    with pytest.raises(AssertionError, match="posted of 0 received"):
        run_state_machine_as_test(Naive, settings=chosen)


def test_the_shortest_steps_that_catch_it(sqlite_urls: NewUrl):
    class Naive(NaivePayments):
        new_world = staticmethod(sqlite_urls)

    state = Naive()
    try:
        state.buy(card=cards.BANK_DEBIT, dollars=5, saves=False, returns=False)
        state.nothing_is_wrong()
        for number in range(10):  # one of them says that the checkout is complete
            state.deliver(fault=None, is_thin=False, number=number, times=1)
        with pytest.raises(AssertionError, match="posted of 0 received"):
            state.nothing_is_wrong()
    finally:
        state.teardown()
