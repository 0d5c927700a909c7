"""Shamir's secret sharing of 32 bytes.

Shamir 1979, "How to share a secret", CACM 22(11), https://doi.org/10.1145/359168.359176, in the field of the
whole numbers modulo 2^256 + 297, the smallest prime above 2^256. Any `threshold` shares give the secret, and
fewer give nothing. Every share has 33 bytes.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33
RANDOM_BYTES = 48
"""Random bytes of one coefficient: modulo the prime they differ from uniform by less than 2⁻¹²⁷."""


def split(secret: bytes, threshold: int, points: Sequence[int], random: bytes) -> list[bytes]:
    """Make one share for each point.

    Args:
        secret: 32 bytes.
        threshold: how many shares give the secret.
        points: where the polynomial is evaluated: different, and not zero.
        random: `RANDOM_BYTES` for each of the `threshold - 1` other coefficients.

    Raises:
        ValueError: another length, a point twice or at zero, or fewer points than the threshold.
    """
    if len(secret) != SECRET_BYTES or len(random) != (threshold - 1) * RANDOM_BYTES:
        raise ValueError(f"{len(secret)} bytes of a secret and {len(random)} random ones")
    if not 1 <= threshold <= len(points) or len(set(points)) != len(points) or min(points) < 1:
        raise ValueError(f"{threshold} of {len(points)} shares at different points above zero cannot be")
    drawn = [random[at : at + RANDOM_BYTES] for at in range(0, len(random), RANDOM_BYTES)]
    coefficients = [int.from_bytes(each, "big") % PRIME for each in drawn]
    first = int.from_bytes(secret, "big")
    return [_value(first, coefficients, x).to_bytes(SHARE_BYTES, "big") for x in points]


def joined(shares: Mapping[int, bytes]) -> bytes | None:
    """The secret of shares by their points: all of them count.

    None: no `split` has made these shares. Shares of different secrets, or too few, give another secret.
    """
    points = tuple(sorted(shares))
    values = [int.from_bytes(shares[x], "big") for x in points]
    if any(len(shares[x]) != SHARE_BYTES for x in points) or any(value >= PRIME for value in values):
        return None
    secret = sum(w * y for w, y in zip(_weights(points), values, strict=True)) % PRIME
    return secret.to_bytes(SECRET_BYTES, "big") if secret < 2 ** (8 * SECRET_BYTES) else None


def _value(first: int, coefficients: Sequence[int], x: int) -> int:
    """Horner's rule. A point has ten bits at most, so the number stays small enough to divide it once."""
    value = 0
    for coefficient in reversed(coefficients):
        value = (value + coefficient) * x
    return (value + first) % PRIME


@lru_cache(maxsize=1_024)
def _weights(points: tuple[int, ...]) -> list[int]:
    """Lagrange's weights of the values at these points, for the value at zero."""
    weights = []
    for x in points:
        above = below = 1
        for other in points:
            if other != x:
                above = above * other % PRIME
                below = below * (other - x) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return weights
