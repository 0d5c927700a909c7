"""The mean of a round from its ledger: within bounds, usable, and if not, because of whom."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.aggregation.aggregate import Aggregate, Unusable, aggregate, mean_of, usable
from aggregator.aggregation.averaged import Averaged
from aggregator.aggregation.job import ClosingJob
from aggregator.aggregation.probes import Trial
from aggregator.aggregation.updates import Updates
from aggregator.core.parts import Part, Parts
from aggregator.core.usual_distance import UsualDistance
from aggregator.ledger.writing import Ledger
from aggregator.phases.train import averaged
from fedge.algorithms.codecs import float32
from fedge.algorithms.registry import SERVER
from fedge.algorithms.rules.bounds import Factors
from fedge.nn import Network
from fedge.nn.probes import ROWS, probes
from fedge.nn.spec import Dense, NetworkSpec, ReLU, Standardize
from fedge.wire.freshness import RoundId
from fedge.wire.messages.update import Update
from tests.aggregator.stories import MODEL, TASK, P, blob, update
from tests.aggregator.test_outcome import admit, ledger_in
from tests.wording import assert_tells

ROUND = RoundId(1, 1)
USUAL = Factors()
BASE = np.linspace(-1, 1, P).astype(np.float32)
TRIAL = Trial(TASK.network, BASE)
LARGEST = 3.4028235e38


def sent(device: str, vector: np.ndarray, samples: int = 100) -> Update:
    return update(device, ROUND, samples=samples, body=float32.encode(vector.astype(np.float32)))


def honest(count: int, seed: int = 1) -> list[Update]:
    rng = np.random.default_rng(seed)
    return [sent(f"pi-{i}", BASE + rng.normal(size=P), int(rng.integers(100, 150))) for i in range(count)]


def far(device: str = "liar", value: float = 3e38, samples: int = 1) -> Update:
    return sent(device, np.full(P, value), samples)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with ledger_in(tmp_path) as ledger:
        yield ledger


def closed(
    ledger: Ledger, *messages: Update, factors: Factors = USUAL, trial: Trial = TRIAL
) -> Aggregate | Unusable:
    admit(ledger, *messages)
    return usable(Updates(ledger, ROUND, P), BASE, factors, trial.passes)


def caused(ledger: Ledger, *messages: Update, trial: Trial = TRIAL) -> set[str]:
    found = closed(ledger, *messages, trial=trial)
    return set(found.devices) if isinstance(found, Unusable) else set()


# ── within bounds ──────────────────────────────────────────────────────────────────────────────────


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_where_nothing_is_bounded_the_mean_is_that_without_bounds_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int
) -> None:
    with ledger_in(tmp_path_factory.mktemp("ledger")) as ledger:
        admit(ledger, *honest(count, seed))
        found = aggregate(Updates(ledger, ROUND, P), BASE, USUAL)
        vector, samples = mean_of(ledger, ROUND, P)
        assert (found.vector.tobytes(), sum(found.samples)) == (vector.tobytes(), samples)


def test_the_set_decides_and_not_the_order_of_arrival(tmp_path: Path) -> None:
    messages = [*honest(8), far(), sent("crowd", BASE + 1, 10**6)]
    vectors = set()
    for seed in range(3):
        with ledger_in(tmp_path / str(seed)) as ledger:
            found = closed(ledger, *Random(seed).sample(messages, len(messages)))
            assert isinstance(found, Aggregate)
            vectors.add(found.vector.tobytes())
    assert len(vectors) == 1


def test_who_counts_for_less_than_it_sent_is_named_once(ledger: Ledger) -> None:
    crowd = [sent(f"crowd-{i}", BASE + i / 100, 10**6 + i) for i in range(1, 8)]
    admit(ledger, *honest(20), far(), *crowd)
    job = ClosingJob(ROUND, "train", TASK, blob("task"), MODEL, seed=7, chosen=1.0)
    found = averaged(ledger, job, BASE)
    assert isinstance(found, Averaged)
    clipped, capped = found.bounded
    assert_tells(clipped, "liar", "2.5 times")
    assert_tells(capped, "2 more", "1260 samples", "10 times", "126")
    assert capped.count("crowd-") == 5
    assert found.summary["median_norm"] == pytest.approx(3, rel=0.5)
    assert (found.summary["clip_norm"], found.summary["max_weight"]) == (2.5, 10)


def test_a_round_of_one_says_nothing_of_what_is_usual(ledger: Ledger) -> None:
    admit(ledger, *honest(1))
    found = averaged(ledger, ClosingJob(ROUND, "train", TASK, blob("task"), MODEL, seed=7, chosen=1.0), BASE)
    assert isinstance(found, Averaged)
    assert "median_norm" not in found.summary


@settings(deadline=None, max_examples=40)
@given(
    st.floats(1e-12, 1e12),
    st.floats(-1.0, 1.0),
    st.integers(1, 10**6),
    st.integers(1, 10**6),
    st.sampled_from(["average", "adam", "yogi", "adagrad"]),
)
def test_one_of_two_keeps_the_other_out_of_no_round(
    tmp_path_factory: pytest.TempPathFactory, length: float, cosine: float, n: int, m: int, server: str
) -> None:
    """An honest update of distance d is at most 1 + 2 · 10 = 21 usual distances away in the next round."""
    d = 100.0
    way, aside = np.eye(P)[0], np.eye(P)[1]
    lie = length * (cosine * way + np.sqrt(1 - cosine**2) * aside)
    with ledger_in(tmp_path_factory.mktemp("ledger")) as ledger:
        admit(ledger, sent("pi", BASE + d * way, n), sent("liar", BASE + lie, m))
        rate = 1.0 if server == "average" else 0.01
        parts = Parts(server=Part.of(SERVER, server, {"rate": rate}))
        job = ClosingJob(ROUND, "train", TASK, blob("task"), MODEL, seed=7, chosen=1.0, parts=parts)
        found = averaged(ledger, job, BASE)
    assert isinstance(found, Averaged)
    usual = UsualDistance().after(found.summary)
    nothing_is_usual = usual.distance == 0
    assert nothing_is_usual or d <= 21 * usual.distance * (1 + 1e-5)
    assert usual.after({"moved": 0.0}).distance == usual.distance


def test_the_lie_that_is_worst_for_the_other_of_two(ledger: Ledger) -> None:
    """Ten times the weight, a twenty-first of the length, the other way: the mean is as short as the lie."""
    way = np.eye(P)[0]
    admit(ledger, sent("pi", BASE + 21 * way, 100), sent("liar", BASE - way, 10**6))
    found = averaged(ledger, ClosingJob(ROUND, "train", TASK, blob("task"), MODEL, seed=7, chosen=1.0), BASE)
    assert isinstance(found, Averaged)
    assert UsualDistance().after(found.summary).distance == pytest.approx(1.0, rel=1e-5)


def test_clipping_holds_one_update_at_a_time(tmp_path: Path) -> None:
    """Twice as many updates of which half are clipped take no more memory."""
    size = 200_000
    base = np.zeros(size, np.float32)

    def peak(count: int, turn: int) -> int:
        with ledger_in(tmp_path / f"{count}-{turn}") as ledger:
            for i in range(count):
                vector = np.full(size, 1.0 + 1e6 * (i % 5 == 0))
                admit(ledger, sent(f"pi-{i}", vector), pieces=20)
            tracemalloc.start()
            found = aggregate(Updates(ledger, ROUND, size), base, USUAL)
            top = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert min(found.bounds.scales) < 1
            return top

    # The least of some: what other threads of this process allocate meanwhile is measured, too.
    assert min(peak(20, turn) for turn in range(3)) < 1.5 * min(peak(10, turn) for turn in range(3))


# ── usable ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_probes_are_those_of_the_export_and_the_owners_samples() -> None:
    frozen = Standardize(
        mean=np.array([5.0, -9.0], "<f4").tobytes(), scale=np.array([2.0, 0.5], "<f4").tobytes()
    )
    spec = NetworkSpec(inputs=2, layers=(frozen, Dense(units=3)), loss="cross-entropy")
    own = np.array([[1e4, 2e4]], np.float32)
    X = probes(spec, own)
    assert (X.shape, X.dtype) == ((ROWS + 1, 2), np.float32)
    assert np.array_equal(X[-1:], own)
    assert np.allclose(X[:-1].mean(axis=0), [5, -9], atol=1)


def test_a_model_is_usable_if_it_and_its_outputs_are_finite() -> None:
    assert TRIAL.passes(BASE)
    assert TRIAL.passes(BASE * np.float32(1e20))
    for worst in (np.nan, np.inf, 1e300, LARGEST):
        vector = BASE.astype(np.float64)
        vector[1] = worst
        assert not TRIAL.passes(vector), worst


def test_samples_on_which_the_base_itself_fails_accuse_nobody() -> None:
    hopeless = np.full((1, 2), LARGEST, np.float32)
    assert Trial(TASK.network, BASE * 100, hopeless).passes(BASE * 100)
    poison = np.full(P, np.nan, np.float32)
    trial = Trial(TASK.network, poison)
    assert not trial.base_is_usable
    assert trial.passes(BASE), "a way out of it is not barred"
    assert not trial.passes(poison)


def test_a_model_that_predicts_and_cannot_be_trained_from_is_not_usable() -> None:
    spec = NetworkSpec(inputs=2, layers=(Dense(units=1),), loss="mse")
    base = np.zeros(spec.schema.size, np.float32)
    far = base + np.float32(1e25)
    with np.errstate(all="ignore"):
        assert np.isfinite(Network(spec).predict(far, probes(spec))).all()
    assert not Trial(spec, base).passes(far)
    assert Trial(spec, far).passes(far), "from such a base none can be trained from"


# ── because of whom ────────────────────────────────────────────────────────────────────────────────


def test_a_few_usable_updates_accuse_nobody(ledger: Ledger) -> None:
    assert caused(ledger, *honest(3)) == set()


@pytest.mark.parametrize("value", [3e38, -3e38, LARGEST])
def test_of_few_the_one_that_is_unusable_alone_is_the_cause(ledger: Ledger, value: float) -> None:
    """One n_k of 1 is enough, for no difference is clipped among four."""
    assert caused(ledger, *honest(3), far(value=value, samples=300)) == {"liar"}


def test_of_five_it_is_clipped_and_nobody_is_set_aside(ledger: Ledger) -> None:
    found = closed(ledger, *honest(4), far(samples=300))
    assert isinstance(found, Aggregate)
    assert TRIAL.passes(found.vector)


def test_without_clipping_it_is_the_cause_of_twenty(ledger: Ledger) -> None:
    found = closed(ledger, *honest(19), far(samples=10**6), factors=Factors(0, 0))
    assert found == Unusable(("liar",))


DEEP = NetworkSpec(inputs=2, layers=(Dense(units=2), ReLU(), Dense(units=2)), loss="cross-entropy")


def test_what_is_unusable_only_together_is_left_out_by_its_norm(tmp_path: Path) -> None:
    """Each alone multiplies large weights by zeros; together they are multiplied by each other."""
    size = DEEP.schema.size
    base = np.full(size, 0.1, np.float32)
    first = np.zeros(size, np.float32)
    second = first.copy()
    first[:6], second[6:] = 1e30, 5e29
    trial = Trial(DEEP, base)
    assert trial.passes(first)
    assert trial.passes(second)
    quiet = [sent(f"pi-{i}", np.zeros(size)) for i in range(2)]
    with ledger_in(tmp_path) as ledger:
        admit(ledger, sent("first", first), sent("second", second), *quiet)
        found = usable(Updates(ledger, ROUND, size), base, USUAL, trial.passes)
    assert found == Unusable(("first",)), "the longest difference"


def test_if_all_are_unusable_all_are_the_cause(ledger: Ledger) -> None:
    liars = [far(f"liar-{i}", samples=10 + i) for i in range(3)]
    assert caused(ledger, *liars) == {"liar-0", "liar-1", "liar-2"}


@pytest.mark.parametrize("seed", range(5))
def test_the_causes_are_a_function_of_the_set(tmp_path: Path, seed: int) -> None:
    messages = [*honest(2), far("x", samples=200), far("y", samples=200)]
    with ledger_in(tmp_path) as ledger:
        found = closed(ledger, *Random(seed).sample(messages, len(messages)))
    assert isinstance(found, Unusable)
    assert set(found.devices) == {"x", "y"}
    with ledger_in(tmp_path / "again") as ledger:
        assert found == closed(ledger, *messages)
