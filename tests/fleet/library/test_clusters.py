"""`[personal] name = "clusters"` on real cores: two planted clusters are found."""

from pathlib import Path

import numpy as np
import pytest

from aggregator.aggregation.replay import replay
from aggregator.aggregation.updates import Updates
from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.reading import read_only
from fedge import Algorithm, simulate
from fedge.wire.freshness import RoundId
from tests.fleet.library.fleets import CLASSIFIER, PLAN, Data

ROUNDS, DEVICES = 8, 6
P = CLASSIFIER.network.schema.size


def planted(rows: int = 60) -> Data:
    """Devices of two kinds: one kind calls high what the other calls low, on inputs from one distribution."""
    found: Data = {}
    for number in range(DEVICES):
        X = np.random.default_rng(number).normal(size=(rows, 2))
        high = (X @ np.array([1.0, -2.0]) > 0) ^ (number % 2 == 1)
        found[f"pi-{number}"] = X, np.where(high, "high", "low")
    return found


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_two_planted_clusters_are_found(seed: int, tmp_path: Path) -> None:
    """One model can be right on at most about half of all rows, since the kinds contradict each other. Two
    can be right on all: they are on 9 of 10 held-out rows, and each kind of device has one to itself."""
    folder = tmp_path / "run"
    clusters = Algorithm(personal="clusters")
    found = simulate(CLASSIFIER, planted(), clusters, plan=PLAN, rounds=ROUNDS, seed=seed, folder=folder)
    one = simulate(CLASSIFIER, planted(), plan=PLAN, rounds=ROUNDS, seed=seed)
    assert one.history[-1].accuracy is not None
    assert one.history[-1].accuracy < 0.7
    assert found.history[-1].accuracy is not None
    assert found.history[-1].accuracy > 0.9
    assert found.history[ROUNDS].clusters == (DEVICES // 2, DEVICES // 2)
    ledger = folder / "state" / LEDGER
    with read_only(ledger) as reader:
        members = Updates(reader, RoundId(1, ROUNDS), P).clusters()
    even = {members[f"pi-{number}"] for number in range(0, DEVICES, 2)}
    odd = {members[f"pi-{number}"] for number in range(1, DEVICES, 2)}
    assert (len(even), len(odd)) == (1, 1)
    assert even != odd
    for number in range(ROUNDS + 1):
        assert replay(ledger, number, seed).same, number
