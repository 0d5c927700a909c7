"""In simulated worlds the last model is measured, and the best one is there to be exported."""

from typing import Any

import pytest

from aggregator.core.progress import Best
from aggregator.ledger.writing import Ledger
from fedge.wire.freshness import RoundId
from fleet.simulator import campaign, machines
from fleet.simulator.compositions import FEDAVG
from fleet.simulator.faults import Fault
from fleet.simulator.invariants import Invariant
from fleet.simulator.world import Outcome, World

ROUNDS = 6


def lived(seed: int, *faults: Fault) -> tuple[World, Outcome]:
    """A world of six rounds of which the ledger keeps two; the third model is the best one."""
    with campaign.quiet():
        world = World(seed, 5, ROUNDS, prefix=0, learns=FEDAVG)
        world.schedule = faults
        return world, world.run()


@pytest.fixture(autouse=True)
def keeps_two_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    made = machines.federation_settings

    def federation(wanted: Any) -> Any:
        settings = made(wanted)
        return settings.model_copy(update={"state": settings.state.model_copy(update={"keep_rounds": 2})})

    monkeypatch.setattr(machines, "federation_settings", federation)


@pytest.mark.parametrize("kill_s", [None, 3.0, 9.0, 14.0])
def test_the_last_model_is_measured_and_the_best_stays_also_over_a_restart(kill_s: float | None) -> None:
    faults = [Fault(kill_s, "kill", -1, 1.0, 0)] if kill_s is not None else []
    world, outcome = lived(1, *faults)
    assert outcome.violation is None, outcome.violation
    book = world.machines.operator.book
    assert book.measured == {RoundId(1, ROUNDS + 1)}
    assert book.closed[RoundId(1, ROUNDS + 1)] == book.closed[RoundId(1, ROUNDS)]
    assert book.best[1][0] == RoundId(1, 2), "round 3 told the lowest loss, of the model that it began from"
    assert world.machines.aggregator.runtime is not None
    best = world.machines.aggregator.runtime.now().state.progress.best
    assert best == Best(2, book.best[1][1]), "the programs and the oracle agree"


def test_a_ledger_that_frees_the_best_model_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    retain = Ledger.retain

    def forgetful(self: Ledger, newest: RoundId, rounds: int, size: int, _best: Any, behind: int) -> None:
        retain(self, newest, rounds, size, None, behind)

    monkeypatch.setattr(Ledger, "retain", forgetful)
    _, outcome = lived(1)
    assert outcome.broken is Invariant.BEST_MODEL_KEPT
    assert "1.2" in str(outcome.violation)
