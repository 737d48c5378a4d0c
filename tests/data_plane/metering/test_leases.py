"""What a purse says when the ledger has refused it credit."""

from typing import Any

import pytest

from gateway.data_plane.metering.leases import Purse
from gateway.data_plane.metering.messages import LeaseAnswer
from gateway.data_plane.metering.port import (
    AccountOwing,
    BudgetExceeded,
    CreditUnavailable,
    InsufficientCredit,
)


def told(**changes: Any) -> LeaseAnswer:
    answer = {
        "id": "l", "state": "open", "granted_nanos": 0, "available_nanos": 3, "denied": True,
        "frozen": None, "unreached_nanos": 5,
    }  # fmt: skip
    return LeaseAnswer(**answer | changes)


def purse(key_id: str | None = None) -> Purse:
    return Purse("account", "organization", key_id, None, 2_000_000)


@pytest.mark.parametrize(("cost", "kind"), [(8, CreditUnavailable), (9, InsufficientCredit)])
def test_credit_that_another_process_holds_is_told_to_come_back(cost: int, kind: type[Exception]):
    assert type(purse().denial(cost, told())) is kind


def test_a_budget_is_told_apart_from_credit_and_a_frozen_account_by_its_cause():
    assert isinstance(purse("key").denial(9, told()), BudgetExceeded)
    assert isinstance(purse().denial(8, told(frozen="owing")), AccountOwing)
    below = purse("key").denial(8, told(frozen="owing"))  # set below what was spent before
    assert isinstance(below, BudgetExceeded)
    assert "has 0 left" in str(below)
