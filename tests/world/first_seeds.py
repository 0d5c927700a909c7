"""Find the first world that catches each deliberate mistake: what stands in `SEEDS` and in docs/world.md.

    python -m tests.world.first_seeds                    # all of them, some minutes
    python -m tests.world.first_seeds no_deduplication   # this one

Run it after a change of the programs, which changes what becomes of a seed: the tests look further than the
world named there, but that takes longer.
"""

import sys

from tests.world.wrong_variants import SEEDS, VARIANTS, first_seed

if __name__ == "__main__":
    for name in sys.argv[1:] or VARIANTS:
        found, known = first_seed(name), SEEDS.get(name)
        print(f'    "{name}": {found},' + ("" if found == known else f"  # was {known}"), flush=True)
