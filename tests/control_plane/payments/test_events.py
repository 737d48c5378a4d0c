"""Whom we believe, and what is kept of an event."""

import hmac
import json
from typing import Any

import pytest
import stripe

from gateway.control_plane.payments.events import (
    TOLERANCE_SECONDS,
    EventRefused,
    StripeEvent,
    parse,
    verify,
)
from gateway.control_plane.payments.stripe_api import API_VERSION
from gateway.fake_stripe.events import signature, thin
from gateway.identifiers import new_id

OLD, NEW = "whsec_old", "whsec_new"
NOW = 1_800_000_000
PAYMENT = new_id()


def snapshot(**changes: Any) -> dict[str, Any]:
    about = {
        "object": "payment_intent", "id": "pi_1", "customer": "cus_1", "amount": 12,
        "metadata": {"payment_id": PAYMENT},
    }  # fmt: skip
    return {
        "object": "event", "id": "evt_1", "type": "payment_intent.succeeded", "created": NOW,
        "livemode": False, "api_version": API_VERSION, "data": {"object": about}, **changes,
    }  # fmt: skip


def taken(said: Any, *, secret: str = NEW, at: int = NOW, **options: Any) -> StripeEvent:
    body = said if isinstance(said, str) else json.dumps(said)
    chosen: dict[str, Any] = {"live": False, "version": API_VERSION, "now": NOW, **options}
    return parse(body.encode(), signature(body, secret, timestamp=at), [NEW, OLD], **chosen)


def reason(said: Any, **options: Any) -> str:
    with pytest.raises(EventRefused) as refused:
        taken(said, **options)
    assert refused.value.status == 400
    return refused.value.reason


def test_only_ids_are_kept():
    event = taken(snapshot())
    assert event[:6] == ("evt_1", "payment_intent.succeeded", "pi_1", "pi_1", PAYMENT, "cus_1")
    assert event.created_at.timestamp() == NOW


@pytest.mark.parametrize(
    ("about", "object_id", "intent_id", "customer_id"),
    [
        ({"object": "refund", "id": "re_2", "payment_intent": "pi_2"}, "re_2", "pi_2", None),
        ({"object": "checkout.session", "id": "cs_1", "payment_intent": None}, "cs_1", None, None),
        ({"object": "refund", "id": "re_1", "payment_intent": "pi_2"}, "re_1", "pi_2", None),
        ({"object": "dispute", "id": "dp_1", "payment_intent": {"id": "pi"}}, "dp_1", "pi", None),
        ({"object": "customer", "id": "cus_9"}, "cus_9", None, "cus_9"),
        ({"object": "payment_method", "id": "pm_1", "customer": "cus_9"}, "pm_1", None, "cus_9"),
    ],
)  # fmt: skip
def test_what_an_event_is_about(about, object_id, intent_id, customer_id):
    event = taken(snapshot(data={"object": about}))
    assert (event.object_id, event.intent_id, event.customer_id) == (
        object_id,
        intent_id,
        customer_id,
    )


def test_a_thin_event_names_the_same():
    event = taken(thin(snapshot()))
    assert (event.id, event.type) == ("evt_1_thin", "payment_intent.succeeded")
    assert (event.object_id, event.intent_id) == ("pi_1", "pi_1")


def test_metadata_that_is_no_payment_of_ours():
    about = {"object": "payment_intent", "id": "pi_1", "metadata": {"payment_id": "'; DROP"}}
    assert taken(snapshot(data={"object": about})).payment_id is None


def test_either_secret_is_good_while_one_is_replaced():
    assert taken(snapshot(), secret=OLD) == taken(snapshot(), secret=NEW)


def test_a_header_with_several_signatures():
    body = json.dumps(snapshot())
    header = signature(body, "whsec_other", NEW, timestamp=NOW)
    assert parse(body.encode(), header, [NEW], live=False, version=API_VERSION, now=NOW)


def test_the_secret_of_another_endpoint():
    assert reason(snapshot(), secret="whsec_other") == "signature"


@pytest.mark.parametrize(
    "header",
    ["", "t=1", "v1=ab", "t=x,v1=ab", "t=1,t=2,v1=ab", "t=1,v0=ab", "t=-1,v1=ab", "t=²,v1=é", ","],
)
def test_a_header_that_is_none(header: str):
    with pytest.raises(EventRefused, match="signature"):
        verify(b"{}", header, [NEW], now=1)


def test_a_body_that_was_changed_by_one_byte():
    body = json.dumps(snapshot())
    header = signature(body, NEW, timestamp=NOW)
    with pytest.raises(EventRefused, match="signature"):
        verify(body.replace("12", "13").encode(), header, [NEW], now=NOW)
    verify(body.encode(), header, [NEW], now=NOW)


def test_the_package_signs_as_we_verify():
    header = stripe.WebhookSignature.generate_signature_header("{}", NEW, NOW)
    verify(b"{}", header, [NEW], now=NOW)


@pytest.mark.parametrize("apart", [-TOLERANCE_SECONDS - 1, TOLERANCE_SECONDS + 1])
def test_a_time_too_far_from_ours(apart: int):
    assert reason(snapshot(), at=NOW + apart) == "timestamp"
    taken(snapshot(), at=NOW + (apart - 1 if apart > 0 else apart + 1))


@pytest.mark.parametrize("live", [True, False])
def test_the_other_mode(live: bool):
    assert reason(snapshot(livemode=not live), live=live) == "mode"
    assert taken(snapshot(livemode=live), live=live)


def test_a_mode_that_is_not_said():
    assert reason(snapshot(livemode=None)) == "mode"


def test_another_account():
    assert reason(snapshot(account="acct_1")) == "account"
    assert reason(thin(snapshot()) | {"context": "acct_1"}) == "account"


@pytest.mark.parametrize("version", ["2026-10-28.dahlia", "2020-08-27", "", None, 7])
def test_the_api_of_another_train(version: Any):
    assert reason(snapshot(api_version=version)) == "version"


def test_a_later_api_of_our_train():
    train = API_VERSION.partition(".")[2]
    assert taken(snapshot(api_version=f"2027-01-01.{train}"))


@pytest.mark.parametrize(
    "said",
    [
        "", "{", "[]", "null", "7", '"event"', "{}", '{"object": "event"}', '{"object": "charge"}',
        snapshot(id=None), snapshot(id="evt 1"), snapshot(id="e" * 300), snapshot(type=7),
        snapshot(created="soon"), snapshot(created=10**40), snapshot(data={}),
        snapshot(data={"object": []}), snapshot(data={"object": {"object": "x"}}),
        snapshot(data={"object": {"object": "charge", "id": "ch_1", "payment_intent": 5}}),
        snapshot(data={"object": {"object": "charge", "id": "ch_1", "metadata": "x"}}),
        thin(snapshot()) | {"related_object": None}, thin(snapshot()) | {"created": "never"},
    ],
)  # fmt: skip
def test_malformed(said: Any):
    assert reason(said) == "malformed"


def test_bytes_that_are_no_text():
    body = b"\xff\xfe"
    mac = hmac.digest(NEW.encode(), f"{NOW}.".encode() + body, "sha256").hex()
    with pytest.raises(EventRefused, match="malformed"):
        parse(body, f"t={NOW},v1={mac}", [NEW], live=False, version=API_VERSION, now=NOW)


def test_a_body_that_is_nested_too_deep():
    assert reason("[" * 100_000) == "malformed"
