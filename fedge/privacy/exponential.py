"""e to a rational power, exactly: as bounds in whole numbers, as a first part of its digits, or rounded.

For rational g ≠ 0 the number e⁻ᵍ is irrational (Lindemann), so finitely many digits always decide whether it
is larger than a given fraction.
"""

from fractions import Fraction
from functools import lru_cache


def bounds(g: Fraction, bits: int) -> tuple[int, int]:
    """Whole numbers (low, high) with low ≤ 2^bits · e⁻ᵍ ≤ high.

    With g = q + f, q whole and f in [0, 1): the partial sums of the alternating series Σ (-f)^k / k! lie in
    turn above and below e⁻ᶠ, and e⁻ᵠ is the power of such bounds. Every division is rounded outwards.

    Args:
        g: not negative.
        bits: of the result. Rounding adds two units or a little more for each term of the series, of which
            there are fewer than 70 for 300 bits: so high - low is below 200 there.
    """
    q, f = divmod(g, 1)
    if q > bits:  # e⁻ᑫ < 2⁻ᵇⁱᵗˢ
        return 0, 1
    low, high = _series(f, bits)
    if q:
        unit_low, unit_high = _series(Fraction(1), bits)
        low, high = (
            low * _power(unit_low, q, bits, 0) >> bits,
            _up(high * _power(unit_high, q, bits, 1), bits),
        )
    return low, high


@lru_cache(maxsize=65_536)
def leading(g: Fraction, bits: int) -> int:
    """The whole number floor(2^bits · e⁻ᵍ), exactly, for g > 0."""
    precision = bits + 32
    while True:
        low, high = bounds(g, precision)
        if low >> (precision - bits) == high >> (precision - bits):
            return low >> (precision - bits)
        precision *= 2


def times_exp(factor: float, power: Fraction) -> float:
    """factor · e^power, rounded once to the nearest float64, on every machine; 0 and inf beyond its range."""
    if power == 0:
        return factor
    bits, exact = 128, Fraction(factor)
    while True:
        low, high = bounds(abs(power), bits)
        if low:
            ends = [exact * Fraction(each, 1 << bits) ** (1 if power < 0 else -1) for each in (low, high)]
            first, second = (_nearest(end) for end in ends)
            if first == second:
                return first
        bits *= 2


def _nearest(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _series(f: Fraction, bits: int) -> tuple[int, int]:
    """Bounds on 2^bits · e⁻ᶠ for f in [0, 1], from whole numbers alone."""
    n, d = f.numerator, f.denominator
    low, high = 0, 1 << bits
    term_low = term_high = 1 << bits
    total_low = total_high = 1 << bits
    k, sign = 0, 1
    while term_high > 1:
        k, sign = k + 1, -sign
        term_low, term_high = term_low * n // (d * k), -(-term_high * n // (d * k))
        if sign > 0:
            total_low, total_high = total_low + term_low, total_high + term_high
            high = min(high, total_high)
        else:
            total_low, total_high = total_low - term_high, total_high - term_low
            low = max(low, total_low)
    return low, high


def _power(value: int, exponent: int, bits: int, up: int) -> int:
    """value ** exponent in units of 2^-bits, rounded down, or up where `up` is 1."""
    found = 1 << bits
    for _ in range(exponent):
        found = _up(found * value, bits) if up else found * value >> bits
    return found


def _up(value: int, bits: int) -> int:
    return -(-value >> bits)
