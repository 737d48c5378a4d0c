"""Levels: crossed once, left only when the balance is clearly above."""

import pytest

from gateway.control_plane.alerts.levels import (
    EMPTY,
    EMPTY_NANOS,
    LOW,
    REARM_NANOS,
    balance_level,
    budget_level,
)

DOLLAR = 10**9


@pytest.mark.parametrize(
    ("before", "available", "after"),
    [
        (0, 10 * DOLLAR, 0),
        (0, 5 * DOLLAR, 0),
        (0, 5 * DOLLAR - 1, LOW),
        (0, EMPTY_NANOS, LOW),
        (0, EMPTY_NANOS - 1, EMPTY),
        (0, 0, EMPTY),
        (LOW, 5 * DOLLAR, LOW),  # it swings
        (LOW, 11 * DOLLAR // 2 - 1, LOW),
        (LOW, 11 * DOLLAR // 2, 0),
        (LOW, 0, EMPTY),
        (EMPTY, REARM_NANOS - 1, EMPTY),
        (EMPTY, REARM_NANOS, LOW),
        (EMPTY, 5 * DOLLAR, LOW),
        (EMPTY, 11 * DOLLAR // 2, 0),
    ],
)
def test_a_balance_with_a_threshold_of_five_dollars(before: int, available: int, after: int):
    assert balance_level(before, available, 5 * DOLLAR) == after


def test_without_use_and_threshold_only_empty_is_crossed():
    assert balance_level(0, EMPTY_NANOS, 0) == 0
    assert balance_level(0, 0, 0) == EMPTY
    assert balance_level(EMPTY, DOLLAR, 0) == 0


@pytest.mark.parametrize(
    ("spent", "level"),
    [
        (0, 0),
        (49, 0),
        (50, 50),
        (79, 50),
        (80, 80),
        (94, 80),
        (95, 95),
        (99, 95),
        (100, 100),
        (130, 100),
    ],
)
def test_steps_of_a_budget(spent: int, level: int):
    assert budget_level(spent * DOLLAR // 100, DOLLAR) == level


def test_a_budget_is_never_spent_to_the_last_nano_dollar():
    assert budget_level(DOLLAR - EMPTY_NANOS, DOLLAR) == 100
    assert budget_level(DOLLAR - EMPTY_NANOS - 1, DOLLAR) == 95
    assert budget_level(999, 1_000) == 100
    assert budget_level(0, 1) == 0
    assert budget_level(1, 1) == 100
