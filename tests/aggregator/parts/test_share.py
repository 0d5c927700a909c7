"""N, the size of the fleet, and what a server optimizer and a local algorithm get of it."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from aggregator.aggregation.fleet_size import share_of
from aggregator.aggregation.replay import replay
from aggregator.aggregation.rollback import Rollback
from aggregator.core.parts import PartError, Parts
from fedge.wire.freshness import RoundId
from tests.aggregator.parts.lab import DEVICES, SEED, Lab, told
from tests.aggregator.stories import survey
from tests.aggregator.toys import Tracking

FOUR = (*DEVICES, "pi-3")
PARTS = {
    "rule": {"name": "toy-median"},
    "server": {"name": "toy-careful"},
    "plan": {"codec": "toy-halves", "local": "toy-tracking"},
}
LISTED = {**PARTS, "federation": {"name": "lab", "seed": SEED, "devices": [f"pi-{k}" for k in range(10)]}}


def expected(
    w: np.ndarray, control: np.ndarray, number: int, share: float, devices: Sequence[str] = DEVICES
) -> tuple[np.ndarray, np.ndarray]:
    """The weights w + share (median - w), and the control vector c + share · median, after one round."""
    sent = np.median([w.astype(np.float64) + told(number, device) for device in devices], axis=0)
    weights = w + share * (sent.astype(np.float32).astype(np.float64) - w)
    step = np.median([told(number, device, "control") for device in devices], axis=0).astype(np.float32)
    return weights.astype(np.float32), (control + share * step.astype(np.float64)).astype(np.float32)


def surveyed(folder: Path) -> Lab:
    """Four devices are surveyed, and rounds of training take three updates."""
    lab = Lab(folder, PARTS, FOUR)
    lab.survey()
    lab.rounds = {"target": 3}
    lab.start(PARTS)
    return lab


def fleet(lab: Lab, number: int, generation: int = 1) -> int | None:
    return Parts.read(lab.ledger.parts(RoundId(generation, number))).fleet


def follows(lab: Lab, number: int, share: float, generation: int = 1) -> None:
    here = RoundId(generation, number)
    before = here._replace(round=number - 1)
    w, control = expected(lab.weights(before), lab.control(before), number, share)
    assert lab.weights(here).tobytes() == w.tobytes()
    assert lab.control(here).tobytes() == control.tobytes()
    if generation == lab.state.round.generation:
        assert replay(lab.path, number, SEED).same


def test_three_of_the_four_that_were_surveyed_are_three_quarters(tmp_path: Path) -> None:
    lab = surveyed(tmp_path)
    assert fleet(lab, 0) is None, "a survey is of nobody's share"
    for number in (1, 2, 3):
        lab.start(PARTS)
        lab.train()
        assert fleet(lab, number) == 4
        follows(lab, number, 3 / 4)
    lab.ledger.close()


def test_a_device_that_was_only_refused_is_not_of_the_fleet(tmp_path: Path) -> None:
    lab = Lab(tmp_path, PARTS, FOUR)
    few = survey("pi-3", lab.state.round, base=lab.state.task.digest, samples=1)
    assert lab.send("pi-3", few).verdict == "refused"
    lab.devices = DEVICES
    lab.survey()
    lab.start(PARTS)
    lab.train()
    assert lab.ledger.answers(RoundId(1, 0))["pi-3"].verdict == "refused", "the ledger knows it"
    assert fleet(lab, 1) == 3
    lab.ledger.close()


def test_a_list_of_devices_is_the_fleet_and_its_number_stays_when_the_list_goes(tmp_path: Path) -> None:
    lab = Lab(tmp_path, LISTED, target=3)
    lab.survey()
    lab.train()
    lab.start(PARTS)
    lab.train()
    assert [fleet(lab, number) for number in (1, 2)] == [10, 10]
    follows(lab, 1, 3 / 10)
    follows(lab, 2, 3 / 10)
    lab.start(LISTED)
    lab.train()
    follows(lab, 3, 3 / 10)
    lab.ledger.close()


def test_a_list_that_comes_later_counts_from_then_on(tmp_path: Path) -> None:
    lab = Lab(tmp_path, PARTS, target=3)
    lab.survey()
    lab.train()
    lab.start(LISTED)
    lab.train()
    assert [fleet(lab, number) for number in (1, 2)] == [3, 10]
    follows(lab, 1, 1.0)
    follows(lab, 2, 3 / 10)
    lab.ledger.close()


def test_a_device_that_joins_counts_once_more_answer_than_were_known(tmp_path: Path) -> None:
    lab = Lab(tmp_path, PARTS)
    lab.survey()
    lab.train()
    lab.devices = FOUR
    lab.start(PARTS)
    for device in FOUR:
        message = lab.update("pi-0").model_copy(update={"device": device})
        assert lab.send(device, message).verdict == "admitted"
    lab.finish()
    lab.devices = DEVICES
    lab.start(PARTS)
    lab.train()
    assert [fleet(lab, number) for number in (1, 2, 3)] == [3, 4, 4]
    follows(lab, 3, 3 / 4)
    lab.ledger.close()


def test_a_generation_with_a_kept_model_has_the_fleet_of_the_one_it_came_from(tmp_path: Path) -> None:
    lab = surveyed(tmp_path)
    lab.train(2)
    lab.start(PARTS, Rollback(round=2), generation=2)
    lab.train(2)
    assert [fleet(lab, number, 2) for number in (0, 1, 2)] == [None, 4, 4]
    follows(lab, 1, 3 / 4, generation=2)
    lab.start(PARTS, Rollback(round=0), generation=3)
    lab.train()
    assert fleet(lab, 1, 3) == 4, "through the generation between"
    lab.ledger.close()


def test_going_back_to_the_survey_takes_the_devices_that_it_admitted(tmp_path: Path) -> None:
    lab = surveyed(tmp_path)
    lab.start(PARTS, Rollback(round=0), generation=2)
    lab.train()
    assert fleet(lab, 1, 2) == 4
    lab.ledger.close()


def test_a_round_without_a_device_is_of_fewer_of_the_same_fleet(tmp_path: Path) -> None:
    lab = surveyed(tmp_path)
    lab.train(2)
    w, _ = expected(lab.weights(RoundId(1, 1)), lab.control(RoundId(1, 1)), 2, 2 / 4, DEVICES[:2])
    lab.start(PARTS, Rollback(round=1, without=(DEVICES[2],)), generation=2)
    assert lab.weights(RoundId(2, 0)).tobytes() == w.tobytes()
    assert replay(lab.path, 0, SEED).same
    lab.ledger.close()


def test_a_round_of_an_older_program_is_of_the_whole_fleet(tmp_path: Path) -> None:
    """It had no number, and the next round counts what the ledger knows."""
    lab = surveyed(tmp_path)
    lab.train()
    with lab.ledger.transaction():
        parts = json.loads(lab.ledger.parts(RoundId(1, 1)) or "")
        assert parts.pop("fleet") == 4
        lab.ledger.save_parts(RoundId(1, 1), json.dumps(parts))
    assert not replay(lab.path, 1, SEED).same, "it was of three quarters"
    assert share_of(Parts.read(lab.ledger.parts(RoundId(1, 1))), DEVICES) == 1.0
    assert share_of(Parts.read(None), DEVICES) == 1.0
    lab.train()
    assert fleet(lab, 2) == 4
    lab.ledger.close()


@pytest.mark.parametrize("number", [0, -1, 2.5, "4", True])
def test_a_damaged_number_is_told(number: object) -> None:
    text = json.dumps({**json.loads(Parts().text()), "fleet": number})
    with pytest.raises(ValueError, match="number of devices"):
        Parts.read(text)


def test_the_number_comes_back_as_it_was() -> None:
    assert Parts.read(Parts(fleet=7).text()) == Parts(fleet=7)
    assert Parts.read(Parts().text()) == Parts()


@pytest.mark.parametrize(
    ("result", "told_of"),
    [
        (lambda aggregate: aggregate.astype(np.float64), "float64"),
        (lambda aggregate: aggregate[:-1], "shape"),
        (lambda aggregate: 1 / 0, "ZeroDivisionError"),
        (lambda aggregate: aggregate.__iadd__(1), "read-only"),
    ],
    ids=["type", "length", "raises", "writes"],
)
def test_a_local_algorithm_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: object, told_of: str
) -> None:
    lab = Lab(tmp_path, PARTS)
    lab.survey()
    monkeypatch.setattr(Tracking, "handed_on", lambda _self, _name, _before, a, _share: result(a))  # type: ignore[operator]
    with pytest.raises(PartError) as error:
        lab.train()
    for word in ("1.1", "toy-tracking", told_of, "[plan] local"):
        assert word in str(error.value)
    lab.ledger.close()


def test_a_vector_that_is_not_finite_makes_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(tmp_path, PARTS)
    lab.survey()
    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "handed_on", lambda _self, _n, before, _a, _s: np.full_like(before, np.inf))
        lab.train()
    assert (lab.state.round, lab.state.attempt, lab.state.admitted) == (RoundId(1, 1), 1, 3)
    lab.ledger.close()
