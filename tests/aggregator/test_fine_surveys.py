"""A column that is too fine for float32 is merged in float64 (`survey/4`), if all devices can take that."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aggregator.aggregation import survey as surveys
from aggregator.aggregation.job import ClosingJob, Computed
from aggregator.aggregation.outcome import compute, job_of, save
from aggregator.aggregation.reparametrization import fold
from aggregator.aggregation.replay import replay
from aggregator.aggregation.survey import Measured, outliers, standardize
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.writing import Ledger
from aggregator.settings.state import StateSection
from fedge.algorithms.rules.columns import exact, robust
from fedge.data.moments import is_constant, is_fine, measure, rounded
from fedge.nn import Network, NetworkSpec, initialize
from fedge.nn.spec import Dense, ReLU, Standardize, clip_of, fine_columns, takes_float64
from fedge.wire.capabilities import BASE, can
from fedge.wire.messages.message import pack
from fedge.wire.messages.task import Task
from tests.aggregator.stories import EVERYBODY, SURVEY, TASK, survey
from tests.aggregator.test_clipping import ABLE, SEED, TASK_BLOB, surveyed_by
from tests.aggregator.test_columns import bits, column, only, side_by_side
from tests.aggregator.test_outcome import admit, warnings
from tests.wording import assert_tells

EPOCH = 1.7e9 + 13.25


# ── the rule ───────────────────────────────────────────────────────────────────────────────────────


def test_what_is_fine_and_what_is_constant() -> None:
    """256 steps of float32 in a spread: |mean| = 2¹⁵ spreads; 8 units of float64: 8 · 2⁻⁵² |mean|."""
    mean = np.array([2.0**20] * 4)
    spread = np.array([33.0, 31.0, 9 * 2.0**-32, 8 * 2.0**-32])
    np.testing.assert_array_equal(is_fine(mean, spread), [False, True, True, True])
    np.testing.assert_array_equal(is_constant(mean, spread, np.float64), [False, False, False, True])
    assert not is_fine(np.zeros(1), np.zeros(1)).any(), "nothing is taken away of 0"


def test_a_fine_column_is_merged_as_any_other_column_without_its_offset() -> None:
    parts = [(7.0, 100.0), (-20.0, 90.0), (11.0, 130.0)]
    mean, spread = only(robust([column(*part) for part in parts]))
    merged = exact([column(EPOCH + level, deviation) for level, deviation in parts])
    assert only(merged) == (pytest.approx(EPOCH + mean, rel=1e-15), pytest.approx(spread, rel=1e-6))
    assert merged.fine is not None
    assert merged.fine.tolist() == [True]
    assert only(robust([column(EPOCH + level, deviation) for level, deviation in parts]))[1] < 100


@pytest.mark.parametrize("devices", [1, 2, 5])
def test_columns_that_float32_does_for_come_out_to_the_bit(devices: int) -> None:
    """Also beside a fine one; constant, rare, or missing ones too."""
    rng = np.random.default_rng(devices)
    X = [rng.normal([5, 293, 0], [1, 0.5, 1e-9], (50, 3)).astype(np.float32) for _ in range(devices)]
    X = [np.column_stack([each, np.full(50, 4_711_000), np.full(50, np.nan), each[:, 0] > 7]) for each in X]
    fleet = [rounded(measure(each.astype(np.float32))) for each in X]
    found = exact(fleet)
    assert bits(found) == bits(robust(fleet))
    assert found.fine is not None
    assert not found.fine.any()
    beside = exact([side_by_side(each, column(EPOCH, 100)) for each in fleet])
    assert beside.fine is not None
    assert beside.fine.tolist() == [False] * 6 + [True]
    assert bits(robust(fleet)) == b"".join(
        part[:6].tobytes() for part in (beside.count, beside.mean, beside.spread)
    )


def test_a_mixed_fleet_where_most_tell_that_it_is_constant() -> None:
    """0.2.0 narrows first: it tells no spread. What the others tell is what counts."""
    old = [column(float(np.float32(EPOCH)), 0.0) for _ in range(4)]
    new = [column(EPOCH, 100.0) for _ in range(3)]
    mean, spread = only(exact([*old, *new]))
    assert abs(mean - EPOCH) <= 64
    assert 90 <= spread <= 130


# ── the frozen layer ───────────────────────────────────────────────────────────────────────────────


def fleet_of(*fine: tuple[float, float]) -> dict[str, Measured]:
    """The volts are ordinary, the amps fine."""
    return {
        f"pi-{k}": Measured(side_by_side(column(5.0 + k, 2.0), column(*one)), None)
        for k, one in enumerate(fine)
    }


def first_of(task: object) -> Standardize:
    assert isinstance(task, Task)
    first = task.network.layers[0]
    assert isinstance(first, Standardize)
    return first


@pytest.mark.parametrize("clip", [None, 20.0])
@pytest.mark.parametrize("spread", [100.0, 1.0, 0.01])
def test_the_mean_is_exact_and_the_scale_is_the_spread(clip: float | None, spread: float) -> None:
    task = standardize(TASK, fleet_of((EPOCH, spread)), surveys.EXACT, clip)
    first = first_of(task)
    assert first.clip == clip
    assert first.exact_means[1] == EPOCH
    assert first.exact_means[0] == first.means[0]
    assert first.scales[1] == np.float32(np.sqrt(100 * spread**2 / 100))
    assert isinstance(task, Task)
    assert outliers(task, fleet_of((EPOCH, spread))) == ()


@pytest.mark.parametrize(("spread", "found"), [(1_000.0, []), (0.0, [("pi-10", "amps", "constant")])])
def test_only_what_is_constant_in_float64_is_said_to_be(
    spread: float, found: list[tuple[str, str, str]]
) -> None:
    """In float32 a spread of 1,621 would be lost at this mean: the others' is above that, one's below."""
    devices = fleet_of(*[(EPOCH, 3_000.0)] * 10, (EPOCH, spread))
    task = standardize(TASK, devices, surveys.EXACT)
    assert isinstance(task, Task)
    assert fine_columns(task.network) == (1,)
    named = [(one.device, one.column, one.what) for one in outliers(task, devices)]
    assert named == found


def test_an_ordinary_fleet_has_the_task_that_it_always_had() -> None:
    ordinary = fleet_of((3.0, 1.0), (4.0, 2.0))
    for clip in (None, 20.0):
        before = standardize(TASK, ordinary, surveys.rule_of(clip), clip)
        after = standardize(TASK, ordinary, surveys.EXACT, clip)
        assert isinstance(before, Task)
        assert isinstance(after, Task)
        assert pack(before) == pack(after)


def test_targets_are_rescaled_as_ever_for_devices_keep_them_in_float32() -> None:
    """A target's means and spreads lie in float32, however fine the column is."""
    task = Task(
        network=NetworkSpec(inputs=2, layers=(Dense(units=1),), loss="mse"),
        features=("volts", "amps"),
        targets=("when",),
    )
    fleet = {
        f"pi-{k}": Measured(side_by_side(column(5.0 + k, 2.0), column(EPOCH, 100.0)), column(EPOCH + k, 3.0))
        for k in range(3)
    }
    wide, narrow = (standardize(task, fleet, rule) for rule in (surveys.EXACT, surveys.RULE))
    assert isinstance(wide, Task)
    assert isinstance(narrow, Task)
    assert first_of(wide).rest is not None
    assert wide.network.layers[-1] == narrow.network.layers[-1]


# ── whether ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("clip", [None, 20.0])
def test_one_device_that_cannot_keeps_it_out(clip: float | None) -> None:
    assert job_of(surveyed_by("a", "b", clip=clip)).narrowing == ()
    before = ABLE - {surveys.REST}
    assert job_of(surveyed_by("a", "b", clip=clip, abilities={"a": ABLE, "b": before})).narrowing == ("b",)
    assert job_of(surveyed_by("a", "b", clip=clip, abilities={"a": BASE})).narrowing == ("a", "b")
    assert surveys.REST in can()


def close(ledger: Ledger, fleet: dict[str, Measured], **changes: object) -> Computed:
    job = ClosingJob(SURVEY, "survey", TASK, TASK_BLOB, None, seed=SEED, chosen=1.0)
    job = replace(job, **changes)  # type: ignore[arg-type]
    with ledger.transaction():
        ledger.begin_generation(LedgerMeta(b"l" * 16, 1, "{}"))
        ledger.save_content("task", SURVEY, TASK_BLOB, pack(TASK))
    admit(
        ledger,
        *(survey(device, samples=100, features=told.features.to_bytes()) for device, told in fleet.items()),
    )
    with ledger.transaction():
        ledger.save_round(SURVEY, "survey", 0, (EVERYBODY,), 0.0)
        computed = compute(ledger, job)
        assert isinstance(computed, Computed)
        save(ledger, job, computed, 1.0, StateSection())
    return computed


FINE = fleet_of((EPOCH, 100.0), (EPOCH + 30, 110.0), (EPOCH - 10, 90.0))
ORDINARY = fleet_of((3.0, 1.0), (4.0, 2.0), (2.0, 1.5))


@pytest.mark.parametrize("clip", [None, 20.0])
def test_the_rules_name_says_it_and_the_round_is_the_same_when_computed_again(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture, clip: float | None
) -> None:
    computed = close(ledger, FINE, clip=clip)
    assert (takes_float64(computed.task.network), clip_of(computed.task.network)) == (True, clip)
    assert ledger.rule(SURVEY) == "survey/4"
    assert replay(tmp_path / "ledger.db", 0, SEED).same
    assert warnings(caplog) == []


def test_a_survey_of_ordinary_columns_is_closed_as_before(ledger: Ledger, tmp_path: Path) -> None:
    assert not takes_float64(close(ledger, ORDINARY, clip=20.0).task.network)
    assert ledger.rule(SURVEY) == "survey/3"
    assert replay(tmp_path / "ledger.db", 0, SEED).same


def test_where_some_cannot_the_log_says_which_columns_stay_narrow_and_because_of_whom(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    computed = close(ledger, FINE, clip=20.0, narrowing=("attic", "cellar"))
    assert not takes_float64(computed.task.network)
    assert ledger.rule(SURVEY) == "survey/3"
    assert replay(tmp_path / "ledger.db", 0, SEED).same
    (line,) = [line for line in warnings(caplog) if "float32" in line]
    assert_tells(line, "'amps'", "attic, cellar", "layer:standardize.rest")


def test_nobody_is_blamed_where_no_column_is_fine(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    close(ledger, ORDINARY, clip=20.0, narrowing=("attic",))
    assert warnings(caplog) == []


# ── the way back ───────────────────────────────────────────────────────────────────────────────────


def test_weights_are_folded_into_another_mean_and_answer_as_before() -> None:
    def network(mean: float, scale: float) -> NetworkSpec:
        means = np.array([5.0, mean])
        narrow = means.astype("<f4")
        first = Standardize(
            mean=narrow.tobytes(),
            scale=np.array([2, scale], "<f4").tobytes(),
            rest=(means - narrow).astype("<f4").tobytes(),
        )
        return NetworkSpec(
            inputs=2, layers=(first, Dense(units=7), ReLU(), Dense(units=3)), loss="cross-entropy"
        )

    before, after = network(EPOCH, 1.0), network(EPOCH - 2.5, 1.5)
    vector = initialize(before, np.random.default_rng(2)).astype(np.float32)
    folded = fold(before, after, vector)
    assert folded is not None
    X = np.random.default_rng(1).normal([5.0, EPOCH], [2.0, 1.0], (200, 2))
    there, here = Network(before).predict(vector, X), Network(after).predict(folded, X)
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-5)
