"""The benchmark's fleet learns what production's cores learn, to the bit, and its figures are theirs."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.ledger.layout import FILE as LEDGER
from benchmarks.personal import ALIKE, data_of, left_out, row
from benchmarks.personal import _left_out as means_left_out
from benchmarks.personal_fleet import fleet_of, learn
from benchmarks.plans import split
from fedge import Algorithm, simulate
from fedge.nn import first_weights
from fedge.storage.databases import open_read_only
from fleet.demo.run import PLAN as DEMO
from tests.fleet.library.fleets import CLASSIFIER, PLAN, fleet

ROUNDS, SEED = 3, 11


def told(ledger: Path) -> list[dict[str, dict[str, float]]]:
    """By round, by device, without what a clock or the wire says."""
    with closing(open_read_only(ledger)) as db:
        rows = db.execute("SELECT round, device, metrics FROM answers WHERE round > 0").fetchall()
    found: list[dict[str, dict[str, float]]] = [{} for _ in range(ROUNDS + 1)]
    for number, device, metrics in rows:
        found[number - 1][device] = figures(json.loads(metrics))
    return found


def figures(metrics: Any) -> dict[str, float]:
    apart = ("seconds", "sent_bytes", "received_bytes", "clipped", "held_unseen")
    return {name: value for name, value in metrics.items() if name not in apart}


@pytest.mark.parametrize("personal", ["none", "finetune", "ditto", "head", "clusters"])
def test_it_is_what_the_cores_do(personal: str, tmp_path: Path) -> None:
    devices = fleet()
    cores = simulate(
        CLASSIFIER,
        devices,
        Algorithm(personal=personal),
        plan=PLAN,
        rounds=ROUNDS,
        seed=SEED,
        settings={"personal": {"compare": True}},
        folder=tmp_path / "f",
    )
    named = None if personal == "none" else personal
    plan = PLAN.model_copy(update={"personal": named, "compare": True})
    ours = learn(fleet_of(CLASSIFIER, devices, holdout=0.2, gap=0), plan, ROUNDS, SEED)
    assert ours.network.spec == cores.model.task.network
    assert ours.models["weights"].tobytes() == cores.model.weights.tobytes()
    assert not ours.beside
    theirs = told(tmp_path / "f" / "state" / LEDGER)
    assert [{d: figures(m) for d, m in each.items()} for each in ours.figures] == theirs


def test_plans_beside_have_the_figures_of_their_own_federation() -> None:
    devices = fleet_of(CLASSIFIER, fleet(), holdout=0.2, gap=0)
    plans = [PLAN.model_copy(update={"personal": name, "compare": True}) for name in ALIKE]
    found = learn(devices, plans[0], ROUNDS, SEED, plans[1:])
    for plan, beside in zip(plans[1:], found.beside, strict=True):
        alone = learn(devices, plan, ROUNDS, SEED).figures[-1]
        assert {d: figures(m) for d, m in beside.items()} == {d: figures(m) for d, m in alone.items()}


def test_a_device_that_is_left_out_under_head_gets_layers_that_nobody_trained() -> None:
    """It has no last layers of its own; the announced ones keep the first weights of the generation."""
    others = {name: rows for name, rows in fleet().items() if name != "pi-3"}
    plan = PLAN.model_copy(update={"personal": "head"})
    found = learn(fleet_of(CLASSIFIER, others, holdout=0.2, gap=0), plan, ROUNDS, SEED)
    shared, first = found.models["weights"], first_weights(found.network.spec, SEED, 1)
    own = 6 * 2 + 2  # the last layer's weights and biases
    assert shared[-own:].tobytes() == first[-own:].tobytes()
    assert not np.any(shared[:-own] == first[:-own])


def test_a_device_that_is_left_out_answers_with_the_model_of_the_others() -> None:
    device, rounds, seed = "writer-03", 1, 4
    data = data_of("digits", seed)
    rows, right = left_out("digits", "none", device, rounds, seed)
    assert rows == len(data.devices[device][1]) // 5  # a fifth is held out, rounded down
    others = {name: each for name, each in data.devices.items() if name != device}
    found = learn(fleet_of(data.task, others, holdout=0.2, gap=0), DEMO, rounds, seed)
    X, y = (part[-rows:] for part in data.devices[device])
    outputs = found.network.predict(found.models["weights"], X)
    assert right == int((outputs.argmax(axis=1) == y).sum())


def test_the_digits_of_a_device_are_in_an_order_drawn_anew() -> None:
    """Where classes are used up, the last rows that are dealt are of others than the first."""
    from sklearn.datasets import load_digits  # takes seconds, which only this test shall pay

    labels = load_digits(return_X_y=True)[1]
    hands = split(labels, 20, 0.1, np.random.default_rng(1))
    y = [hand[1] for hand in data_of("digits", 1).devices.values()]
    for ours, hand in zip(y, hands, strict=True):
        assert sorted(ours) == sorted(labels[hand])
    assert any(list(ours) != list(labels[hand]) for ours, hand in zip(y, hands, strict=True))


def test_the_means_of_devices_left_out_are_over_the_seeds() -> None:
    found = [("a", 10, 5), ("b", 4, 4), ("a", 10, 10), ("b", 4, 2)]
    assert means_left_out(found, 2) == {"devices": 2, "seeds": 2, "mean": 0.75, "worst": 0.75}


def test_five_seeds_are_judged_by_their_mean() -> None:
    """By 2 rows in one seed of two and by 0 in the other: by one in the mean, which is not worse off."""
    one = {
        "rows": {"a": 10, "b": 10},
        "shared": {"a": 9, "b": 9},
        "used": {"a": 7, "b": 9},
        "alone": {"a": 9, "b": 9},
        "chose": {"a": 0, "b": 1},
        "rounds": 3,
        "bytes": 100.0,
    }
    other = {**one, "used": {"a": 9, "b": 9}}
    baseline = [{"a": 9.0, "b": 9.0}] * 2
    found = row([one, other], baseline)
    assert (found["worse_off"], found["worse_off_each_seed"]) == (0, [1, 0])
    assert row([one, one], baseline)["worse_off"] == 1
