"""`check_personal` passes what is right, and names the law that each broken sample breaks."""

from typing import Any

import pytest

from fedge.algorithms.registry import PERSONAL
from fedge.testing import BrokenLaw, check_personal
from tests.fedge.testing import broken_personals as broken


@pytest.mark.parametrize("name", PERSONAL.names())
def test_the_built_in_ones_keep_the_laws(name: str) -> None:
    check_personal(PERSONAL.entries()[name])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("head", {"layers": 2}),
        ("head", {"names": "0"}),
        ("clusters", {"models": 9}),
        ("ditto", {"pull": 0.0}),
        ("finetune", {"epochs": 1, "rate": 2.0}),
    ],
    ids=str,
)
def test_options_keep_the_laws(name: str, options: dict[str, Any]) -> None:
    check_personal(PERSONAL.entries()[name], options)


def test_those_that_the_broken_samples_derive_from_keep_the_laws() -> None:
    check_personal(broken.Drawn)
    check_personal(broken.Half)


@pytest.mark.parametrize(
    ("law", "sample"),
    [
        ("chosen", broken.ChoosesPerhaps),
        ("models", broken.NoModels),
        ("models", broken.HalfAModel),
        ("models", broken.MoreModelsEachTime),
        ("shared", broken.SharesNothing),
        ("shared", broken.SharesPlaces),
        ("shared", broken.SharesALayerMask),
        ("shared", broken.SharesByChance),
        ("shared", broken.SharesAllAtFirst),
        ("shared", broken.CannotDivide),
        ("start", broken.StartsWithAPiece),
        ("start", broken.StartsInFloat64),
        ("start", broken.StartsWithInfinity),
        ("start", broken.StartsWithAVector),
        ("start", broken.ClusterBehindTheLast),
        ("start", broken.ClusterBetweenTwo),
        ("start", broken.NeedsAThirdModel),
        ("start", broken.NeedsAState),
        ("result", broken.Fails),
        ("result", broken.ReturnsAVector),
        ("result", broken.NeedsTraining),
        ("result", broken.NeedsAllSteps),
        ("weights", broken.Float64),
        ("weights", broken.APiece),
        ("weights", broken.NotFinite),
        ("weights", broken.NotFiniteAtAnEarlyEnd),
        ("finite", broken.SilentDivergence),
        ("finite", broken.AnotherErrorThanDiverged),
        ("state", broken.AnotherBeginning),
        ("state", broken.BeginsWithAList),
        ("state", broken.CannotBegin),
        ("state", broken.StateNotFinite),
        ("state", broken.StateOfObjects),
        ("state", broken.NoState),
        ("arguments", broken.StartWritesToTheModel),
        ("arguments", broken.StartWritesToTheState),
        ("arguments", broken.WritesToTheStart),
        ("arguments", broken.WritesToTheTrained),
        ("arguments", broken.WritesToTheModel),
        ("arguments", broken.WritesToTheState),
        ("arguments", broken.WritesToTheRows),
        ("seeded", broken.StartsByChance),
        ("seeded", broken.StartsByTheGlobalSeed),
        ("seeded", broken.ShufflesByItself),
        ("seeded", broken.GlobalSeed),
        ("seeded", broken.StateByChance),
        ("hidden", broken.StartsWithTheLast),
        ("hidden", broken.RemembersByItself),
        ("asks", broken.AsksOnce),
        ("asks", broken.AsksNever),
        ("cancelled", broken.GoesOn),
        ("cancelled", broken.CatchesTheLimit),
        ("cancelled", broken.TellsAnotherEnd),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_each_breach_is_found(law: str, sample: Any) -> None:
    with pytest.raises(BrokenLaw) as caught:
        check_personal(sample)
    assert caught.value.law == law
