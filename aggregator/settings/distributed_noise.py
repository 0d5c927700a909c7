"""The noise that devices share, from `[privacy]` and `[masking]`. Pure."""

from fractions import Fraction

from aggregator.settings.masking import MaskingSection
from aggregator.settings.privacy import PrivacySection
from fedge.masking.noise import NoisyLevels
from fedge.masking.ring import Ring
from fedge.privacy.mechanism import GRID_BITS, Grid


def colluders_of(privacy: PrivacySection, masking: MaskingSection) -> int:
    """c, the devices that may help the aggregator: as `[masking]` says, or a tenth of the largest cohort."""
    return privacy.cohort // 10 if masking.colluders is None else masking.colluders


def levels_of(privacy: PrivacySection, masking: MaskingSection, threshold: int, size: int) -> NoisyLevels:
    """The levels of a training: on the finest grid whose sums take no more bytes than those of the coarsest.

    Args:
        privacy: `[privacy]`.
        masking: `[masking]`.
        threshold: t, the fewest devices in a sum of the smallest cohort; larger cohorts have no smaller one.
        size: p, the number of weights.

    Raises:
        ValueError: no device's share is safe, or no level is wide enough.
    """

    def levels(bits: int) -> NoisyLevels:
        return NoisyLevels(
            Grid(privacy.clip, size, bits),
            Fraction(privacy.noise_multiplier),
            privacy.cohort,
            colluders_of(privacy, masking),
            privacy.rounds,
            threshold,
        )

    found = levels(GRID_BITS.start)
    width = Ring(found.value_bits, privacy.cohort).width
    for bits in GRID_BITS[1:]:
        try:
            finer = levels(bits)
        except ValueError:
            break
        if Ring(finer.value_bits, privacy.cohort).width > width:
            break
        found = finer
    return found
