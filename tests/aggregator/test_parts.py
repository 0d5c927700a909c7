"""A federation whose rule, server optimizer, codec and local algorithm come from outside."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.aggregation.job import ClosingJob
from aggregator.aggregation.replay import replay
from aggregator.aggregation.rollback import Return, beginning_of, require_wishable
from aggregator.aggregation.server_state import pack as pack_state
from aggregator.aggregation.server_state import unpack as unpack_state
from aggregator.config import FederationSettings
from aggregator.core import events as on
from aggregator.core.admission import Admitted
from aggregator.core.parts import Part, PartError, Parts
from aggregator.core.presence import LeaderCheck
from aggregator.core.takeover import TakeUp
from aggregator.core.updates import _terms
from aggregator.core.usual import Usual
from aggregator.core.vectors import judge
from aggregator.core.workable import unworkable
from aggregator.ledger.layout import FILE, MEASURES
from aggregator.ledger.reading import read_only
from aggregator.shell.closer import Cancelled, close
from aggregator.shell.runtime import Runtime
from aggregator.shell.startup import open_ledger, take_up
from fedge.algorithms.codecs import float32
from fedge.algorithms.registry import registered
from fedge.data.moments import Moments
from fedge.errors import ConfigError, DamagedState, DataError, ProtocolError
from fedge.transport import MessageArrived
from fedge.transport.mqtt import MqttTransport
from fedge.wire.capabilities import can
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.receipt import Receipt
from fedge.wire.reasons import Reason, Rejection
from fedge.wire.topics import Topics
from tests.aggregator.stories import OURS, frames, status, survey, update
from tests.aggregator.toys import NAMES, TOYS, Halves, Heavy, HeavyOptions, Median

DEVICES = ("pi-0", "pi-1", "pi-2")
SEED = 5
P = 6
BETA = 0.5
ALL: Mapping[str, Any] = {
    "rule": {"name": "toy-median", "shift": 0.25},
    "server": {"name": "toy-heavy", "beta": BETA},
    "plan": {"codec": "toy-halves", "local": "toy-controlled"},
}


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    with registered(*TOYS):
        yield


def told(number: int, device: str, what: str = "change") -> np.ndarray:
    """What a device sends in a round: exact in two bytes."""
    seed = [number, DEVICES.index(device), len(what)]
    return np.random.default_rng(seed).integers(-64, 64, P).astype(np.float32) / 64


class Lab:
    """An aggregator at work, whose closer is called by hand."""

    def __init__(
        self,
        folder: Path,
        tables: Mapping[str, Any] = ALL,
        devices: Sequence[str] = DEVICES,
        **rounds: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.devices = devices
        self.folder, self.path, self.rounds = folder, folder / FILE, rounds
        self.ledger = open_ledger(self.path)
        self.jobs: list[ClosingJob] = []
        self.receipts: list[Receipt] = []
        self.start(tables)

    def settings_of(self, tables: Mapping[str, Any]) -> FederationSettings:
        return FederationSettings.model_validate(
            {
                "federation": {"name": "lab", "seed": SEED},
                "model": {"features": 2, "classes": ["a", "b"]},
                "rounds": {"quorum": len(DEVICES), **self.rounds},
                **tables,
            }
        )

    def start(self, tables: Mapping[str, Any], back: Return | None = None, generation: int = 0) -> None:
        self.settings = self.settings_of(tables)
        if back is not None:
            life = self.ledger.meta()
            assert life is not None
            require_wishable(self.settings, self.ledger, beginning_of(self.ledger, life, back), back)
        seen = TakeUp(LeaderCheck(0.0), generation=generation or None)
        state = take_up(self.settings, self.ledger, OURS, seen, back=back)
        link = MqttTransport(self.settings.broker, "aggregator", lambda _: None)
        link.reply = lambda said: self.receipts.append(unpack(said.payload, Receipt))  # type: ignore[method-assign]
        self.runtime = Runtime(
            self.settings, state, self.ledger, link, self.jobs.append, lambda _: None, now_s=lambda: 0.0
        )
        self.runtime.begin()
        self.runtime.turn([on.LinkUp(0.0), on.BlobsPublished(0.0, state.round, None)])
        able = status().model_copy(update={"can": tuple(sorted(can()))})
        for device in self.devices:
            self.runtime.turn([on.StatusSeen(0.0, device, able)])

    @property
    def state(self) -> Any:
        return self.runtime.now().state

    def send(self, device: str, message: Any) -> Receipt:
        (frame,) = frames(message)
        topic = Topics("lab").update(device)
        self.runtime.turn([MessageArrived(topic, pack(frame), False, None, 1, 1)])
        return self.receipts[-1]

    def finish(self) -> None:
        """The job that was given is done, and the next round is announced."""
        with read_only(self.path):
            self.runtime.turn([close(lambda: read_only(self.path), self.jobs[-1])])
        self.runtime.turn([on.BlobsPublished(0.0, self.state.round, None)])

    def survey(self) -> None:
        columns = Moments(np.full(2, 100.0), np.zeros(2), np.ones(2)).to_bytes()
        for device in self.devices:
            said = survey(device, self.state.round, base=self.state.task.digest, features=columns)
            assert self.send(device, said).verdict == "admitted"
        self.finish()

    def update(self, device: str, **changes: Any) -> Any:
        here = self.state.round
        usual = {
            "base": self.state.model.digest,
            "codec": "toy-halves",
            "kind": "delta",
            "samples": 20,
            "body": Halves().encode(told(here.round, device))[0],
            "vectors": {"control": Halves().encode(told(here.round, device, "control"))[0]},
        }
        return update(device, here, **{**usual, **changes})

    def train(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            for device in DEVICES:
                receipt = self.send(device, self.update(device))
                assert (receipt.verdict, receipt.detail) == ("admitted", "")
            self.finish()

    def model(self, here: RoundId) -> Model:
        digest = self.ledger.model_of(here)
        assert digest is not None
        return unpack(self.ledger.content(digest), Model, max_bytes=MAX_SIZE)

    def weights(self, here: RoundId) -> np.ndarray:
        return float32.decode(self.model(here).body, P)

    def control(self, here: RoundId) -> np.ndarray:
        vectors = self.model(here).vectors
        assert vectors is not None
        assert vectors.keys() == {"control"}
        return float32.decode(vectors["control"], P)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.ledger.close()


def by_hand(
    first: np.ndarray,
    rounds: Sequence[int],
    devices: Sequence[str] = DEVICES,
    v: np.ndarray | None = None,
    beta: float = BETA,
) -> tuple[np.ndarray, np.ndarray]:
    """The weights after rounds that begin with `first`, and what the optimizer remembers then."""
    w, v = first, np.zeros(P) if v is None else v
    for number in rounds:
        sent = [w.astype(np.float64) + told(number, device) for device in devices]
        v = beta * v + (np.median(sent, axis=0) + 0.25).astype(np.float32).astype(np.float64) - w
        w = (w + v).astype(np.float32)
    return w, v


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
    lab.start(ALL, Return(round=2), generation=2)
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
    lab.start(ALL, Return(round=1, without=(DEVICES[2],)), generation=2)
    m2, v2 = by_hand(w[1], (2,), left, v1)
    m3, _ = by_hand(w[2], (3,), left, v2)
    expected = (m2.astype(np.float64) + m3 - w[2]).astype(np.float32)
    assert lab.weights(RoundId(2, 0)).tobytes() == expected.tobytes()
    assert replay(lab.path, 0, SEED).same


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
    lab.start(lighter, Return(round=1, without=(DEVICES[2],)), generation=2)
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
    monkeypatch.setattr(Heavy, "step", lambda _self, base, _a, state: (np.full_like(base, np.nan), state))
    for device in DEVICES:
        lab.send(device, lab.update(device))
    lab.finish()
    assert (lab.state.round, lab.state.attempt, lab.state.admitted) == (RoundId(1, 1), 1, 3)
    monkeypatch.undo()
    assert isinstance(Heavy(HeavyOptions(beta=0.5)), Heavy)


def _raises(*_: object) -> Any:
    raise ZeroDivisionError("a mistake of its author")


def _ends(*_: object) -> Any:
    raise SystemExit(0)


def _error_of_ours(*_: object) -> Any:
    raise ProtocolError("a mistake of its author")


def _rule_that_writes(_self: Median, _updates: object, base: np.ndarray) -> np.ndarray:
    base += 1
    return base


def _optimizer_that_writes(_self: Heavy, _base: object, aggregate: np.ndarray, state: Any) -> Any:
    aggregate += 1
    return aggregate, state


def _holds_objects(_self: Heavy, base: np.ndarray, *_: object) -> Any:
    return base, {"v": np.array([None])}


FAULTS: dict[str, tuple[type, str, Any]] = {
    "a rule that raises": (Median, "aggregate", _raises),
    "a rule that ends the program": (Median, "aggregate", _ends),
    "a rule that raises an error of ours": (Median, "aggregate", _error_of_ours),
    "a rule that writes to the base": (Median, "aggregate", _rule_that_writes),
    "a rule of another length": (Median, "aggregate", lambda *_: np.zeros(P + 1, np.float32)),
    "a rule of another type": (Median, "aggregate", lambda *_: np.zeros(P)),
    "a rule that hides numbers": (Median, "aggregate", lambda *_: np.ma.zeros(P, np.float32)),
    "a rule that makes nothing": (Median, "aggregate", lambda *_: None),
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
    def aggregate(_self: Median, updates: Any, base: np.ndarray) -> np.ndarray:
        with suppress(Exception) if catches else nullcontext():
            list(updates.lanes())
        return base

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
    monkeypatch.setattr(Median, "aggregate", lambda _self, _u, base: np.full_like(base, what))
    for device in DEVICES:
        lab.send(device, lab.update(device))
    lab.finish()
    assert (lab.state.round, lab.state.attempt, lab.state.admitted) == (RoundId(1, 1), 1, 3)


def test_a_rule_that_wants_more_than_one_update_still_finds_the_liar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def aggregate(_self: Median, updates: Any, base: np.ndarray) -> np.ndarray:
        if len(updates) < 2:
            raise ValueError("too few")
        vectors = [each.vector for each in updates.lanes()]
        worst = max(float(np.abs(vector - base).max()) for vector in vectors)
        return base if worst < 100 else np.full_like(base, np.nan)

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


def half(*entries: float) -> bytes:
    return np.array(entries, "<f2").tobytes()


REFUSED: dict[str, tuple[dict[str, Any], Reason]] = {
    "weights where a change is wanted": ({"kind": "weights"}, Reason.WRONG_KIND),
    "another codec": ({"codec": "float32", "body": bytes(4 * P)}, Reason.WRONG_KIND),
    "no further vector": ({"vectors": None}, Reason.WRONG_KIND),
    "another further vector": ({"vectors": {"control": half(*[0] * P), "x": b""}}, Reason.WRONG_KIND),
    "a further vector by another name": ({"vectors": {"contro": half(*[0] * P)}}, Reason.WRONG_KIND),
    "a further vector that is not finite": (
        {"vectors": {"control": half(0, 0, 0, np.inf, 0, 0)}},
        Reason.NOT_FINITE,
    ),
    "a further vector that is too short": ({"vectors": {"control": half(0)}}, Reason.WRONG_LENGTH),
    "a further vector that is too long": ({"vectors": {"control": bytes(2 * P + 2)}}, Reason.WRONG_LENGTH),
    "what its codec dies of": ({"body": b"\xff\x7e" + bytes(2 * P - 2)}, Reason.MALFORMED),
    "what its codec makes another length of": ({"body": b"\xfe\x7e" + bytes(2 * P - 2)}, Reason.MALFORMED),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_update_that_is_not_what_the_plan_asks_for_is_refused(lab: Lab, name: str) -> None:
    lab.survey()
    changes, reason = REFUSED[name]
    receipt = lab.send(DEVICES[0], lab.update(DEVICES[0], **changes))
    assert (receipt.verdict, receipt.reason) == ("refused", reason)
    assert lab.send(DEVICES[1], lab.update(DEVICES[1])).verdict == "admitted"


def test_where_no_further_vector_is_asked_for_none_is_taken(tmp_path: Path) -> None:
    lab = Lab(tmp_path, {})
    lab.survey()
    body = float32.encode(np.ones(P, np.float32))
    more = lab.update(DEVICES[0], kind="weights", codec="float32", body=body)
    assert lab.send(DEVICES[0], more).reason is Reason.WRONG_KIND
    assert lab.model(RoundId(1, 0)).vectors is None
    lab.ledger.close()


def test_one_further_vector_counts_as_some_usual_ones_at_most(tmp_path: Path) -> None:
    """The rule sees it shortened, by the same bound as a difference from the model."""
    mean = {**ALL, "rule": {"name": "mean"}, "server": {"name": "average"}}
    names = [*(f"pi-{i}" for i in range(19)), "liar"]
    lab = Lab(tmp_path, mean, names)
    lab.survey()
    rng = np.random.default_rng(1)
    honest = [rng.normal(size=P).astype(np.float16) for _ in names[1:]]
    usual = sorted(np.linalg.norm(vector.astype(np.float64)) for vector in honest)[9]
    for device, vector in zip(names, [*honest, np.full(P, 60_000.0)], strict=True):
        changes = {"body": half(*[0.1] * P), "vectors": {"control": half(*vector)}}
        assert lab.send(device, update(device, lab.state.round, **{**changes, **_usual(lab)})).verdict
    lab.finish()
    others = np.mean(honest, axis=0, dtype=np.float64)
    pulled = np.linalg.norm(lab.control(RoundId(1, 1)) - others)
    assert pulled <= 2.5 * usual * 1.2 / 11 + np.linalg.norm(others) / 11 + 0.01
    assert replay(lab.path, 1, SEED).same, "and is shortened alike when it is computed again"
    lab.ledger.close()


def test_a_further_vector_is_not_longer_than_is_usual(lab: Lab) -> None:
    """One round tells what is usual, also after a restart; one liar does not."""
    lab.survey()
    long = {"control": half(*[60_000.0] * P)}
    receipt = lab.send(DEVICES[0], lab.update(DEVICES[0], vectors=long))
    assert receipt.verdict == "admitted", "nothing is usual yet"
    for device in DEVICES[1:]:
        lab.send(device, lab.update(device))
    lab.finish()
    usual = sorted(float(np.linalg.norm(told(1, device, "control"))) for device in DEVICES[1:])[-1]
    assert lab.state.longest["control"] <= 100.0 * usual * 1.001
    before = lab.state.longest
    lab.start(ALL)
    assert lab.state.longest == before
    refused = lab.send(DEVICES[0], lab.update(DEVICES[0], vectors=long))
    assert (refused.verdict, refused.reason) == ("refused", Reason.TOO_FAR)
    within = {"control": half(*[90.0 * usual / P**0.5] * P)}
    assert lab.send(DEVICES[1], lab.update(DEVICES[1], vectors=within)).verdict == "admitted"


def test_what_is_usual_of_a_further_vector_is_the_longest_median(tmp_path: Path) -> None:
    usual = (
        Usual().after({"median_norm.a": 2.0}).after({"median_norm.a": 1.0, "median_norm.b": 3.0}).after({})
    )
    assert usual.vectors == {"a": 2.0, "b": 3.0}
    lab = Lab(tmp_path, max_norm=0)
    lab.survey()
    lab.train(1)
    vectors = {"control": half(*[60_000.0] * P)}
    assert lab.send(DEVICES[0], lab.update(DEVICES[0], vectors=vectors)).verdict == "admitted", "0: no bound"
    lab.ledger.close()


def test_a_change_that_leads_beyond_float32_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Base and change are finite each."""
    lab.survey()
    monkeypatch.setattr(
        Halves, "decode", lambda _self, body, size: np.full(size, 3e38 if body[0] else 0.0, np.float32)
    )
    update = lab.update(DEVICES[0], body=half(*[1.1] * P), vectors={"control": half(*[0.0] * P)})
    terms = replace(_terms(lab.state), start=np.full(P, 1e38, np.float32))
    refused = judge(terms, update)
    assert isinstance(refused, Rejection)
    assert refused.reason is Reason.NOT_FINITE
    assert isinstance(judge(replace(terms, start=np.zeros(P, np.float32)), update), Admitted)


def _usual(lab: Lab) -> dict[str, Any]:
    return {"base": lab.state.model.digest, "codec": "toy-halves", "kind": "delta", "samples": 20}


# ── settings ───────────────────────────────────────────────────────────────────────────────────────


def test_what_is_read_in_another_way_than_it_was_sent_is_not_closed(lab: Lab) -> None:
    lab.survey()
    lab.send(DEVICES[0], lab.update(DEVICES[0]))
    with pytest.raises(ConfigError, match=r"toy-halves"):
        lab.start({**ALL, "plan": {"local": "toy-controlled"}})
    with pytest.raises(ConfigError, match=r"toy-controlled"):
        lab.start({**ALL, "plan": {"codec": "toy-halves"}})
    lab.start(ALL)


def test_a_model_without_what_the_local_algorithm_receives_is_not_announced(tmp_path: Path) -> None:
    lab = Lab(tmp_path, {})
    lab.survey()
    with pytest.raises(ConfigError, match=r"toy-controlled.*control"):
        lab.start(ALL)
    lab.start(ALL, Return(), generation=2)
    lab.train(1)
    lab.ledger.close()


def load(folder: Path, text: str) -> FederationSettings:
    path = folder / "federation.toml"
    names = ", ".join(f'"{name}"' for name in NAMES)
    model = '[federation]\nname = "lab"\n[model]\nfeatures = 2\nclasses = ["a", "b"]\n'
    path.write_text(f"extensions = [{names}]\n{model}{text}")
    return FederationSettings.load(path, {})


def test_a_part_of_an_extension_is_told_by_its_own_options(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        '[rule]\nname = "toy-median"\n[server]\nname = "toy-heavy"\nbeta = 1\n[plan]\ncodec = "toy-halves"\n',
    )
    parts = settings.parts()
    assert (parts.rule.given, parts.server.given) == ({"shift": 0.0}, {"beta": 1.0})
    assert settings.rule.model_dump() == {"name": "toy-median", "shift": 0.0}


def test_an_option_may_be_given_by_a_variable(tmp_path: Path) -> None:
    load(tmp_path, "")
    variables = {"FEDGE_AGGREGATOR_RULE__NAME": "toy-median", "FEDGE_AGGREGATOR_RULE__SHIFT": "0.5"}
    settings = FederationSettings.load(tmp_path / "federation.toml", variables)
    assert settings.parts().rule.given == {"shift": 0.5}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('[rule]\nname = "toy-median"\ntrim = 1', ("[rule]", "trim", "shift")),
        ('[rule]\nname = "toy-nameless"', ("[rule]", "toy-nameless", "version")),
        ('[rule]\nname = "best"', ("[rule]", "best", "mean", "toy-median")),
        ('[server]\nname = "toy-heavy"', ("[server]", "beta")),
        ('[server]\nname = "toy-heavy"\nbeta = "much"', ("[server]", "beta")),
        ('[plan]\ncodec = "zip"', ("[plan]", "zip", "float32")),
        ('[plan]\ncodec = "toy-halves"\ncodec_options = { level = 9 }', ("[plan]", "level")),
        ('[plan]\nlocal = "toy-deaf"', ("[plan] local", "toy-deaf", "rest")),
        ('[rounds]\nschedule = "lunar"', ("[rounds] schedule", "lunar", "rounds")),
    ],
)
def test_what_cannot_work_is_refused_and_says_what_would(
    tmp_path: Path, text: str, names: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    for name in names:
        assert name in str(error.value)


def test_an_update_with_all_its_vectors_has_to_fit_into_a_message() -> None:
    alone, both = Parts(), Parts(local=Part("toy-controlled"))
    size = MAX_SIZE // 4 - 65_536  # of float32: four bytes each
    assert unworkable(alone, size) is None
    assert unworkable(both, size // 2) is None
    assert "float32" in (unworkable(both, size // 2 + 65_536) or "")
    assert "float32" in (unworkable(alone, size + 65_536) or "")


@pytest.mark.parametrize("extension", ["tests.aggregator.toys:NOTHING", "no.such.module:X", "not-installed"])
def test_an_extension_that_is_not_there_is_named(tmp_path: Path, extension: str) -> None:
    path = tmp_path / "federation.toml"
    path.write_text(f'extensions = ["{extension}"]\n[federation]\nname = "lab"\n[model]\nfeatures = 2\n')
    with pytest.raises(ConfigError, match=r"federation\.toml: extensions: ") as error:
        FederationSettings.load(path, {})
    assert extension in str(error.value)
