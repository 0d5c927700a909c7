"""One liar of twenty against FedNova's rule by its steps, and against SCAFFOLD's control variate."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from aggregator.aggregation.aggregate import Unusable, aggregate, usable
from aggregator.aggregation.replay import replay
from aggregator.aggregation.updates import Updates
from aggregator.ledger.writing import Ledger
from fedge.algorithms import protocols
from fedge.algorithms.codecs import float32
from fedge.algorithms.contribution import Contribution
from fedge.algorithms.protocols import Combined, Rule, State
from fedge.algorithms.rules.bounds import Factors, bounded_steps, bounds
from fedge.algorithms.rules.nova import Nova
from fedge.wire.freshness import RoundId
from fedge.wire.messages.update import Update
from tests.aggregator.parts.lab import SEED, Lab
from tests.aggregator.parts.lab import P as SIZE
from tests.aggregator.stories import P, update
from tests.aggregator.test_outcome import admit, ledger_in
from tests.wording import lines_telling

ROUND = RoundId(1, 1)
BASE = np.linspace(-1, 1, P).astype(np.float32)
OTHERS = tuple(f"pi-{k:02}" for k in range(19))
STEPS = 20
"""Of each of the others."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with ledger_in(tmp_path) as ledger:
        yield ledger


def sent(device: str, steps: int, samples: int = 100) -> Update:
    change = np.random.default_rng(sum(device.encode())).normal(size=P)
    body = float32.encode((BASE + change).astype(np.float32))
    return update(device, ROUND, samples=samples, steps=steps, body=body)


class Reading(Rule):
    """A rule that keeps the steps that it is given."""

    version = "reading/1"

    def __init__(self) -> None:
        self.steps: dict[str, int] = {}

    def aggregate(self, updates: protocols.Updates, base: np.ndarray, state: State) -> Combined:
        self.steps = {each.device: each.steps for each in updates.lanes()}
        return Combined(base)


@pytest.mark.parametrize(
    ("claim", "counted"), [(0, 1), (1, 1), (STEPS, STEPS), (200, 200), (201, 200), (2**63 - 1, 200)]
)
def test_a_rule_sees_bounded_steps(ledger: Ledger, claim: int, counted: int) -> None:
    """At most ten times the median's twenty."""
    admit(ledger, sent("liar", claim), *(sent(device, STEPS) for device in OTHERS))
    rule = Reading()
    aggregate(Updates(ledger, ROUND, P), BASE, Factors(), rule)
    assert rule.steps == {**dict.fromkeys(OTHERS, STEPS), "liar": counted}


def test_what_the_bound_costs_an_honest_fleet_of_very_unlike_devices() -> None:
    """Twenty devices with 20 to 20,000 samples, evenly on a logarithmic scale, E = 5 and B = 16.

    The lower median device, the tenth, has 20 · 1000^(9/19) = 527 samples and takes 5 · 33 = 165 steps. So
    1,650 steps count at most, which are 330 batches, or 5,280 samples; 20 · 1000^(k/19) is more from k = 16
    on: four devices.
    """
    samples = [round(20 * 1000 ** (k / 19)) for k in range(20)]
    steps = [5 * -(-n // 16) for n in samples]
    counted = bounded_steps(steps, Factors())
    assert (samples[9], steps[9], max(counted)) == (527, 165, 1_650)
    assert sum(c < told for c, told in zip(counted, steps, strict=True)) == 4
    weights = bounds([1.0] * 20, samples, Factors()).weights

    def effective(steps: Sequence[int]) -> float:
        return sum(n * each for n, each in zip(weights, steps, strict=True)) / sum(weights)

    assert effective(counted) / effective(steps) == pytest.approx(0.543, abs=5e-4)


@pytest.mark.parametrize("samples", [100, 1_000_000])
@pytest.mark.parametrize("claim", [0, 2**63 - 1])
def test_the_length_of_a_round_by_nova_stays_within_the_bound(
    ledger: Ledger, claim: int, samples: int
) -> None:
    """The rule's step is τ_eff times the mean of the changes; the liar's vector is an honest one here.

    With τ' = T = 20 the factor is between 1 - s and 1 + s (10 - 1), where s is its share of the samples.
    """
    admit(ledger, sent("liar", claim, samples), *(sent(device, STEPS) for device in OTHERS))
    found = aggregate(Updates(ledger, ROUND, P), BASE, Factors(), Nova())
    share = found.bounds.weights[found.devices.index("liar")] / sum(found.bounds.weights)
    assert share <= 10 / 29 + 1e-12  # 10 medians beside 19
    changes = [
        (float32.decode(sent(d, 1).body, P).astype(np.float64) - BASE) * scale * weight
        for d, scale, weight in zip(found.devices, found.bounds.scales, found.bounds.weights, strict=True)
    ]
    mean = sum(changes) / sum(found.bounds.weights)
    factors = (found.vector.astype(np.float64) - BASE) / (STEPS * mean)
    assert np.ptp(factors) < 1e-3, "the direction is that of the mean"
    assert (1 - share) * 0.999 <= factors.mean() <= (1 + 9 * share) * 1.001
    assert abs(factors.mean() - 1) > share / 2, "the bound is reached in part: the test can fail"


def test_nova_with_equal_steps_is_that_many_means(ledger: Ledger) -> None:
    admit(ledger, *(sent(device, STEPS) for device in OTHERS))
    found = aggregate(Updates(ledger, ROUND, P), BASE, Factors(clip_norm=0), Nova())
    changes = [float32.decode(sent(d, 1).body, P).astype(np.float64) - BASE for d in OTHERS]
    assert np.allclose(found.vector, BASE + STEPS * np.mean(changes, axis=0), atol=1e-5)


def test_steps_change_no_bit_of_the_mean(tmp_path: Path) -> None:
    vectors = []
    for name, claim in (("honest", STEPS), ("lie", 2**63 - 1)):
        with ledger_in(tmp_path / name) as ledger:
            admit(ledger, sent("liar", claim), *(sent(device, STEPS) for device in OTHERS))
            vectors.append(aggregate(Updates(ledger, ROUND, P), BASE, Factors()).vector.tobytes())
    assert vectors[0] == vectors[1]
    assert Contribution("a", 1, BASE).steps == 1


@pytest.mark.parametrize("lie", [1e6, 3e38])
def test_one_liar_of_twenty_moves_scaffolds_control_by_an_eighth_of_a_usual_change(
    tmp_path: Path, lie: float
) -> None:
    """Its Δ counts as 2.5 M long at most, and as one of twenty: share · 2.5 M / 20, M the median length."""
    names = [*OTHERS, "liar"]
    tables = {"plan": {"local": "scaffold"}, "rule": {"name": "mean", "weights": "uniform"}}
    lab = Lab(tmp_path, tables, names)
    lab.survey()
    rng = np.random.default_rng(3)
    honest = [rng.normal(size=SIZE).astype(np.float32) for _ in OTHERS]
    lengths = sorted(float(np.linalg.norm(each.astype(np.float64))) for each in honest)
    body = float32.encode(np.full(SIZE, 0.1, np.float32))
    for device, change in zip(names, [*honest, np.full(SIZE, lie, np.float32)], strict=True):
        vectors = {"control": float32.encode(change)}
        told = update(device, lab.state.round, lab.state.model.digest, body=body, vectors=vectors)
        assert lab.send(device, told).verdict == "admitted"
    lab.finish()
    usual = lengths[9]  # the lower median of the twenty: the liar's is the longest
    assert lengths[-1] < 2.5 * usual, "no honest one is clipped"
    others = np.sum(honest, axis=0, dtype=np.float64) / 20
    moved = float(np.linalg.norm(lab.control(RoundId(1, 1)) - others))
    assert moved == pytest.approx(2.5 * usual / 20, rel=1e-5)
    assert replay(lab.path, 1, SEED).same
    lab.ledger.close()


def passes(vector: np.ndarray) -> bool:
    return bool((np.abs(vector) < 1e12).all())


def test_steps_that_make_a_model_unusable_are_their_devices_fault_and_not_the_rules(ledger: Ledger) -> None:
    """Alone in a round, a device is itself the median; its update is usable, and 2^63 times it is not."""
    admit(ledger, sent("liar", 2**63 - 1))
    found = usable(Updates(ledger, ROUND, P), BASE, Factors(), passes, Nova())
    assert isinstance(found, Unusable)
    assert found.devices == ("liar",)


def test_with_one_set_aside_the_steps_of_the_others_count_as_before(ledger: Ledger) -> None:
    """Two changes of 1 in 20 steps make 20, which passes. A hundred, as many as their samples, would not."""
    for device, change in (("pi-00", 1.0), ("pi-01", 1.0), ("liar", 1e3)):
        body = float32.encode((BASE + change).astype(np.float32))
        admit(ledger, update(device, ROUND, samples=100, steps=STEPS, body=body))
    found = usable(Updates(ledger, ROUND, P), BASE, Factors(), lambda w: bool((np.abs(w) < 50).all()), Nova())
    assert isinstance(found, Unusable)
    assert found.devices == ("liar",)


def test_pushes_on_scaffolds_control_add_up_and_devices_whose_vectors_are_clipped_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Four rounds in which the others' changes cancel out: c is four times what the liar may add to one."""
    names = [*OTHERS[:18], "liar"]
    tables = {"plan": {"local": "scaffold"}, "rule": {"name": "mean", "weights": "uniform"}}
    lab = Lab(tmp_path, tables, names)
    lab.survey()
    usual, body = float(np.sqrt(SIZE)), float32.encode(np.full(SIZE, 0.1, np.float32))
    for _ in range(4):
        for k, device in enumerate(names):
            change = np.full(SIZE, 50.0 if device == "liar" else (-1.0) ** k, np.float32)
            vectors = {"control": float32.encode(change)}
            said = update(device, lab.state.round, lab.state.model.digest, body=body, vectors=vectors)
            assert lab.send(device, said).verdict == "admitted"
        lab.finish()
    assert np.linalg.norm(lab.control(RoundId(1, 4))) == pytest.approx(4 * 2.5 * usual / 19, rel=1e-5)
    assert len(lines_telling(caplog.text, "control", "liar", "2.5")) == 4
    lab.ledger.close()


@pytest.mark.parametrize(("length", "samples"), [(1e-9, 100), (-1e-9, 10**6), (-1 / 21, 10**6), (-0.2, 1)])
def test_one_of_two_keeps_the_control_of_the_other_out_of_no_round(
    tmp_path: Path, length: float, samples: int
) -> None:
    """A short lie clips the other's change to ten of its own lengths, which says nothing of what is usual."""
    tables = {"plan": {"local": "scaffold"}, "rule": {"name": "mean", "weights": "uniform"}}
    lab = Lab(tmp_path, tables, ("pi", "liar"), quorum=2)
    lab.survey()
    body = float32.encode(np.full(SIZE, 0.1, np.float32))
    for _ in range(3):
        for device, each, n in (("pi", 50.0, 100), ("liar", 50.0 * length, samples)):
            vectors = {"control": float32.encode(np.full(SIZE, each, np.float32))}
            here, base = lab.state.round, lab.state.model.digest
            said = update(device, here, base, samples=n, body=body, vectors=vectors)
            assert lab.send(device, said).verdict == "admitted"
        lab.finish()
        assert 50.0 * np.sqrt(SIZE) <= 21 * lab.state.usual.lengths["control"] * (1 + 1e-5)
    lab.ledger.close()


@pytest.mark.parametrize("local", ["nova", "sgd"])
def test_devices_whose_steps_are_bounded_are_named_if_the_rule_reads_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, local: str
) -> None:
    """Ten times the median of 20 is 200. Two devices ended early, as their owners allow no more time."""
    names = [*OTHERS[:4], "liar"]
    rule = "nova" if local == "nova" else "mean"
    lab = Lab(tmp_path, {"plan": {"local": local}, "rule": {"name": rule}}, names)
    lab.survey()
    for k, device in enumerate(names):
        said = update(
            device,
            lab.state.round,
            lab.state.model.digest,
            body=float32.encode(np.full(SIZE, 0.1 + k / 100, np.float32)),
            steps=2**62 if device == "liar" else STEPS,
            metrics={"partial": float(k < 2)},
        )
        assert lab.send(device, said).verdict == "admitted"
    lab.finish()
    named = lines_telling(caplog.text, "steps", f"liar ({2**62}", "200", "10 times", "20")
    assert len(named) == (1 if local == "nova" else 0)
    assert lab.ledger.summary(RoundId(1, 1))["partial"] == 2
    lab.ledger.close()
