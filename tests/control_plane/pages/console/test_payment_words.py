"""What is said of a payment in each state."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.control_plane.pages.console.payment_words import words_of
from gateway.control_plane.payments.payments import Payment

NOW = datetime(2026, 11, 28, tzinfo=UTC)
PAID = {"state": "paid", "received_cents": 2_975, "tax_cents": 475, "posted_nanos": 25 * 10**9}


def payment(**changes: Any) -> Payment:
    return Payment(**{
        "id": "p", "organization_id": "o", "origin": "checkout", "state": "open",
        "credit_nanos": 25 * 10**9, "amount_cents": 2_500, "live": False,
        "created_at": NOW, "changed_at": NOW, **changes,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "mark", "name", "says"),
    [
        ({"state": "started"}, "warn", "Pending", "waiting for Stripe"),
        ({"state": "open"}, "warn", "Pending", "waiting for Stripe"),
        ({"state": "open", "origin": "auto"}, "warn", "Pending", "card is being charged"),
        ({"state": "processing"}, "warn", "Processing", "some days"),
        (
            {"state": "failed", "failure_reason": "Your card has expired."},
            "bad",
            "Failed",
            "Your card has expired. Nothing was charged.",
        ),
        ({"state": "failed"}, "bad", "Failed", "was declined. Nothing was charged."),
        ({"state": "canceled"}, "", "Canceled", "Nothing was charged"),
        ({"state": "expired"}, "", "Expired", "Nothing was charged"),
        (PAID, "good", "Credited", "in your balance"),
        (PAID | {"posted_nanos": 0}, "warn", "Paid", "being added"),
        (
            PAID | {"refunded_cents": 2_975, "posted_nanos": 0},
            "",
            "Refunded",
            "credit was withdrawn",
        ),
        (PAID | {"refunded_cents": 1_000}, "", "Partly refunded", "$10.00 was refunded"),
        (
            PAID | {"disputed_cents": 2_975, "posted_nanos": 0},
            "bad",
            "Disputed",
            "until the bank decides",
        ),
    ],
)
def test_each_state_has_its_words(changes: dict[str, Any], mark: str, name: str, says: str):
    words = words_of(payment(**changes))
    assert (words.mark, words.name) == (mark, name)
    assert says in words.sentence


def test_only_what_is_about_to_change_is_looked_at_again():
    looked_at = {
        state: words_of(payment(state=state)).changes_soon
        for state in ("started", "open", "processing", "failed", "canceled", "expired")
    }
    assert [state for state, again in looked_at.items() if again] == ["started", "open"]
    assert words_of(payment(**PAID | {"posted_nanos": 0})).changes_soon
    assert not words_of(payment(**PAID)).changes_soon
    # a refund before the credit was posted: nothing more comes by itself
    assert not words_of(payment(**PAID | {"posted_nanos": 0, "refunded_cents": 1})).changes_soon


def test_a_list_says_why_it_failed_and_how_much_went_back():
    assert words_of(payment(state="failed", failure_reason="No.")).detail == "No."
    assert words_of(payment(**PAID | {"refunded_cents": 1_050})).detail == "$10.50 refunded"
