"""Auto top-up in words, and what its form says."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.control_plane.pages.console.auto_top_up import AutoForm, auto_words
from gateway.control_plane.payments.auto_top_up import AutoTopUp, TopUpRules
from gateway.control_plane.payments.customers import Customer
from gateway.control_plane.payments.payments import Payment, State
from gateway.control_plane.payments.top_up_starts import next_month
from gateway.control_plane.web.forms import RefusedForm
from gateway.errors import BadRequest

NOW = datetime.now(UTC)


def settings(**changes: Any) -> AutoTopUp:
    return AutoTopUp(**{
        "organization_id": "o", "enabled": True, "threshold_nanos": 5 * 10**9 + 10**7,
        "amount_cents": 2_500, "month_cents_max": 100_000, "paused": "", "declines": 0,
        "not_before": None, "changed_at": NOW, **changes,
    })  # fmt: skip


def customer(**changes: Any) -> Customer:
    return Customer(**{
        "organization_id": "o", "generation": 1, "customer_id": "cus_1",
        "payment_method_id": "pm_1", "card_brand": "visa", "card_last_four": "4242",
        "card_expires": "2030-12", "card_fingerprint": "f", "held_at": None, "held_reason": "",
        "changed_at": NOW, **changes,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("current", "who", "name", "says"),
    [
        (None, None, "Off", "requests are refused"),
        (settings(enabled=False), customer(), "Off", "requests are refused"),
        (settings(), None, "Waits for a card", "Save this card"),
        (settings(), customer(payment_method_id=None), "Waits for a card", "Save this card"),
        (settings(), customer(held_at=NOW), "On hold", "buying is on hold"),
        (settings(paused="authentication"), customer(), "Paused", "Your bank"),
        (settings(paused="declined", declines=3), customer(), "Stopped", "three times in a row"),
        (settings(paused="refunded"), customer(), "Paused", "was refunded"),
        (settings(paused="disputed"), customer(), "Paused", "disputed with the bank"),
        (
            settings(declines=1, not_before=NOW + timedelta(hours=1)),
            customer(),
            "Waits",
            "The last charge was declined. The next try is after ",
        ),
        (settings(not_before=NOW), customer(), "On", "at most $1,000.00 a month"),
        (settings(), customer(), "On", "below $5.01, $25.00 of credit is bought"),
    ],
)
def test_each_state_has_its_words(
    current: AutoTopUp | None, who: Customer | None, name: str, says: str
):
    words = auto_words(current, who, None)
    assert words.name == name
    assert says in words.sentence


def test_at_the_monthly_limit_it_waits_for_the_next_month(now: datetime):
    words = auto_words(settings(not_before=next_month(now)), customer(), None)
    assert words.name == "Waits"
    assert "The monthly limit is reached. The next try is after 1 " in words.sentence


@pytest.mark.parametrize(
    ("state", "code", "says"),
    [
        ("failed", "not_charged", "The last attempt failed."),
        ("failed", "refused", "The last attempt failed."),
        ("paid", "", "daily number of attempts is reached"),
        ("canceled", "", "daily number of attempts is reached"),
    ],
)
def test_it_says_why_it_waits_though_no_card_was_declined(state: State, code: str, says: str):
    last = Payment(
        id="p", organization_id="o", origin="auto", state=state, failure_code=code,
        credit_nanos=25 * 10**9, amount_cents=2_500, live=False, created_at=NOW, changed_at=NOW,
    )  # fmt: skip
    waiting = settings(not_before=NOW + timedelta(hours=1))
    assert auto_words(waiting, customer(), last).sentence.startswith((says, f"The {says}"))


def test_what_saving_again_resumes_can_be_saved_again():
    paused = settings(paused="authentication")
    again = auto_words(paused, customer(), None).again
    assert again
    assert again.rules() == TopUpRules(
        enabled=True,
        threshold_nanos=paused.threshold_nanos,
        amount_cents=paused.amount_cents,
        month_cents_max=paused.month_cents_max,
    )
    # a card that is declined again and again is not to be tried by a click
    assert auto_words(settings(paused="declined"), customer(), None).again is None


def test_the_form_shows_what_is_set_or_what_was_typed():
    assert AutoForm.shown(None, None) == AutoForm()
    assert AutoForm.shown(settings(), None) == AutoForm("5.01", "25", "1000", "yes")
    typed = AutoForm("much", "25", "100")
    refused = RefusedForm("auto", BadRequest("no"), typed)
    assert AutoForm.shown(settings(), refused) is typed
    assert AutoForm.shown(None, RefusedForm("buy", BadRequest("no"), None)) == AutoForm()


@pytest.mark.parametrize(
    ("form", "blamed"),
    [
        (AutoForm("much"), "threshold"),
        (AutoForm("5", "2.50"), "amount"),
        (AutoForm("5", "25", "-1"), "month"),
    ],
)
def test_what_is_no_amount_is_refused_beside_its_field(form: AutoForm, blamed: str):
    with pytest.raises(BadRequest) as refused:
        form.rules()
    assert refused.value.param == blamed
