"""Find the first world that catches each deliberate mistake: what stands in `SEEDS` and in docs/world.md.

    python -m tests.world.first_seeds                    # all of them, some minutes
    python -m tests.world.first_seeds no_deduplication   # this one

Run it where a test says that a mistake is not found in its world any more: a change of the programs changes
what becomes of a seed.
"""

import sys
from itertools import count

import pytest

from fleet.world import campaign
from tests.world.wrong_variants import SEEDS, VARIANTS


def first_seed(name: str) -> int:
    """The first world, counted from 0, in which this mistake breaks an invariant."""
    with pytest.MonkeyPatch.context() as patch:
        VARIANTS[name](patch)
        return next(seed for seed in count() if campaign.run([seed]).violations)


if __name__ == "__main__":
    for name in sys.argv[1:] or VARIANTS:
        found, known = first_seed(name), SEEDS.get(name)
        print(f'    "{name}": {found},' + ("" if found == known else f"  # was {known}"), flush=True)
