"""Look for the worlds in which a deliberate mistake shows, and measure how many of them there are.

    python -m tests.world.search                    # how often each mistake shows, some minutes
    python -m tests.world.search no_deduplication   # this one
    python -m tests.world.search --table            # the table of docs/world.md

No seed is recorded: what becomes of a seed changes with each change of the programs. That a mistake shows
within its bound does not, as long as the bound is a multiple of the usual distance between two worlds that
show it.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice

import pytest

from fleet.simulator import campaign
from fleet.simulator.world import Outcome, World
from tests.world.variant import Variant
from tests.world.wrong_variants import VARIANTS

SIZE = campaign.Size()
MEASURED = 8
"""In so many worlds a mistake is found when its distance is measured."""


def candidates(variant: Variant) -> Iterator[int]:
    """The worlds in which a mistake can show, as many as it must show within."""
    return islice(_can_show(variant), variant.within)


def _can_show(variant: Variant) -> Iterator[int]:
    seed = 0
    while True:
        if variant.needs <= traits(SIZE.world(seed)):
            yield seed
        seed += 1


def traits(world: World) -> set[str]:
    """What a world is like and what goes wrong in it: as it is drawn, so that no program changes that."""
    terms, with_ = world.terms, world.terms.composition
    drawn = {
        "a bad model": any(f.kind == "new generation" and f.amount % 4 == 3 for f in world.schedule),
        "a lying member": terms.lying and not terms.signed,
        "a low quorum": terms.quorum <= 2,
        "a low target": terms.target is not None and terms.target <= 2,
        "a long deadline": terms.deadline_s > 40.0,
        "a short deadline": terms.deadline_s <= 20.0,
        "a slow device": max(terms.training_s) > 20.0,
        "fast devices": max(terms.training_s) <= 20.0,
        "a broker that forgets": any(f.kind == "broker crash" and f.amount >= 12 for f in world.schedule),
        "a buffer": terms.staleness is not None,
        "a state": terms.stateful and not terms.real,
        "a composition": with_.drawn and not terms.real,
        "an adaptive server": with_.server in ("adam", "yogi", "adagrad"),
        "a server's state": with_.server not in ("average", "dyn"),
        "nova's steps": with_.local == "nova",
        "control variates": with_.local == "scaffold",
        "a share of the fleet": with_.stateful and terms.fraction < 1,
        "clusters": with_.clusters > 1 and not terms.real,
        "coded models": with_.model_codec != "float32",
        "key frames": with_.model_codec in ("int8", "int4"),
        "limits that change": terms.limits is not None,
        "personal models": with_.ditto and not terms.real,
        "a robust rule": bool(with_.robust) and not terms.real,
        "neighbours mixed": with_.robust.get("pre") == "nnm" and not terms.real,
        "a rule's state": with_.rule == "centered-clipping" and not terms.real,
        "uniform weights": with_.uniform and with_.drawn and not with_.robust,
    }
    return {fault.kind for fault in world.schedule} | {trait for trait, there in drawn.items() if there}


def found(variant: Variant, seeds: Iterable[int]) -> Iterator[Outcome]:
    """Those of the worlds in which this mistake, whose patch is made, breaks what it is to break."""
    with campaign.quiet():
        for seed in seeds:
            outcome = SIZE.world(seed).run()
            if outcome.broken in variant.breaks:
                yield outcome


def caught(variant: Variant, hint: int | None = None) -> Outcome | None:
    """The first world that finds this mistake, whose patch is made; None: none within the bound does.

    Args:
        variant: the mistake.
        hint: a world that found it lately, and is tried first. It only saves time.
    """
    first = [] if hint is None else [hint]
    return next(found(variant, first), None) or next(found(variant, candidates(variant)), None)


def table() -> str:
    """What docs/world.md tells of all mistakes."""
    lines = ["| mistake | the invariant that it breaks | within |", "|---|---|---|"]
    for variant in VARIANTS.values():
        breaks = " or ".join(sorted(f"`{invariant.name}`" for invariant in variant.breaks))
        needs = f" with {', '.join(sorted(variant.needs))}" if variant.needs else ""
        lines.append(f"| {variant.title} | {breaks} | {variant.within} worlds{needs} |")
    return "\n".join(lines)


def distance(variant: Variant) -> tuple[int, int]:
    """How many of the first worlds were looked into, and how many of these found the mistake.

    They are at most as many as its bound.
    """
    tried: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        variant.make(patch)
        times = sum(1 for _ in islice(found(variant, _noted(candidates(variant), tried)), MEASURED))
    return len(tried), times


def _noted(seeds: Iterable[int], tried: list[int]) -> Iterator[int]:
    for seed in seeds:
        tried.append(seed)
        yield seed


def main(names: list[str]) -> None:
    """Print a line for each mistake."""
    for name in names or VARIANTS:
        variant, began_s = VARIANTS[name], time.process_time()
        worlds, times = distance(variant)
        margin = f"{variant.within * times / worlds:.0f} times" if times else "never"
        seconds = time.process_time() - began_s
        print(
            f"{name}: {times} of {worlds} worlds, {margin} the bound of {variant.within}, {seconds:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:] == ["--table"]:
        print(table())
    else:
        main(sys.argv[1:])
