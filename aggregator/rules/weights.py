"""How much each device counts: its own number, up to a multiple of the round's median."""

from collections.abc import Sequence
from statistics import median_low


def capped(samples: Sequence[int], max_weight: float) -> list[float]:
    """Each n_k, but none above `max_weight` times their median (the lower one of an even number).

    At least half of the numbers are not below that median M, so what one of n can have of the sum is less
    than max_weight · M / (n/2 · M) = 2 · max_weight / n, whatever it claims. `max_weight` 0: nothing is
    capped.
    """
    if not samples or max_weight == 0:
        return [float(n) for n in samples]
    most = max_weight * median_low(samples)
    return [float(min(n, most)) for n in samples]
