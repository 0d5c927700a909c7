"""What goes wrong in a part from outside, and whose fault it is."""

import os
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.core.parts import PartError
from aggregator.ledger.reading import read_only
from aggregator.shell.closer import Cancelled, close
from fedge.algorithms.protocols import Combined, State
from fedge.errors import ProtocolError
from fedge.wire.freshness import RoundId
from tests.aggregator.parts.lab import ALL, DEVICES, Lab, P, by_hand, half
from tests.aggregator.toys import Halves, Heavy, Median


def _raises(*_: object) -> Any:
    raise ZeroDivisionError("a mistake of its author")


def _ends(*_: object) -> Any:
    raise SystemExit(0)


def _error_of_ours(*_: object) -> Any:
    raise ProtocolError("a mistake of its author")


def _rule_that_writes(_self: Median, _updates: object, base: np.ndarray, _state: State) -> Combined:
    base += 1
    return Combined(base)


def _optimizer_that_writes(_self: Heavy, _base: object, aggregate: np.ndarray, state: Any) -> Any:
    aggregate += 1
    return aggregate, state


def _holds_objects(_self: Heavy, base: np.ndarray, *_: object) -> Any:
    return base, {"v": np.array([None])}


NONE = np.zeros(P, np.float32)
FAULTS: dict[str, tuple[type, str, Any]] = {
    "a rule that raises": (Median, "aggregate", _raises),
    "a rule that ends the program": (Median, "aggregate", _ends),
    "a rule that raises an error of ours": (Median, "aggregate", _error_of_ours),
    "a rule that writes to the base": (Median, "aggregate", _rule_that_writes),
    "a rule of another length": (Median, "aggregate", lambda *_: Combined(np.zeros(P + 1, np.float32))),
    "a rule of another type": (Median, "aggregate", lambda *_: Combined(np.zeros(P))),
    "a rule that hides numbers": (Median, "aggregate", lambda *_: Combined(np.ma.zeros(P, np.float32))),
    "a rule that makes nothing": (Median, "aggregate", lambda *_: None),
    "a rule that makes a bare vector": (Median, "aggregate", lambda *_: np.zeros(P, np.float32)),
    "a rule that counts a stranger": (Median, "aggregate", lambda *_: Combined(NONE, {"nobody": 1.0})),
    "a rule that counts too much": (Median, "aggregate", lambda *_: Combined(NONE, {"pi-0": 1.5})),
    "a rule that counts nonsense": (Median, "aggregate", lambda *_: Combined(NONE, {"pi-0": np.nan})),
    "a rule that keeps text": (Median, "aggregate", lambda *_: Combined(NONE, {}, {"v": np.array(["x"])})),
    "a rule that cannot begin": (Median, "init", _raises),
    "an optimizer that cannot begin": (Heavy, "init", _raises),
    "an optimizer that begins with text": (Heavy, "init", lambda *_: {"v": np.array(["x"])}),
    "an optimizer that raises": (Heavy, "step", _raises),
    "an optimizer that writes to what it is given": (Heavy, "step", _optimizer_that_writes),
    "an optimizer that forgets its state": (Heavy, "step", lambda _self, base, *_: base),
    "an optimizer of another type": (Heavy, "step", lambda _self, base, *_: (base.astype(float), {})),
    "an optimizer that keeps objects": (Heavy, "step", _holds_objects),
    "a codec that raises": (Halves, "decode", _raises),
    "a codec that cannot read it any more": (Halves, "decode", _error_of_ours),
    "a codec of another length": (Halves, "decode", lambda *_: np.zeros(P + 1, np.float32)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_part_that_fails_is_named_and_when_it_is_mended_nothing_is_lost(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The program ends as for a mistake in its settings: a restart would not help."""
    kind, method, broken = FAULTS[fault]
    lab.survey()
    lab.train(1)
    for device in DEVICES:
        lab.send(device, lab.update(device))
    monkeypatch.setattr(kind, method, broken)
    with pytest.raises(PartError) as failed:
        lab.finish()
    assert failed.value.exit_code == os.EX_CONFIG
    name = {Median: "median/1", Heavy: "toy-heavy", Halves: "toy-halves"}[kind]
    assert name in str(failed.value)
    assert "round 1.2" in str(failed.value)
    monkeypatch.undo()
    lab.start(ALL)
    assert lab.state.admitted == len(DEVICES)
    lab.finish()
    lab.train(1)
    expected = by_hand(lab.weights(RoundId(1, 0)), (1, 2, 3))[0]
    assert lab.weights(RoundId(1, 3)).tobytes() == expected.tobytes()


@pytest.mark.parametrize("catches", [False, True])
def test_what_goes_wrong_with_the_ledger_is_not_the_rules_fault(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, catches: bool
) -> None:
    def aggregate(_self: Median, updates: Any, base: np.ndarray, _state: State) -> Combined:
        with suppress(Exception) if catches else nullcontext():
            list(updates.lanes())
        return Combined(base)

    lab.survey()
    for device in DEVICES:
        lab.send(device, lab.update(device))
    monkeypatch.setattr(Median, "aggregate", aggregate)
    read = iter(range(100))

    def go_on() -> None:
        if next(read) == len(DEVICES) + 1:  # the second that the rule reads
            raise Cancelled

    with pytest.raises(Cancelled):
        close(lambda: read_only(lab.path), lab.jobs[-1], go_on)


@pytest.mark.parametrize("what", [np.nan, 1e38])
def test_what_only_the_rule_spoils_is_nobodys_fault_among_the_devices(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, what: float
) -> None:
    lab.survey()
    monkeypatch.setattr(Median, "aggregate", lambda _self, _u, base, _s: Combined(np.full_like(base, what)))
    for device in DEVICES:
        lab.send(device, lab.update(device))
    lab.finish()
    assert (lab.state.round, lab.state.attempt, lab.state.admitted) == (RoundId(1, 1), 1, 3)


def test_a_rule_that_wants_more_than_one_update_still_finds_the_liar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def aggregate(_self: Median, updates: Any, base: np.ndarray, _state: State) -> Combined:
        if len(updates) < 2:
            raise ValueError("too few")
        vectors = [each.vector for each in updates.lanes()]
        worst = max(float(np.abs(vector - base).max()) for vector in vectors)
        return Combined(base if worst < 100 else np.full_like(base, np.nan))

    lab = Lab(tmp_path)
    lab.survey()
    monkeypatch.setattr(Median, "aggregate", aggregate)
    lab.send(DEVICES[0], lab.update(DEVICES[0], body=half(*[200.0] * P)))
    for device in DEVICES[1:]:
        lab.send(device, lab.update(device))
    lab.finish()
    counted = {device for device, answer in lab.state.answers.items() if answer.verdict == "admitted"}
    assert counted == set(DEVICES[1:])
    lab.ledger.close()
