"""Powers of e in whole numbers, against the `decimal` module's."""

import math
from decimal import Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedge.privacy.exponential import bounds, leading, times_exp

PRECISE = Context(prec=200)


def exact(power: Fraction) -> Fraction:
    """e^power to about 190 digits."""
    quotient = PRECISE.divide(Decimal(power.numerator), Decimal(power.denominator))
    return Fraction(PRECISE.exp(quotient))


fractions = st.fractions(min_value=0, max_value=60, max_denominator=10**9)


@given(fractions, st.integers(1, 300))
def test_bounds_enclose_and_are_close(g: Fraction, bits: int) -> None:
    low, high = bounds(g, bits)
    wanted, slack = exact(-g) * 2**bits, Fraction(2**bits, 10**150)
    assert low - slack <= wanted <= high + slack
    assert high - low < 200


@given(fractions.filter(bool), st.sampled_from([64, 128, 192]))
def test_leading_digits_are_the_floor(g: Fraction, bits: int) -> None:
    assert leading(g, bits) == math.floor(exact(-g) * 2**bits)


@given(st.floats(-1e30, 1e30), st.fractions(min_value=-40, max_value=40, max_denominator=10**6))
def test_products_are_rounded_once(factor: float, power: Fraction) -> None:
    assert times_exp(factor, power) == (float(Fraction(factor) * exact(power)) if power else factor)


@pytest.mark.parametrize(("power", "found"), [(Fraction(800), math.inf), (Fraction(-800), 0.0)])
def test_beyond_the_range_of_floats(power: Fraction, found: float) -> None:
    assert times_exp(1.0, power) == found
