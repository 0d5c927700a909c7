"""Robust rules in a federation: how many updates they need, what they do not go with, and their state."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.aggregation.replay import replay
from aggregator.aggregation.server_state import first, of_rule, step
from aggregator.aggregation.server_state import unpack as unpack_state
from aggregator.config import FederationSettings
from aggregator.core import effects as do
from aggregator.core.parts import Part, PartError
from aggregator.core.prospects import hopeless
from aggregator.core.quorum import fewest_of, remedy, updates_needed
from fedge.algorithms.local.momentum import MOMENTUM, Momentum, MomentumOptions
from fedge.algorithms.protocols import State
from fedge.algorithms.registry import LOCAL, RULES
from fedge.errors import ConfigError
from fedge.frozen import replace
from fedge.testing.jobs import CLASSIFIER, PLAN, Example
from fedge.wire.freshness import RoundId
from tests.aggregator.parts.lab import DEVICES, SEED, Lab, P, told
from tests.aggregator.stories import DEADLINE_S, Story, federation, of, rules
from tests.wording import assert_tells

ROBUST = tuple(name for name in RULES.names() if hasattr(RULES.make(name), "f"))


def load(folder: Path, text: str, devices: int | None = None) -> FederationSettings:
    path = folder / "federation.toml"
    listed = "" if devices is None else f"devices = {[f'pi-{k}' for k in range(devices)]}\n"
    model = '[model]\nfeatures = 2\nclasses = ["a", "b"]\n'
    path.write_text(f'[federation]\nname = "lab"\n{listed}{model}{text}'.replace("'", '"'))
    return FederationSettings.load(path, {})


def test_all_of_them_are_tried_here() -> None:
    assert len(ROBUST) == 8


@pytest.mark.parametrize("name", ROBUST)
def test_settings_that_can_never_have_enough_updates_are_refused(tmp_path: Path, name: str) -> None:
    rule = f'[rule]\nname = "{name}"\nf = 2\n'
    fewest = RULES.make(name, {"f": 2}).fewest
    for target in (fewest - 1, fewest):
        text = f"{rule}[rounds]\nquorum = 2\ntarget = {target}\n"
        if target < fewest:
            with pytest.raises(ConfigError) as caught:
                load(tmp_path, text)
            assert_tells(
                str(caught.value),
                "[rounds] target",
                f"{target} updates",
                f'"{name}" with f = 2',
                f"needs {fewest}",
            )
        else:
            load(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, rule, devices=fewest - 1)
    assert_tells(str(caught.value), "[rule] name", f'"{name}"', f"{fewest} updates", f"lists {fewest - 1}")
    settings = load(tmp_path, rule, devices=fewest)
    assert hopeless(settings) == []
    (said,) = hopeless(settings, {"pi-0"})
    assert_tells(
        said, f'[rule] name = "{name}" with f = 2', f"{fewest} updates", "quarantine", "smaller [rule] f"
    )


def test_a_round_below_what_the_rule_needs_stays_open_and_the_log_says_why() -> None:
    krum = Part.of(RULES, "krum", {"f": 1})
    assert fewest_of(krum) == 5
    state = federation(rules=replace(rules(target=None), quorum=0.5), online=frozenset("abcdef"), rule=krum)
    story = Story(state)
    story.announce(*"abcdef")
    assert updates_needed(story.state) == 5, "not three"
    for device in "abcd":
        story.answers(device)
    assert not of(do.CloseRound, story.later(DEADLINE_S))
    text = of(do.Log, story.log)[-1].text
    assert_tells(
        text, "4 of 5 updates", 'the 5 updates that [rule] name = "krum" with f = 1 needs', "[rule] f"
    )
    assert "[rounds] quorum" not in text
    assert of(do.CloseRound, story.answers("e")) or of(do.CloseRound, story.later(DEADLINE_S))


def test_with_as_many_as_the_rule_needs_the_quorum_is_told() -> None:
    assert remedy(0.8, 5, 7, Part.of(RULES, "krum")).startswith("[rounds] quorum = 0.71")


@pytest.mark.parametrize(
    ("text", "told_of"),
    [
        ('[plan]\nlocal = "scaffold"\n', ("scaffold", "plain mean")),
        ('[plan]\nlocal = "nova"\n', ("nova",)),
        ('[plan]\nlocal = "dyn"\n[server]\nname = "dyn"\n', ("dyn", "plain mean")),
        ('[plan]\ncodec = "topk"\n', ("topk", "later sum")),
    ],
)
@pytest.mark.parametrize("name", ROBUST)
def test_what_needs_a_sum_is_refused_with_the_reason(
    tmp_path: Path, name: str, text: str, told_of: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f'[rule]\nname = "{name}"\n{text}')
    assert_tells(str(caught.value), told_of[0], f'[rule] name = "{name}"', *told_of[1:], "Set ")


def test_several_shared_models_have_no_state_of_a_rule(tmp_path: Path) -> None:
    clusters = '[personal]\nname = "clusters"\nmodels = 2\n'
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f'[rule]\nname = "centered-clipping"\n{clusters}')
    assert_tells(str(caught.value), "centered-clipping", "clusters", "one shared model")
    load(tmp_path, f'[rule]\nname = "median"\n{clusters}')


@pytest.mark.parametrize("name", ROBUST)
def test_stale_updates_need_a_rule_that_looks_at_their_weight(tmp_path: Path, name: str) -> None:
    buffered = f'[rule]\nname = "{name}"\n[rounds]\nschedule = "buffered"\ntarget = 9\nquorum = 3\n'
    if name == "geometric-median":
        load(tmp_path, buffered)
    else:
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, buffered)
        assert_tells(
            str(caught.value), "buffered", f'[rule] name = "{name}"', "in full", '[rule] name to "mean"'
        )


@pytest.mark.parametrize("codec", ["drive", "int8", "int4"])
@pytest.mark.parametrize("name", ROBUST)
def test_codecs_that_round_work(tmp_path: Path, name: str, codec: str) -> None:
    load(tmp_path, f'[rule]\nname = "{name}"\n[plan]\ncodec = "{codec}"\nlocal = "momentum"\n')


RADIUS = 0.5
CLIPPING: dict[str, Any] = {
    "rule": {"name": "centered-clipping", "radius": RADIUS},
    "plan": {"codec": "toy-halves", "local": "toy-controlled"},
}


def clipped(first: np.ndarray, numbers: range) -> tuple[np.ndarray, np.ndarray]:
    """The weights and the center after these rounds, by the formula."""
    w, center = first, np.zeros(P, np.float32)
    for number in numbers:
        v = w.astype(np.float64) + center
        sent = [w.astype(np.float64) + told(number, device) for device in DEVICES]
        v = v + np.mean([(x - v) * min(1, RADIUS / np.linalg.norm(x - v)) for x in sent], axis=0)
        center, w = (v - w).astype(np.float32), v.astype(np.float32)
    return w, center


def center_of(lab: Lab, number: int) -> np.ndarray:
    saved = lab.ledger.state_of(RoundId(1, number))
    assert saved is not None
    return np.asarray(of_rule(unpack_state(saved[0]))["center"])


def test_the_center_goes_on_over_rounds_restarts_and_replay(lab: Lab, tmp_path: Path) -> None:
    lab.ledger.close()
    here, other = Lab(tmp_path / "here", CLIPPING), Lab(tmp_path / "other", CLIPPING)
    for each in (here, other):
        each.survey()
    here.train(3)
    for _ in range(3):
        other.start(CLIPPING)
        other.send(DEVICES[0], other.update(DEVICES[0]))
        other.start(CLIPPING)
        for device in DEVICES[1:]:
            other.send(device, other.update(device))
        other.finish()
    first = here.weights(RoundId(1, 0))
    for number in (1, 2, 3):
        w, center = clipped(first, range(1, number + 1))
        assert here.weights(RoundId(1, number)) == pytest.approx(w, abs=1e-5)
        assert center_of(here, number) == pytest.approx(center, abs=1e-5)
        assert np.linalg.norm(center) > 0.01, "it is not at its beginning"
        assert center_of(here, number).tobytes() == center_of(other, number).tobytes()
        assert here.weights(RoundId(1, number)).tobytes() == other.weights(RoundId(1, number)).tobytes()
        assert replay(here.path, number, SEED).same
        assert here.ledger.rule(RoundId(1, number)) == "centered-clipping/1"
    for each in (here, other):
        each.ledger.close()


def test_with_another_radius_the_center_begins_anew(lab: Lab, tmp_path: Path) -> None:
    lab.ledger.close()
    here = Lab(tmp_path / "here", CLIPPING)
    here.survey()
    here.train(2)
    here.start({**CLIPPING, "rule": {"name": "centered-clipping", "radius": 1e-3}})
    here.train(1)
    assert np.linalg.norm(center_of(here, 2)) > 0.01
    assert np.linalg.norm(center_of(here, 3)) <= 1.001e-3
    assert replay(here.path, 3, SEED).same
    here.ledger.close()


class Wrong:
    """A server optimizer whose state has the name of a rule's."""

    def init(self, size: int) -> State:
        return {"rule/center": np.zeros(size)}

    def step(
        self, base: np.ndarray, aggregate: np.ndarray, state: State, share: float
    ) -> tuple[np.ndarray, State]:
        return aggregate, self.init(len(base))


def test_a_server_optimizer_cannot_take_the_place_of_the_rules_state() -> None:
    """The ledger keeps both in one row, each array under its name."""
    part, round_id, base = Part("wrong"), RoundId(1, 1), np.zeros(2, np.float32)
    with pytest.raises(PartError) as caught:
        first(round_id, part, Wrong(), 2)
    assert_tells(str(caught.value), "server optimizer wrong", "'rule/'", "'rule/center'", "[server]")
    with pytest.raises(PartError) as caught:
        step(round_id, part, Wrong(), base, base, {}, 1.0)
    assert_tells(str(caught.value), "server optimizer wrong", "'rule/center'")


def test_worker_momentum_is_the_running_mean_of_a_devices_changes() -> None:
    """Against `sgd` from the same weights: in the first round the same, later mixed with β."""
    beta, size = 0.75, CLASSIFIER.schema.size
    sgd, momentum = LOCAL.make("sgd"), Momentum(MomentumOptions(beta=beta))
    example = Example(CLASSIFIER, PLAN, momentum.init(size), (), seed=3)
    m: Any = None
    for _ in range(3):
        job = example.job()
        change = sgd.run(replace(example, state={}).job(), lambda: False).vector - job.weights
        trained = momentum.run(job, lambda: False)
        m = change if m is None else beta * m + (1 - beta) * change
        assert trained.vectors["weights"] - job.weights == pytest.approx(m, abs=1e-5)
        assert trained.state[MOMENTUM] == pytest.approx(m, abs=1e-5)
        assert trained.model is not None, "what it measures is the model that it trained"
        example = replace(example, state=trained.state)
