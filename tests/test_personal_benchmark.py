"""The benchmark's fleet learns what production's cores learn, to the bit, and its figures are theirs."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aggregator.ledger.layout import FILE as LEDGER
from benchmarks.personal_fleet import fleet_of, learn
from fedge import Algorithm, simulate
from fedge.storage.databases import open_read_only
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
    plans = [
        PLAN.model_copy(update={"personal": name, "compare": True}) for name in ("ditto", "finetune", None)
    ]
    found = learn(devices, plans[0], ROUNDS, SEED, plans[1:])
    for plan, beside in zip(plans[1:], found.beside, strict=True):
        alone = learn(devices, plan, ROUNDS, SEED).figures[-1]
        assert {d: figures(m) for d, m in beside.items()} == {d: figures(m) for d, m in alone.items()}
