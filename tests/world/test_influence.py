"""The oracle's check of a liar's influence on a round passes what is bounded, and finds what is not."""

from dataclasses import replace

import numpy as np
import pytest

from fedge.wire.freshness import RoundId
from fedge.wire.messages.update import Update
from fedge.wire.topics import Topics
from fleet.simulator.compositions import Composition
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.influence import require_influence
from fleet.simulator.oracle.record import Record
from fleet.simulator.round_twins import closed, combined
from fleet.simulator.updates import update

HERE = RoundId(1, 1)
BASE = [0.0, 0.0, 0.0, 0.0]
LIAR = "liar"


def updates(*, far: float = 1e6, steps: int = 2**62) -> list[Update]:
    """Of five honest devices, each about 2 long after 3 steps, and of a liar."""
    honest = [
        update(HERE, bytes(32), f"d{k}", 100, np.array([1, 1, 1, 1 + k / 10], np.float32), {}, steps=3)
        for k in range(5)
    ]
    told = np.full(4, far, np.float32)
    return [*honest, update(HERE, bytes(32), LIAR, 1_000_000, told, {}, steps=steps)]


def checked(with_: Composition, *, bounded: bool, far: float, steps: int) -> None:
    record = Record(Topics("world"), lambda: 0.0, composition=with_)
    record.liars.add(LIAR)
    made = closed(with_, updates(far=far, steps=steps), {"weights": BASE}, {}, fleet=6)
    weights = made.weights
    if not bounded:
        free = [
            replace(part, vector=[far] * 4, steps=part.told_steps) if part.device == LIAR else part
            for part in made.parts["weights"]
        ]
        weights = combined(with_, free, BASE)
    require_influence(record, HERE, BASE, made, weights)


@pytest.mark.parametrize(
    ("local", "far", "steps"),
    [("sgd", 1e6, 1), ("nova", 1.0, 2**62), ("nova", 1e6, 0)],
)
def test_a_liar_within_its_bounds_passes_and_one_beyond_them_does_not(
    local: str, far: float, steps: int
) -> None:
    with_ = Composition(local=local, drawn=True)
    checked(with_, bounded=True, far=far, steps=steps)
    with pytest.raises(Violation) as found:
        checked(with_, bounded=False, far=far, steps=steps)
    assert found.value.invariant is Invariant.INFLUENCE
