"""`check_local` and `check_trainer` pass what is right, and name the law that each broken sample breaks."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agent.trainers.built_in import BuiltIn
from examples.extend import proximal
from examples.extend.trainer import BoldDriver
from fedge.algorithms.local.sgd import Sgd
from fedge.algorithms.registry import LOCAL
from fedge.algorithms.trainer import Job, Trained
from fedge.testing import BrokenLaw, check_local, check_trainer
from tests.fedge.testing.broken_locals import (
    AnotherBeginning,
    Asked,
    AsksOnce,
    CannotHandOn,
    CatchesTheLimit,
    Climbs,
    Drift,
    Fails,
    Float64,
    GivesUp,
    GlobalSeed,
    GoesOn,
    GoesOnForOneStep,
    HandsOnAPiece,
    HandsOnByItsOwnSeed,
    HandsOnFloat64,
    HandsOnInPlace,
    HandsOnNoise,
    HandsOnNothingFinite,
    HandsOnWhatItHasSeen,
    HasNothingToSend,
    LearnsNothing,
    ModelNotFinite,
    ModelOfAnotherShape,
    NeverHasEnough,
    NotFinite,
    Partial,
    RemembersByItself,
    SaysNothingOfItsEarlyEnd,
    SendsAnotherVector,
    SendsNothingElse,
    SendsTheWeights,
    ShufflesByItself,
    SilentDivergence,
    StateNotFinite,
    StateOfAnotherShape,
    TellsAllSteps,
    TellsAnotherLoss,
    WritesToTheState,
    WritesToTheWeights,
)


@pytest.mark.parametrize("name", LOCAL.names())
def test_the_built_in_ones_keep_the_laws(name: str) -> None:
    check_local(LOCAL.entries()[name])


@pytest.mark.parametrize("trainer", [BuiltIn, BoldDriver])
def test_trainers_keep_the_laws(trainer: Any) -> None:
    check_trainer(trainer)


def test_one_from_outside_keeps_the_laws() -> None:
    check_local(proximal.ENTRY, {"mu": 0.5})


def test_one_with_vectors_and_a_state_keeps_the_laws() -> None:
    check_local(Drift)


def test_one_that_ends_early_or_sends_other_weights_keeps_the_laws() -> None:
    check_local(Partial)
    check_local(SendsAnotherVector)


BREACHES = [
    ("result", Fails),
    ("vectors", Float64),
    ("vectors", ModelOfAnotherShape),
    ("finite", ModelNotFinite),
    ("finite", NotFinite),
    ("finite", SilentDivergence),
    ("learns", LearnsNothing),
    ("learns", Climbs),
    ("losses", TellsAnotherLoss),
    ("arguments", WritesToTheWeights),
    ("seeded", ShufflesByItself),
    ("seeded", GlobalSeed),
    ("hidden", RemembersByItself),
    ("asks", AsksOnce),
    ("cancelled", GoesOn),
    ("cancelled", CatchesTheLimit),
]


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        *BREACHES,
        ("names", SendsTheWeights),
        ("vectors", SendsNothingElse),
        ("arguments", WritesToTheState),
        ("state", StateOfAnotherShape),
        ("state", StateNotFinite),
        ("state", AnotherBeginning),
        ("partial", SaysNothingOfItsEarlyEnd),
        ("partial", NeverHasEnough),
        ("partial", GoesOnForOneStep),
        ("partial", TellsAllSteps),
        ("partial", GivesUp),
        ("finite", HasNothingToSend),
        ("handed_on", HandsOnFloat64),
        ("handed_on", HandsOnAPiece),
        ("handed_on", HandsOnNothingFinite),
        ("handed_on", HandsOnInPlace),
        ("handed_on", HandsOnWhatItHasSeen),
        ("handed_on", HandsOnByItsOwnSeed),
        ("handed_on", HandsOnNoise),
        ("handed_on", CannotHandOn),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_each_breach_of_a_local_algorithm_is_found(law: str, broken: Any) -> None:
    with pytest.raises(BrokenLaw) as caught:
        check_local(broken)
    assert caught.value.law == law


@pytest.mark.parametrize(("law", "broken"), BREACHES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_each_breach_of_a_trainer_is_found(law: str, broken: Any) -> None:
    class Trainer:
        def __init__(self) -> None:
            self.inner = broken()

        def work(self, job: Job, cancelled: Asked) -> Trained:
            trained: Trained = self.inner.run(job, cancelled)
            return trained

    with pytest.raises(BrokenLaw) as caught:
        check_trainer(Trainer)
    assert caught.value.law == law


def trains_with(state: Callable[[Any], Any]) -> Any:
    class Trainer:
        def work(self, job: Job, cancelled: Asked) -> Trained:
            return replace(Sgd().run(job, cancelled), state=state(job.state))

    return Trainer


def test_a_trainer_may_remember_something() -> None:
    check_trainer(trains_with(lambda state: {"rounds": state.get("rounds", np.zeros(1)) + 1}))


@pytest.mark.parametrize(
    "state",
    [
        lambda state: {"name": np.array(["pi"], object)},
        lambda state: {"rounds": np.array([np.nan])},
        lambda state: {"all": np.zeros(1 + len(state.get("all", ())))},
        lambda state: None,
    ],
    ids=["objects", "not finite", "grows", "nothing"],
)
def test_what_a_trainer_cannot_remember_is_found(state: Any) -> None:
    with pytest.raises(BrokenLaw) as caught:
        check_trainer(trains_with(state))
    assert caught.value.law == "state"


def test_a_trainer_that_fails_with_what_it_remembers_is_found() -> None:
    def once(state: Any) -> Any:
        assert not state
        return {"rounds": np.ones(1)}

    with pytest.raises(BrokenLaw) as caught:
        check_trainer(trains_with(once))
    assert caught.value.law == "result"
