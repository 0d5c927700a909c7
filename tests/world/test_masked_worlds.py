"""Worlds of secure aggregation have no violation, and deliberate mistakes are found in them."""

from functools import partial

import pytest

from fleet.simulator.masked_worlds import Broken, ViolationError, World
from tests.world import wrong_masking as wrong

MISTAKES = {
    "a mask is used again after a restore": (
        partial(World, resume=wrong.reuse_after_restore),
        {Broken.MASK_ONCE},
        200,
    ),
    "a share of the key is given for an alive device": (
        partial(World, step=wrong.key_of_the_living),
        {Broken.SHARE},
        20,
    ),
    "an update is sent without its mask": (partial(World, step=wrong.no_mask), {Broken.PLAIN}, 20),
    "a message is sent before its state is saved": (
        partial(World, step=wrong.sent_before_saved),
        {Broken.DURABLE},
        20,
    ),
    "another update is masked": (partial(World, step=wrong.another_update), {Broken.SUM}, 20),
    "a restarted device never takes part again": (
        partial(World, resume=wrong.never_again),
        {Broken.ENDS},
        200,
    ),
}
"""Each with the invariants that it breaks, and within how many worlds."""


def test_no_violation() -> None:
    worlds = [World(seed) for seed in range(10)]
    for world in worlds:
        world.run()
    assert sum(world.sums for world in worlds) > 0
    assert sum(world.failures for world in worlds) > 0, "the faults do something"


def test_a_seed_decides_everything() -> None:
    runs = [World(7), World(7)]
    for world in runs:
        world.run()
    assert runs[0].masked == runs[1].masked


@pytest.mark.parametrize("name", MISTAKES)
def test_the_mistake_is_found(name: str) -> None:
    make, breaks, within = MISTAKES[name]
    for seed in range(within):
        try:
            make(seed).run()
        except ViolationError as violation:
            if violation.broken in breaks:
                return
    pytest.fail(f"{name}: not found in {within} worlds")
