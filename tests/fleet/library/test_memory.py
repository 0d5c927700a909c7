"""What the engine `fast` keeps grows neither with the rounds nor with the devices chosen in them."""

import gc
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest

from fedge import NetworkSpec, Plan, Task, simulate
from fleet.library.fast.fleet import Fleet
from fleet.library.fast.memory import SharedArrays
from tests.fleet.library.fleets import fleet

UNITS = 2_000
LAYERS = [{"type": "dense", "units": UNITS}, {"type": "relu"}, {"type": "dense", "units": 2}]
TASK = Task(
    network=NetworkSpec.model_validate({"inputs": 2, "layers": LAYERS, "loss": "cross-entropy"}),
    features=("u", "v"),
    classes=("low", "high"),
)
VECTOR = 4 * (3 * UNITS + 2 * UNITS + 2)
"""Bytes of a vector of float32: 2 inputs and a bias for each unit, 2 outputs of each, 2 biases."""
PLAN = Plan(epochs=1, batch_size=0, learning_rate=0.05)
DEVICES, ROUNDS, SETTLED = 20, 40, 20
ALIKE = {name: (X[:50], y[:50]) for name, (X, y) in fleet(DEVICES).items()}
"""As many rows on each, because a network keeps its buffers for some numbers of rows."""
SOME: Mapping[str, Any] = {"rounds": {"fraction": 0.3, "quorum": 2, "target": None}}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rounds() -> None:
    """All devices take part in each round, so the arrays keep their size. A row of the history and its
    figures are below 2 KB; one vector that is kept of each round would be 40 KB a round."""
    held: list[int] = []

    def note(_: object) -> None:
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        simulate(
            TASK,
            dict(list(ALIKE.items())[:5]),
            plan=PLAN,
            rounds=ROUNDS,
            seed=1,
            progress=note,
            engine="fast",
            workers=1,
        )
    finally:
        tracemalloc.stop()
    rounds = ROUNDS - 5 - SETTLED
    grown = min(held[-5:]) - min(held[SETTLED : SETTLED + 5])  # the least of five: some objects come and go
    assert grown < rounds * 2_000 < rounds * VECTOR / 10


@pytest.mark.parametrize("count", [1, 2])
def test_the_arrays_are_as_large_as_the_largest_cohort(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    work, array = Fleet.work, SharedArrays.array
    cohorts: list[set[str]] = []
    rows: list[int] = []
    files: list[int] = []

    def noted(self: Fleet, *given: Any) -> Any:
        found = work(self, *given)
        if given[3]:  # the updates have vectors
            cohorts.append(set(given[4]))
            rows.append(len(self.updates))
        return found

    def made(self: SharedArrays, *given: Any) -> Any:
        found = array(self, *given)
        files.append(sum(path.exists() for path in self._files))
        return found

    monkeypatch.setattr(Fleet, "work", noted)
    monkeypatch.setattr(SharedArrays, "array", made)
    simulate(
        TASK,
        ALIKE,
        plan=PLAN,
        rounds=SETTLED,
        seed=1,
        settings=SOME,
        engine="fast",
        workers=count,
    )
    largest = max(map(len, cohorts))
    assert len(set().union(*cohorts)) > largest * 5 // 4, "many devices took part"
    assert max(rows) <= largest * 5 // 4  # an array that grows gets a quarter more
    assert max(files, default=0) <= 2  # the model and the updates; those that grew replace the former
