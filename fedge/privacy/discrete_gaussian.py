"""Exact samples of the discrete Gaussian N_Z(0, σ²): P(x) ∝ exp(-x² / 2σ²) on the whole numbers.

Canonne, Kamath and Steinke 2020, "The Discrete Gaussian for Differential Privacy", NeurIPS,
https://arxiv.org/abs/2004.00010, Algorithms 1 to 3. With t = floor(σ) + 1, a candidate is

    u uniform in 0…t-1, kept with probability e^(-u/t)                       (Algorithm 2)
    v geometric, P(v ≥ k) = e^(-k), so that y = u + t v has P(y) ∝ e^(-y/t)
    a sign, and -0 is refused
    kept with probability exp(-(y - σ²/t)² / 2σ²)                            (Algorithm 3)

Noise from rounded floating-point numbers has gaps that tell what it was added to: Mironov 2012, "On
Significance of the Least Significant Bits for Differential Privacy", CCS; Jin, McMurtry, Rubinstein and
Ohrimenko 2022, "Are We There Yet? Timing and Floating-Point Attacks on Differential Privacy Systems",
https://arxiv.org/abs/2112.05307. So no rounded number decides here:

* A candidate has four words of 64 random bits. A decision with probability p compares a word w, the first
  digits of a uniform number, with p: it says yes if w < floor(2⁶⁴ p), no if w is larger, and if they are
  equal (2⁻⁶⁴) the next digits decide.
* In float64 this is decided at once where w / 2⁶⁴ is further than `MARGIN` from the computed p. Otherwise
  `candidate` decides the whole candidate again from the same words, in whole numbers.

`MARGIN` covers all rounding errors. Let s = |y - σ²/t| / σ, so that p = exp(-s²/2). As σ²/t ≤ σ, both y and
σ²/t are at most σ (1 + s), and a relative error of δ in one of them changes p by at most
s (1 + s) exp(-s²/2) δ < 1.35 δ. About ten operations of 2⁻⁵³ each, and an exponential that is off by less
than 2⁻⁴⁵, stay below 2⁻⁴⁴. The result is the same on every machine, because the exact decision does not
depend on which candidates need it.

A sample takes the same steps whatever its size, and which candidates are refused does not depend on data.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fedge.privacy.exponential import leading
from fedge.privacy.randomness import Source, Words

MARGIN = 2.0**-40
WORDS = 4
"""The words of a candidate: for u and the sign, and for the three decisions."""
BITS = 64
LEAST, MOST = Fraction(1, 2**40), Fraction(2**80)
"""The range of σ²: with the largest, |x| < 2⁴⁷."""
BATCH = 1 << 18
"""The most candidates at a time."""

THRESHOLDS = np.array([leading(Fraction(k), BITS) for k in range(44, 0, -1)], np.uint64)
"""floor(2⁶⁴ e⁻ᵏ) for k = 44…1, in ascending order; the next one is 0."""


def sample(variance: Fraction, count: int, source: Source) -> NDArray[np.int64]:
    """`count` independent samples of N_Z(0, σ²), of shape (count,).

    The same source gives the same samples, and the first ones of more.

    Args:
        variance: σ², exactly; 2⁻⁴⁰ ≤ σ² ≤ 2⁸⁰.
        count: 0 or more.
        source: secret random bits; 32 bytes a candidate, and about 2.2 candidates a sample.

    Raises:
        ValueError: σ² is not in this range, or the count is negative.
    """
    if not LEAST <= variance <= MOST:
        raise ValueError(f"the variance of the noise is {float(variance):g}, expected 2^-40 to 2^80")
    if count < 0:
        raise ValueError(f"{count} samples, expected 0 or more")
    found = np.empty(count, np.int64)
    done = 0
    while done < count:
        batch = min(BATCH, 2 * (count - done) + (count - done) // 2 + 16)
        kept = _batch(variance, source.words(WORDS * batch).reshape(batch, WORDS), source)[: count - done]
        found[done : done + len(kept)] = kept
        done += len(kept)
    return found


def candidate(variance: Fraction, words: Sequence[int], source: Source) -> int | None:
    """The sample that these words make, or None: they make none. Whole numbers alone decide.

    This is the obvious way to what `sample` computes for many candidates at once.

    Args:
        variance: σ².
        words: four words of 64 random bits.
        source: of further digits, which are needed with a probability of 2⁻⁶⁴ a decision.
    """
    t = _scale(variance)
    u = words[0] & _mask(t)
    if u >= t or not _bernoulli(Fraction(u, t), words[1], source):
        return None
    v = 0
    digits = _Digits(words[2], source)
    while digits.below_exp(Fraction(v + 1)):
        v += 1
    y, negative = u + t * v, words[0] >> (BITS - 1)
    if negative and y == 0:
        return None
    if not _bernoulli((y - variance / t) ** 2 / (2 * variance), words[3], source):
        return None
    return -y if negative else y


class _Digits:
    """A uniform number in [0, 1), of which as many binary digits are drawn as decisions need."""

    def __init__(self, word: int, source: Source) -> None:
        self._first, self._bits, self._source = word, BITS, source

    def below_exp(self, g: Fraction) -> bool:
        """Whether it is smaller than e⁻ᵍ."""
        if g == 0:
            return True
        while (digits := leading(g, self._bits)) == self._first:
            self._first = (self._first << BITS) | self._source.spare()
            self._bits += BITS
        return self._first < digits


def _bernoulli(g: Fraction, word: int, source: Source) -> bool:
    """True with the probability e⁻ᵍ (Algorithm 1)."""
    return _Digits(word, source).below_exp(g)


def _scale(variance: Fraction) -> int:
    """t = floor(σ) + 1."""
    return math.isqrt(variance.numerator // variance.denominator) + 1


def _mask(t: int) -> int:
    return (1 << (t - 1).bit_length()) - 1


def _batch(variance: Fraction, words: Words, source: Source) -> NDArray[np.int64]:
    """The samples that these candidates (n, 4) make, in their order."""
    t = _scale(variance)
    u = (words[:, 0] & np.uint64(_mask(t))).astype(np.int64)
    places = np.flatnonzero(u < t)
    kept, unclear = _decide(u[places] / t, words[places, 1])
    open_ = [places[unclear]]
    places = places[kept]

    v = len(THRESHOLDS) - np.searchsorted(THRESHOLDS, words[places, 2], side="right")
    at = words[places, 2]
    # A word that equals a threshold has the same first digits; 0 may lie below any of those that follow.
    unclear = (at == 0) | (THRESHOLDS[len(THRESHOLDS) - v - 1] == at)
    open_.append(places[unclear])
    places, v = places[~unclear], v[~unclear]

    y = u[places] + t * v
    negative = (words[places, 0] >> np.uint64(BITS - 1)).astype(bool)
    signed = ~(negative & (y == 0))
    places, y, negative = places[signed], y[signed], negative[signed]
    sigma = math.sqrt(variance)
    gaps = ((y - float(variance / t)) / sigma) ** 2 / 2
    kept, unclear = _decide(gaps, words[places, 3])
    open_.append(places[unclear])

    values = np.where(negative, -y, y)[kept]
    return _with_exact(variance, words, source, places[kept], values, np.concatenate(open_))


def _with_exact(
    variance: Fraction,
    words: Words,
    source: Source,
    places: NDArray[np.intp],
    values: NDArray[np.int64],
    unclear: NDArray[np.intp],
) -> NDArray[np.int64]:
    """The values at their places, and those of the candidates that only whole numbers decide."""
    if not len(unclear):
        return values
    found = {int(place): candidate(variance, words[place].tolist(), source) for place in np.sort(unclear)}
    made = {place: value for place, value in found.items() if value is not None}
    everywhere = np.concatenate([places, np.fromiter(made, np.intp, len(made))])
    all_values = np.concatenate([values, np.fromiter(made.values(), np.int64, len(made))])
    return all_values[np.argsort(everywhere)]


def _decide(g: NDArray[np.float64], words: Words) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which are kept with the probability e⁻ᵍ, and which of the decisions float64 leaves unclear."""
    below = np.exp(-g) - words * 2.0**-BITS
    return below > MARGIN, np.abs(below) <= MARGIN
