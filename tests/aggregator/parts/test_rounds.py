"""Rounds of a federation whose rule, server optimizer, codec and local algorithm come from outside."""

from pathlib import Path

import numpy as np
import pytest

from aggregator.aggregation.replay import replay
from aggregator.aggregation.rollback import Rollback
from aggregator.aggregation.server_state import pack as pack_state
from aggregator.aggregation.server_state import unpack as unpack_state
from aggregator.ledger.layout import MEASURES
from fedge.errors import DamagedState, DataError
from fedge.wire.freshness import RoundId
from tests.aggregator.parts.lab import ALL, DEVICES, SEED, Lab, by_hand, told
from tests.aggregator.toys import Heavy, HeavyOptions


def test_each_part_does_its_own_in_each_round(lab: Lab) -> None:
    lab.survey()
    first = lab.weights(RoundId(1, 0))
    assert not lab.control(RoundId(1, 0)).any(), "the first model announces zeros"
    lab.train(3)
    for number in (1, 2, 3):
        here = RoundId(1, number)
        w, v = by_hand(first, range(1, number + 1))
        assert lab.weights(here).tobytes() == w.tobytes()
        control = np.median([told(number, device, "control") for device in DEVICES], axis=0) + 0.25
        assert lab.control(here).tobytes() == control.astype(np.float32).tobytes()
        saved = lab.ledger.state_of(here)
        assert saved is not None
        assert unpack_state(saved[0])["v"].tobytes() == v.tobytes()
        assert unpack_state(saved[0])["steps"] == number
        assert lab.ledger.rule(here) == "median/1"


def test_a_restart_in_between_changes_no_bit(lab: Lab, tmp_path: Path) -> None:
    lab.survey()
    lab.train(3)
    other = Lab(tmp_path / "other")
    other.survey()
    for _ in range(3):
        other.start(ALL)
        other.send(DEVICES[0], other.update(DEVICES[0]))
        other.start(ALL)
        for device in DEVICES[1:]:
            other.send(device, other.update(device))
        other.finish()
    assert lab.weights(RoundId(1, 3)).tobytes() == other.weights(RoundId(1, 3)).tobytes()
    other.ledger.close()


def test_each_round_is_computed_again_by_its_own_parts_whatever_the_settings_are_now(lab: Lab) -> None:
    lab.survey()
    lab.train(2)
    lab.start({**ALL, "rule": {"name": "mean"}, "server": {"name": "toy-heavy", "beta": 0.125}})
    lab.train(1)
    first = lab.weights(RoundId(1, 0))
    before, _ = by_hand(first, (1, 2))
    sent = [before.astype(np.float64) + told(3, device) for device in DEVICES]
    assert np.allclose(lab.weights(RoundId(1, 3)), np.mean(sent, axis=0), atol=1e-6), (
        "another optimizer, or the same with other options, begins at its init"
    )
    for number in range(4):
        again = replay(lab.path, number, SEED)
        assert again.same, number
    assert [lab.ledger.rule(RoundId(1, n)) for n in (1, 2, 3)] == ["median/1", "median/1", "mean/2"]


def test_a_round_whose_parts_are_not_here_says_so(lab: Lab) -> None:
    lab.survey()
    lab.train(1)
    for name in ("toy-median", "toy-heavy"):
        with lab.ledger.transaction():
            lab.ledger._run("UPDATE rounds SET parts = replace(parts, ?, 'gone')", name)
        with pytest.raises(DataError, match="extensions"):
            replay(lab.path, 1, SEED)
        with lab.ledger.transaction():
            lab.ledger._run("UPDATE rounds SET parts = replace(parts, 'gone', ?)", name)
    assert replay(lab.path, 1, SEED).same


def test_a_generation_that_goes_back_begins_at_init(lab: Lab) -> None:
    lab.survey()
    lab.train(3)
    source = lab.weights(RoundId(1, 2))
    lab.start(ALL, Rollback(round=2), generation=2)
    assert lab.weights(RoundId(2, 0)).tobytes() == source.tobytes()
    assert not lab.control(RoundId(2, 0)).any()
    assert replay(lab.path, 0, SEED).same
    lab.train(1)
    assert lab.weights(RoundId(2, 1)).tobytes() == by_hand(source, (1,))[0].tobytes()


def test_without_a_device_the_optimizer_goes_on_from_what_it_remembered(lab: Lab) -> None:
    lab.survey()
    lab.train(3)
    w = {number: lab.weights(RoundId(1, number)) for number in range(4)}
    left = DEVICES[:2]
    _, v1 = by_hand(w[0], (1,))
    lab.start(ALL, Rollback(round=1, without=(DEVICES[2],)), generation=2)
    m2, v2 = by_hand(w[1], (2,), left, v1)
    m3, _ = by_hand(w[2], (3,), left, v2)
    expected = (m2.astype(np.float64) + m3 - w[2]).astype(np.float32)
    assert lab.weights(RoundId(2, 0)).tobytes() == expected.tobytes()
    assert replay(lab.path, 0, SEED).same


def test_a_state_is_kept_as_long_as_the_model_that_it_belongs_to(lab: Lab) -> None:
    lab.survey()
    lab.train(4)
    with lab.ledger.transaction():
        lab.ledger.retain(RoundId(1, 4), 2, 2**40)
    there = [number for number in range(5) if lab.ledger.state_of(RoundId(1, number)) is not None]
    assert there == [2, 3, 4], "those of two rounds, and what they began with"
    assert replay(lab.path, 3, SEED).same


@pytest.mark.parametrize("damage", ["DELETE FROM states", "UPDATE states SET data = x'00'"])
def test_a_state_that_is_damaged_or_gone_is_said_to_be(lab: Lab, damage: str) -> None:
    lab.survey()
    lab.train(2)
    with lab.ledger.transaction():
        lab.ledger._run(damage)
    assert replay(lab.path, 1, SEED).same, "it began at init"
    with pytest.raises(DamagedState, match=r"after round 1\.1"):
        replay(lab.path, 2, SEED)


@pytest.mark.parametrize(("was", "becomes"), [("toy-heavy", "toy-heavx"), ("0.5", "0.4")])
def test_a_damaged_name_of_the_optimizer_does_not_make_it_begin_anew(
    lab: Lab, was: str, becomes: str
) -> None:
    lab.survey()
    lab.train(2)
    with lab.ledger.transaction():
        lab.ledger._run("UPDATE rounds SET parts = replace(parts, ?, ?) WHERE round = 1", was, becomes)
    with pytest.raises(DamagedState, match=r"after round 1\.1"):
        replay(lab.path, 2, SEED)


def test_a_state_comes_back_as_it_was() -> None:
    state = {
        "m": np.arange(6.0).reshape(2, 3),
        "n": np.array(3),
        "f": np.array([], np.float32),
        "b": np.ones(2) > 0,
    }
    found = unpack_state(pack_state(state))
    assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in found.items()} == {
        n: (a.dtype, a.shape, a.tobytes()) for n, a in state.items()
    }
    with pytest.raises(ValueError, match="Python objects"):
        pack_state({"o": np.array([None])})


def test_a_model_that_the_optimizer_spoils_is_nobodys_fault_among_the_devices(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.survey()
    monkeypatch.setattr(
        Heavy, "step", lambda _self, base, _a, state, _share: (np.full_like(base, np.nan), state)
    )
    for device in DEVICES:
        lab.send(device, lab.update(device))
    lab.finish()
    assert (lab.state.round, lab.state.attempt, lab.state.admitted) == (RoundId(1, 1), 1, 3)
    monkeypatch.undo()
    assert isinstance(Heavy(HeavyOptions(beta=0.5)), Heavy)


def test_without_a_device_another_optimizer_begins_at_init_as_it_did(lab: Lab) -> None:
    """The options changed between the rounds that are computed again: then it remembered nothing, either."""
    lab.survey()
    lab.train(2)
    lighter = {**ALL, "server": {"name": "toy-heavy", "beta": 0.25}}
    lab.start(lighter)
    lab.train(2)
    w = {number: lab.weights(RoundId(1, number)) for number in range(5)}
    left = DEVICES[:2]
    _, v1 = by_hand(w[0], (1,))
    lab.start(lighter, Rollback(round=1, without=(DEVICES[2],)), generation=2)
    m2, _ = by_hand(w[1], (2,), left, v1)
    m3, v3 = by_hand(w[2], (3,), left, beta=0.25)
    m4, _ = by_hand(w[3], (4,), left, v3, beta=0.25)
    expected = (m2.astype(np.float64) + m3 - w[2] + m4 - w[3]).astype(np.float32)
    assert lab.weights(RoundId(2, 0)).tobytes() == expected.tobytes()


def test_the_optimizer_goes_on_over_a_round_that_only_measured(lab: Lab) -> None:
    lab.survey()
    lab.train(2)
    measured, model = RoundId(1, 3), lab.ledger.model_of(RoundId(1, 2))
    assert model is not None
    with lab.ledger.transaction():
        lab.ledger._run("UPDATE rounds SET kind = ? WHERE round = 3", MEASURES)
        lab.ledger.close_round(measured, model, 0, 0, {}, 0.0, None, None, lab.settings.parts().text())
    lab.start(ALL)
    assert lab.state.round == RoundId(1, 4)
    lab.train(1)
    w, _ = by_hand(lab.weights(RoundId(1, 0)), (1, 2, 4))
    assert lab.weights(RoundId(1, 4)).tobytes() == w.tobytes()
    assert replay(lab.path, 4, SEED).same
