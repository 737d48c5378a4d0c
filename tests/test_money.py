"""Nano-decimal, written so that nothing is lost."""

from datetime import date
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.money import Nanos, decimal, encode


class Answer(msgspec.Struct):
    cost_nanos: Nanos
    by_kind: dict[str, Nanos]
    day: date


@given(st.integers(-(2**53), 2**53))
def test_dollars_lose_nothing(nanos: int):
    assert Fraction(decimal(nanos)) * 10**9 == nanos


def test_nanos_are_strings_in_json_wherever_they_are():
    body = encode(Answer(Nanos(2**63), {"usage": Nanos(-40)}, date(2026, 1, 5)))
    assert (
        body == b'{"cost_nanos":"9223372036854775808","by_kind":{"usage":"-40"},"day":"2026-01-05"}'
    )


def test_what_has_no_form_in_json_is_our_mistake():
    with pytest.raises(NotImplementedError):
        encode(object())
