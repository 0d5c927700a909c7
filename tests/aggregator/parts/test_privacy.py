"""A federation with differential privacy: its models have noise that is paid for, and no more is told."""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.aggregation.recomputation import made_by
from aggregator.aggregation.replay import replay
from aggregator.core.federation import Stage
from aggregator.core.presence import LeaderCheck
from aggregator.ledger.layout import FILE
from aggregator.ledger.reading import read_only
from aggregator.shell.closer import close
from aggregator.shell.privacy_budget import PrivacyBudget
from fedge.algorithms.codecs import float32
from fedge.algorithms.rules.private_mean import PrivateMean, PrivateMeanOptions
from fedge.errors import ConfigError, DataError, PrivacyRefusal
from fedge.privacy import budget
from fedge.privacy.charges import History
from fedge.testing.rule import SomeUpdates
from fedge.wire.freshness import RoundId
from fedge.wire.messages.protection import Charges
from tests.aggregator.parts.lab import DEVICES, SEED, Lab, P, told
from tests.wording import assert_tells

PRIVACY: Mapping[str, Any] = {
    "epsilon": 12.0,
    "noise_multiplier": 1.0,
    "rounds": 4,
    "cohort": 3,
    "clip": 0.5,
    "columns": {"x0": [1.0, 2.0], "x1": [-3.0, 0.5]},
}
"""Four releases at z = 1 cost less than ε = 12 at δ = 1e-5: as much as one at z = 1/2."""


def tables(**changes: Any) -> dict[str, Any]:
    return {"privacy": {**PRIVACY, **changes}}


class PrivateLab(Lab):
    """A lab with `[privacy]`, which starts with what the broker retains."""

    def __init__(self, folder: Path, charges: Charges | None = None, **changes: Any) -> None:
        self.watch = LeaderCheck(0.0, charges=charges)  # type: ignore[misc]  # of this one alone
        super().__init__(folder, tables(**changes))

    def update(self, device: str, **changes: Any) -> Any:
        vector = self.weights(RoundId(self.state.round.generation, self.state.round.round - 1))
        body = float32.encode(vector + told(self.state.round.round, device))
        usual = {"codec": "float32", "kind": "weights", "body": body, "vectors": None, "samples": 1}
        return super().update(device, **{**usual, **changes})

    @property
    def history(self) -> History:
        found = budget.read(self.ledger.privacy_history())
        assert isinstance(found, History)
        return found

    @property
    def charges(self) -> Charges:
        """What the newest announcement says was released."""
        return self.state.protection.privacy.witness  # type: ignore[no-any-return]  # the state is Any there

    def again(self, charges: Charges | None, generation: int = 0, **changes: Any) -> None:
        """The aggregator is started again in the same folder."""
        self.watch = LeaderCheck(0.0, charges=charges)  # type: ignore[misc]  # as above
        self.start(tables(**changes), generation=generation)


@pytest.fixture
def lab(tmp_path: Path) -> PrivateLab:
    return PrivateLab(tmp_path / "lab")


def test_the_model_is_the_clipped_mean_with_noise_from_the_stored_seed(lab: PrivateLab) -> None:
    assert lab.state.round == RoundId(1, 1), "there is no survey"
    base = lab.weights(RoundId(1, 0))
    lab.train(2)
    first = lab.weights(RoundId(1, 1))
    seed = lab.ledger.noise_of(RoundId(1, 1))
    assert seed is not None
    rule = PrivateMean(PrivateMeanOptions(clip=0.5, noise_multiplier=1.0, cohort=3))
    updates = SomeUpdates({d: (partial(np.add, base, told(1, d)), 1) for d in DEVICES}, P)
    state = {**rule.init(P), "noise_seed": np.frombuffer(seed, np.uint8)}
    assert np.array_equal(rule.aggregate(updates, base, state).vector, first)
    assert seed != lab.ledger.noise_of(RoundId(1, 2))
    for number in (0, 1, 2):
        assert replay(lab.path, number, SEED).same
    assert len(lab.history.charges) == 2
    assert lab.charges == Charges(number=2, digest=lab.history.charges[-1].digest)


def test_what_devices_tell_of_their_rows_counts_nowhere(lab: PrivateLab) -> None:
    for k, device in enumerate(DEVICES):
        metrics = {"loss_after": 0.5, "held_loss_before": 0.25, "accuracy_before": 1.0, "held_out": 9.0}
        said = lab.update(device, samples=[1, 20, 5_000][k], metrics=metrics)
        assert lab.send(device, said).verdict == "admitted"
    lab.finish()
    summary = lab.ledger.summary(RoundId(1, 1))
    of_updates = {"weight_change", "moved", "clip_norm", "max_weight", "seconds", "bytes_up"}
    assert not {"loss", "held_loss", "accuracy", "median_norm"} & summary.keys()
    of_presence = {"took_part", "online", "able", "declined"}
    assert summary.keys() <= of_updates | of_presence, summary
    assert summary["clip_norm"] == summary["max_weight"] == 0
    samples = lab.ledger._all("SELECT samples FROM rounds WHERE round = 1")
    assert samples == [(3,)]
    assert lab.ledger._all("SELECT DISTINCT counted, far, running FROM answers") == [(None, None, None)]


def test_a_crash_before_the_commit_leaves_no_seed_and_no_charge(lab: PrivateLab) -> None:
    """Nothing of the first computation was seen; the second one, of other updates, has a seed of its own."""
    for device in DEVICES:
        lab.send(device, lab.update(device))
    first = lab.jobs[-1]
    close(lambda: read_only(lab.path), first)  # computed, and the power fails
    assert lab.ledger._all("SELECT * FROM noise") == []
    assert lab.history.charges == ()
    lab.again(None)
    assert lab.jobs[-1] is not first
    assert lab.jobs[-1].noise not in (None, first.noise)
    lab.finish()
    assert lab.ledger.noise_of(RoundId(1, 1)) == lab.jobs[-1].noise
    assert len(lab.history.charges) == 1
    assert replay(lab.path, 1, SEED).same


def test_a_refused_charge_takes_the_model_with_it(lab: PrivateLab) -> None:
    with lab.ledger.transaction():
        lab.ledger._run("INSERT INTO charges VALUES (1, 1, 9, 0, 'x', 'y')")
    with pytest.raises(PrivacyRefusal, match="damaged"):
        lab.train()
    assert lab.ledger.model_of(RoundId(1, 1)) is None
    assert lab.ledger._all("SELECT * FROM noise") == []


def test_more_devices_than_declared_are_refused(lab: PrivateLab) -> None:
    paying = PrivacyBudget(lab.settings.privacy.declared())  # type: ignore[union-attr]  # it has [privacy]
    with lab.ledger.transaction(), pytest.raises(PrivacyRefusal, match="cohort"):
        paying.charge(lab.ledger, RoundId(1, 1), 0, "inputs", 4)
    assert lab.state.rules.target == 3, "a round closes with the declared number"


# ── starts ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_start_goes_on_where_the_announcement_agrees(lab: PrivateLab) -> None:
    lab.train()
    lab.again(lab.charges)
    assert lab.charges.number == 1
    lab.again(Charges(number=0))  # the newest announcement was not acknowledged
    lab.train()
    assert lab.charges.number == 2


def test_an_older_ledger_releases_nothing(lab: PrivateLab, tmp_path: Path) -> None:
    lab.train()
    copy = tmp_path / "copy"
    shutil.copytree(lab.folder, copy)
    lab.train()
    for generation in (0, 2):
        with pytest.raises(PrivacyRefusal, match="behind"):
            PrivateLab(copy).again(lab.charges, generation)


def test_another_history_releases_nothing(lab: PrivateLab, tmp_path: Path) -> None:
    lab.train()
    copy = tmp_path / "copy"
    shutil.copytree(lab.folder, copy)
    lab.train()
    other = PrivateLab(
        copy, lab.charges.model_copy(update={"number": 1, "digest": lab.history.charges[0].digest})
    )
    other.train()
    with pytest.raises(PrivacyRefusal, match="forked"):
        other.again(lab.charges)


def test_a_lost_ledger_releases_nothing(lab: PrivateLab, tmp_path: Path) -> None:
    lab.train()
    with pytest.raises(PrivacyRefusal, match="missing"):
        PrivateLab(tmp_path / "new", lab.charges)
    with read_only(tmp_path / "new" / FILE) as ledger:
        assert ledger.meta() is None, "nothing was begun"


def test_learning_ends_with_the_budget_and_no_generation_follows(lab: PrivateLab) -> None:
    lab.train(4)
    assert lab.state.stage is Stage.DONE
    charges = lab.charges
    lab.again(charges)
    assert lab.state.stage is Stage.DONE, "the last model is still announced"
    assert lab.charges == charges
    with pytest.raises(PrivacyRefusal, match="spent"):
        lab.again(charges, generation=2)


def test_a_new_generation_goes_on_with_the_same_budget(lab: PrivateLab) -> None:
    lab.train(3)
    lab.again(lab.charges, generation=2)
    assert lab.state.round == RoundId(2, 1)
    lab.train(1)
    assert lab.state.stage is Stage.DONE
    assert len(lab.history.charges) == 4


@pytest.mark.parametrize(
    "changes", [{"noise_multiplier": 2.0}, {"cohort": 4}, {"rounds": 3}, {"epsilon": 13.0}]
)
def test_what_devices_were_told_cannot_change(lab: PrivateLab, changes: dict[str, Any]) -> None:
    with pytest.raises(PrivacyRefusal, match="changed"):
        lab.again(None, **changes)


def test_too_little_noise_for_the_declared_epsilon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="noise_multiplier"):
        PrivateLab(tmp_path / "lab", epsilon=1.0)


def test_rounds_without_noise_are_not_made_private_later(tmp_path: Path) -> None:
    plain = Lab(tmp_path / "lab", {})
    plain.survey()
    with pytest.raises(ConfigError, match="without noise"):
        plain.start(tables())
    plain.start(tables(), generation=2)
    assert plain.state.round == RoundId(2, 1)


# ── a seed belongs to one set of updates ───────────────────────────────────────────────────────────


def test_no_round_is_computed_again_with_another_set(lab: PrivateLab) -> None:
    lab.train(2)
    with pytest.raises(DataError, match="another set"):
        made_by(lab.ledger, RoundId(1, 1), P, without=("pi-1",))
    assert np.array_equal(made_by(lab.ledger, RoundId(1, 1), P).vector, lab.weights(RoundId(1, 1)))


def test_a_seed_goes_with_its_rounds_updates(lab: PrivateLab) -> None:
    lab.train(3)
    with lab.ledger.transaction():
        lab.ledger.forget_rounds_before(RoundId(1, 3))
    assert lab.ledger.noise_of(RoundId(1, 2)) is None
    assert lab.ledger.noise_of(RoundId(1, 3)) is not None
    assert len(lab.history.charges) == 3, "what was paid stays"


# ── settings ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("more", "facts"),
    [
        ({"rule": {"name": "median"}}, ("[rule]", "clipped mean")),
        ({"rounds": {"clip_norm": 2.5}}, ("[rounds] clip_norm", "sensitivity")),
        ({"rounds": {"max_weight": 10.0}}, ("[rounds] max_weight", "sensitivity")),
        ({"rounds": {"max_norm": 100.0}}, ("[rounds] max_norm", "sensitivity")),
        ({"rounds": {"schedule": "buffered", "target": 2}}, ('schedule = "buffered"', "[privacy]")),
        ({"rounds": {"target": 4}}, ("[rounds] target", "cohort")),
        ({"rounds": {"quorum": 4}}, ("[rounds] quorum", "cohort")),
        ({"stopping": {"accuracy": 0.9}}, ("[stopping] accuracy", "noise")),
        ({"stopping": {"patience": 5}}, ("[stopping] patience", "noise")),
        ({"export": {"choose": "best"}}, ("[export] choose", "newest")),
        ({"masking": {"on": True, "clip": 1.0}}, ("[masking] on", "[privacy]")),
        ({"personal": {"compare": True}}, ("[personal] compare", "noise")),
        ({"personal": {"name": "clusters"}}, ("clusters",)),
        ({"plan": {"local": "scaffold"}}, ("scaffold",)),
        ({"plan": {"local": "dyn"}}, ("dyn",)),
        ({"model": {"features": 3, "classes": ["a", "b"]}}, ("[privacy] columns", "'x2'", "survey")),
        ({"model": {"features": 1, "classes": ["a", "b"]}}, ("[privacy] columns", "'x1'", "no such column")),
    ],
)
def test_what_breaks_the_promise_is_refused(
    lab: PrivateLab, more: dict[str, Any], facts: tuple[str, ...]
) -> None:
    lab.rounds = {}
    with pytest.raises(ValueError, match=r"\[") as caught:
        lab.settings_of({"rounds": {"quorum": 3}, **tables(), **more})
    assert_tells(str(caught.value), *facts)


def test_the_rule_by_itself_is_refused(lab: PrivateLab) -> None:
    rule = {"name": "private-mean", "clip": 1.0, "noise_multiplier": 1.0, "cohort": 3}
    with pytest.raises(ValueError, match="by itself promises nothing"):
        lab.settings_of({"rule": rule})


def test_the_newest_model_is_exported(lab: PrivateLab) -> None:
    assert lab.settings.choose == "newest"
    assert (lab.state.rules.clip_norm, lab.state.rules.max_weight, lab.state.rules.max_norm) == (0, 0, 0)
