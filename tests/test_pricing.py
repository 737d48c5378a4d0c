"""A price is exact for every count of tokens, and never in a float."""

from fractions import Fraction
from math import ceil

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.pricing import cost_nanos
from gateway.snapshots import PriceSnapshot

STELLA = PriceSnapshot("p", 8_000_000)


def test_stella_costs_exactly_8_nano_dollars_a_token():
    for tokens in range(1, 8193):
        assert cost_nanos(STELLA, tokens) == 8 * tokens


@given(st.integers(0, 10**12), st.integers(0, 10**12))
@example(300_000, 2**53)
def test_any_price_is_rounded_up_once(tokens: int, price: int):
    exact = ceil(Fraction(tokens) * price / 1_000_000)
    assert cost_nanos(PriceSnapshot("p", price), tokens) == exact
