"""Devices that cannot take part in a round: who has cause to decline, and when an operator begins anew."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.core.events import Failed
from agent.trainers.assignment import Assignment
from fedge.wire.freshness import Attempt, RoundId, round_of
from fedge.wire.messages.status import Decline
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from fleet.simulator.calm import Calm
from fleet.simulator.compositions import FEDAVG
from fleet.simulator.invariants import Invariant
from fleet.simulator.oracle.overflows import LARGE
from fleet.simulator.trainers import StandIn
from fleet.simulator.world import World
from tests.world.test_waits import Deadlines

HERE = RoundId(1, 2)
SEED = 1
"""A world with a quorum of two, no target, all devices in each cohort, none of them odd, and no liar."""


@pytest.mark.parametrize(
    ("weight", "reason", "attempt", "excused"),
    [
        (2 * LARGE, Reason.TRAINING_DIVERGED, 0, True),
        (-2 * LARGE, Reason.TRAINING_DIVERGED, 0, True),
        (LARGE / 2, Reason.TRAINING_DIVERGED, 0, False),
        (2 * LARGE, Reason.BAD_DATA, 0, False),
        (2 * LARGE, Reason.TRAINING_DIVERGED, 1, False),
    ],
)
def test_a_round_goes_without_who_cannot_train_from_its_model(
    tmp_path: Path, weight: float, reason: Reason, attempt: int, *, excused: bool
) -> None:
    rounds = Deadlines(tmp_path)
    rounds.book.closed[RoundId(1, 1)] = b"model"
    rounds.oracle.record.vectors[b"model"] = {"weights": [0.0, weight]}
    rounds.says("a", declined=Decline(generation=1, round=2, attempt=attempt, reason=reason))
    rounds.hears("a")
    rounds.comes("b")
    rounds.begins(HERE.round)
    rounds.closes(1.0)
    assert rounds.book.given_up[HERE] == ({"a"} if excused else set())


class _Failing:
    """Makes all devices send the same weights in round 1.1, and some decline round 1.2.

    Args:
        entry: each weight of the model of round 1.1; None: as the stand-ins make it.
        who: the numbers of the devices that decline.
    """

    def __init__(self, entry: float | None, who: range) -> None:
        self._entry, self._who, self._outcome = entry, who, StandIn.outcome

    def outcome(self, trainer: Any, job: Assignment) -> Any:
        """As `StandIn.outcome`."""
        here = round_of(job.manifest)
        if here == HERE and trainer._number in self._who:
            return Failed(here, Reason.TRAINING_DIVERGED, "the loss is nan")
        made = self._outcome(trainer, job)
        if isinstance(made, Update) and here == RoundId(1, 1) and self._entry is not None:
            return made.model_copy(update={"body": np.full(4, self._entry, "<f4").tobytes()})
        return made


def _world(monkeypatch: pytest.MonkeyPatch, entry: float | None, who: range) -> tuple[World, Any]:
    failing = _Failing(entry, who)
    monkeypatch.setattr(StandIn, "outcome", lambda trainer, job: failing.outcome(trainer, job))
    world = World(SEED, 5, 5, 0, learns=FEDAVG)
    return world, world.run()


def test_a_device_that_declines_without_cause_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    world, outcome = _world(monkeypatch, None, range(1))
    assert (world.terms.target, world.terms.fraction, world.terms.odd) == (None, 1.0, {})
    assert outcome.broken is Invariant.ALL_TAKE_PART
    assert "['d0']" in outcome.violation


def test_a_device_that_cannot_train_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    world, outcome = _world(monkeypatch, 10 * LARGE, range(1))
    assert outcome.violation is None
    part = world.machines.operator.book.part
    assert max(part).generation == 1
    assert "d0" not in part[RoundId(1, 2)]


def test_an_operator_replaces_a_model_from_which_too_few_can_train(monkeypatch: pytest.MonkeyPatch) -> None:
    world, outcome = _world(monkeypatch, 10 * LARGE, range(5))
    assert outcome.violation is None
    closed = world.machines.operator.book.closed
    assert {here.round for here in closed if here.generation == 1} == {0, 1}
    assert {here.round for here in closed if here.generation == 2} == set(range(7))


def test_no_operator_replaces_a_model_from_which_all_could_train(monkeypatch: pytest.MonkeyPatch) -> None:
    _, outcome = _world(monkeypatch, None, range(5))
    assert outcome.broken is Invariant.PROGRESS


def test_devices_that_have_seen_newer_rounds_cannot_take_part_in_an_older_one() -> None:
    """Those of an aggregator that gave way to one with an older copy of the ledger, as in world 20219."""
    world = World(SEED, 5, 5, 0, learns=FEDAVG)
    assert world.run().violation is None
    book, calm = world.machines.operator.book, Calm(world._scene, world.machines, world.terms)
    final = max(book.closed)
    world.machines.aggregator.done = False
    for here, short in [(final, False), (final._replace(round=final.round - 1), True)]:
        book.attempt = Attempt(here, 0)
        book.quorums[here, 0] = 2
        assert calm._too_few_can_take_part() is short
