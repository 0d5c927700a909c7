"""One impossible number in the data cannot spoil a round: inputs are clipped, if all devices can."""

from pathlib import Path

import numpy as np
import pytest

from aggregator.aggregation import survey as surveys
from aggregator.aggregation.job import ClosingJob, Computed
from aggregator.aggregation.models import blob_of
from aggregator.aggregation.outcome import compute, job_of, save
from aggregator.aggregation.replay import replay
from aggregator.aggregation.survey import standardize
from aggregator.config import FederationSettings
from aggregator.core.federation import Federation
from aggregator.core.verdicts import Verdict
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.writing import Ledger
from aggregator.settings.state import StateSection
from fedge.algorithms.contribution import Contribution, order
from fedge.algorithms.local.descent import train
from fedge.algorithms.rules.mean import finish, partial
from fedge.data.moments import measure
from fedge.errors import ConfigError, DamagedState
from fedge.nn import Network, initialize
from fedge.nn.spec import clip_of
from fedge.wire.capabilities import BASE
from fedge.wire.messages.message import pack
from fedge.wire.messages.task import Task
from fleet.demo.baselines import held_out
from tests.aggregator.learning import PLAN, watch
from tests.aggregator.stories import EVERYBODY, SURVEY, TASK, federation, having, survey
from tests.aggregator.test_outcome import admit, warnings
from tests.wording import assert_tells, telling

SEED = 7
ABLE = BASE | {"layer:standardize.clip", "layer:standardize.rest"}
TASK_BLOB = blob_of(pack(TASK), 0)


def surveyed_by(*devices: str, **changes: object) -> Federation:
    """A survey that these devices' answers close."""
    answers = {device: Verdict(b"d" * 32, "admitted", samples=100) for device in devices}
    state = federation(kind="survey", round=SURVEY, model=None, clip=20.0, answers=answers)
    return having(state, **{"abilities": dict.fromkeys(devices, ABLE), "cohorts": (EVERYBODY,), **changes})


# ── whether ────────────────────────────────────────────────────────────────────────────────────────


def test_a_survey_of_devices_that_all_can_is_closed_with_a_bound() -> None:
    job = job_of(surveyed_by("a", "b", "c"))
    assert (job.clip, job.unclipped) == (20.0, ())


@pytest.mark.parametrize(
    ("abilities", "because"),
    [
        ({"a": ABLE, "b": BASE, "c": ABLE}, ("b",)),
        ({"a": ABLE, "c": ABLE}, ("b",)),
        ({"a": ABLE, "b": ABLE, "c": ABLE, "asleep": BASE}, ("asleep",)),
        ({"a": BASE, "b": BASE, "c": BASE}, ("a", "b", "c")),
    ],
    ids=["answered", "has not told", "known to the ledger", "all"],
)
def test_one_device_of_0_2_0_keeps_it_out_and_is_named(
    abilities: dict[str, frozenset[str]], because: tuple[str, ...]
) -> None:
    job = job_of(surveyed_by("a", "b", "c", abilities=abilities))
    assert (job.clip, job.unclipped) == (None, because)
    backwards = dict(reversed(abilities.items()))
    assert job_of(surveyed_by("c", "b", "a", abilities=backwards)) == job, "a function of the sets"


@pytest.mark.parametrize("change", [{"quarantined": frozenset({"x"})}, {"roster": frozenset("abc")}])
def test_who_cannot_count_keeps_nothing_out(change: dict[str, frozenset[str]]) -> None:
    abilities = {**dict.fromkeys("abc", ABLE), "x": BASE}
    assert job_of(surveyed_by("a", "b", "c", abilities=abilities)).unclipped == ("x",)
    assert job_of(surveyed_by("a", "b", "c", abilities=abilities, **change)).clip == 20.0


def test_nothing_is_clipped_where_none_is_wanted_and_no_one_is_blamed() -> None:
    job = job_of(surveyed_by("a", "b", clip=None, abilities={"a": BASE, "b": BASE}))
    assert (job.clip, job.unclipped) == (None, ())
    trains = federation(clip=20.0, cohorts=(EVERYBODY,), abilities={"a": BASE})
    assert (job_of(trains).clip, job_of(trains).unclipped) == (None, ())


def settings(folder: Path, model: str) -> FederationSettings:
    path = folder / "federation.toml"
    path.write_text(
        f'[federation]\nname = "lab"\n[model]\nfeatures = 2\nclasses = ["a", "b"]\n{model}\n',
        encoding="utf-8",
    )
    return FederationSettings.load(path, {})


def test_the_bound_is_20_deviations_and_0_switches_it_off(tmp_path: Path) -> None:
    assert settings(tmp_path, "").model.clip == 20.0
    assert settings(tmp_path, "clip = 0").model.clip == 0.0
    with pytest.raises(ConfigError, match=telling("[model] clip: ", "1 ", "0.5", "0 ")):
        settings(tmp_path, "clip = 0.5")


# ── what is computed ───────────────────────────────────────────────────────────────────────────────


def close(ledger: Ledger, **changes: object) -> Computed:
    """The survey of three devices, closed and saved."""
    job = ClosingJob(SURVEY, "survey", TASK, TASK_BLOB, None, seed=SEED, chosen=1.0, **changes)  # type: ignore[arg-type]
    with ledger.transaction():
        ledger.begin_generation(LedgerMeta(b"l" * 16, 1, "{}"))
        ledger.save_content("task", SURVEY, TASK_BLOB, pack(TASK))
    columns = [np.random.default_rng(k).normal(size=(20, 2)).astype(np.float32) for k in range(3)]
    admit(
        ledger,
        *(survey(f"pi-{k}", samples=20, features=measure(X).to_bytes()) for k, X in enumerate(columns)),
    )
    with ledger.transaction():
        ledger.save_round(SURVEY, "survey", 0, (EVERYBODY,), 0.0)
        computed = compute(ledger, job)
        assert isinstance(computed, Computed)
        save(ledger, job, computed, 1.0, StateSection())
    return computed


@pytest.mark.parametrize(("clip", "rule"), [(20.0, "survey/3"), (7.5, "survey/3"), (None, "survey/2")])
def test_the_rules_name_says_whether_and_the_round_is_the_same_when_computed_again(
    ledger: Ledger, tmp_path: Path, clip: float | None, rule: str
) -> None:
    computed = close(ledger, clip=clip)
    assert clip_of(computed.task.network) == clip
    assert ledger.rule(SURVEY) == rule
    assert ledger.summary(SURVEY).get("clip") == clip
    again = replay(tmp_path / "ledger.db", 0, SEED)
    assert (again.rule, again.same) == (rule, True)


def test_a_survey_computed_again_with_another_bound_is_another(ledger: Ledger, tmp_path: Path) -> None:
    close(ledger, clip=20.0)
    for summary, same in (('{"clip": 19.0}', False), ('{"clip": 20.0}', True)):
        with ledger.transaction():
            ledger._run("UPDATE rounds SET summary = ?", summary)
        assert replay(tmp_path / "ledger.db", 0, SEED).same == same
    with ledger.transaction():
        ledger._run("UPDATE rounds SET summary = '{}'")
    with pytest.raises(DamagedState, match=telling("round 1.0 ")):
        replay(tmp_path / "ledger.db", 0, SEED)
    with ledger.transaction():
        ledger._run("UPDATE rounds SET rule = 'survey/2'")
    assert not replay(tmp_path / "ledger.db", 0, SEED).same


def test_rule_and_bound_belong_together() -> None:
    measured = {"a": surveys.Measured(measure(np.eye(30, 2)), None)}
    for rule, clip in (("survey/2", 20.0), ("survey/1", 20.0), ("survey/3", None)):
        with pytest.raises(ValueError, match=telling(rule, f"{clip}")):
            standardize(TASK, measured, rule, clip)


def test_the_log_says_that_it_was_left_out_and_because_of_whom(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    close(ledger, unclipped=("attic", "cellar"))
    (line,) = warnings(caplog)
    assert_tells(line, "[model] clip", "attic, cellar", "layer:standardize.clip")


def test_a_bound_that_was_put_in_is_not_talked_about(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    close(ledger, clip=20.0)
    assert warnings(caplog) == []


# ── what it is for ─────────────────────────────────────────────────────────────────────────────────


def accuracies(clip: float | None, impossible: float | None) -> list[float]:
    """Three devices learn from real data; after the survey and 8 rounds one row of one device is impossible.

    The accuracy of the shared model on the held-out parts, from the round before that on.
    """
    learner = watch(3)
    task = standardize(learner.task, learner.surveys(), surveys.rule_of(clip), clip)
    assert isinstance(task, Task)
    network = Network(task.network)
    devices = sorted(learner.fleet, key=order)
    rngs = {device: np.random.default_rng(k) for k, device in enumerate(devices)}
    w = initialize(task.network, np.random.default_rng(1)).astype(np.float32)
    found = []
    for number in range(12):
        updates = []
        for device in devices:
            data = learner.fleet[device]
            X = data.X.copy()
            if impossible is not None and number >= 8 and device == devices[0]:
                X[0] = impossible
            trained = train(network, w, network.prepare(X), data.y, PLAN, rngs[device])
            updates.append(Contribution(device, len(X), trained.vector))
        w, _ = finish(partial(updates))
        accuracy = network.evaluate(w, *held_out(learner.fleet)).accuracy
        assert accuracy is not None
        found.append(accuracy)
    return found[7:]


@pytest.mark.parametrize("impossible", [-9999.0, 65535.0, 4294967295.0])
def test_one_row_of_no_reading_after_the_survey_costs_two_points_at_most(impossible: float) -> None:
    """Seen without the bound: .986 → .423 for -9999 in the first such round, .268 for the others."""
    before, *after = accuracies(20.0, impossible)
    assert before > 0.95
    assert min(after) >= before - 0.02


def test_without_the_bound_it_costs_the_model() -> None:
    before, *after = accuracies(None, -9999.0)
    assert before > 0.95
    assert after[0] < before - 0.3


def test_honest_data_pay_nothing_for_the_bound() -> None:
    """No value of real sensors lies 20 deviations away here: every round is the same to the last digit."""
    assert accuracies(20.0, None) == accuracies(None, None)
