"""The schedule `buffered` on production's cores, with devices of unlike speed on a virtual clock."""

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from agent.shell import memory_layout
from agent.shell.memory import Memory
from agent.trainers.states import unpack
from aggregator.aggregation.models import vector_of
from aggregator.aggregation.replay import replay
from aggregator.aggregation.updates import read
from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.reading import LedgerReader, read_only
from fedge import simulate
from fedge.algorithms.codecs import float32
from fedge.algorithms.protocols import LocalAlgorithm
from fedge.algorithms.registry import CODECS
from fedge.algorithms.trainer import Job, Trained
from fedge.errors import ConfigError
from fedge.wire.freshness import RoundId
from fleet.library.algorithm import Algorithm
from tests.fleet.library.fleets import CLASSIFIER, PLAN, fleet
from tests.wording import assert_tells

SEED = 11
SPEEDS = {"pi-0": 1.0, "pi-1": 1.1, "pi-2": 2.6, "pi-3": 7.3}
"""The virtual seconds of training."""


def buffered(target: int, **rounds: Any) -> dict[str, dict[str, Any]]:
    table = {"schedule": "buffered", "target": target, "quorum": min(2, target), **rounds}
    return {"rounds": table, "state": {"keep_rounds": 100}}


def test_with_the_whole_fleet_in_the_buffer_it_is_the_synchronous_rule_to_the_bit() -> None:
    usual = simulate(CLASSIFIER, fleet(), plan=PLAN, rounds=3, seed=SEED, seconds=SPEEDS)
    found = simulate(
        CLASSIFIER, fleet(), plan=PLAN, rounds=3, seed=SEED, seconds=SPEEDS, settings=buffered(4)
    )
    assert found.model.weights.tobytes() == usual.model.weights.tobytes()


@pytest.mark.parametrize(
    ("given", "facts"),
    [
        ({"settings": buffered(2)}, ('schedule = "buffered"', "fast", "engine='cores'")),
        ({"seconds": SPEEDS}, ("fast", "engine='cores'", "seconds")),
    ],
)
def test_the_engine_fast_knows_no_speeds(given: dict[str, Any], facts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as error:
        simulate(CLASSIFIER, fleet(), plan=PLAN, rounds=1, engine="fast", workers=1, **given)
    assert_tells(str(error.value), *facts)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ran") / "run"
    simulate(
        CLASSIFIER,
        fleet(),
        plan=PLAN,
        rounds=12,
        seed=SEED,
        seconds=SPEEDS,
        settings=buffered(2, max_staleness=8),
        folder=folder,
    )
    return folder / "state" / LEDGER


def versions(ledger: LedgerReader) -> list[int]:
    return [n for n, (kind, _) in ledger.kept_rounds(1).items() if kind == "train"]


def test_slow_devices_count_in_later_versions(ran: Path) -> None:
    """pi-0 and pi-1 alone make a version each 1.1 s or so; pi-3 needs 7.3 s, so 4 to 7 versions pass."""
    with read_only(ran) as ledger:
        answers = {number: ledger.answers(RoundId(1, number)) for number in versions(ledger)}
    assert sorted(answers) == list(range(1, 13))
    late = [(number, a.began) for number, each in answers.items() for d, a in each.items() if d == "pi-3"]
    assert late
    assert all(began is not None and 3 <= number - began <= 8 for number, began in late)
    assert all(len([a for a in each.values() if a.verdict == "admitted"]) == 2 for each in answers.values())


def test_no_update_counts_twice(ran: Path) -> None:
    with read_only(ran) as ledger:
        counted = [
            (device, answer.began or number)
            for number in versions(ledger)
            for device, answer in ledger.answers(RoundId(1, number)).items()
        ]
    assert len(counted) == len(set(counted))


def test_each_version_is_computed_again_to_the_bit(ran: Path) -> None:
    with read_only(ran) as ledger:
        numbers = versions(ledger)
        assert any(a.began for n in numbers for a in ledger.answers(RoundId(1, n)).values())
    assert all(replay(ran, number, SEED).same for number in numbers)


def exact(ledger: LedgerReader, number: int, size: int) -> np.ndarray:
    """Σ n_k s(τ) (w + w_k - w_b) / Σ n_k s(τ) in rational numbers, with s(τ) = 1/√(1+τ) as a float."""
    base = vector_of(ledger, ledger.model_of(RoundId(1, number - 1)) or b"", size)
    total, weights = [Fraction(0)] * size, Fraction(0)
    for device, answer in ledger.answers(RoundId(1, number)).items():
        began = answer.began or number
        before = vector_of(ledger, ledger.model_of(RoundId(1, began - 1)) or b"", size)
        vector = float32.decode(read(ledger, device, answer).body, size)  # type: ignore[union-attr]
        weight = answer.samples * Fraction(1 / math.sqrt(1 + number - began))
        weights += weight
        for i in range(size):
            step = Fraction(float(vector[i])) - Fraction(float(before[i]))
            total[i] += weight * (Fraction(float(base[i])) + step)
    return np.array([float(each / weights) for each in total])


def test_a_stale_update_is_a_step_from_the_newest_model_with_its_weight(ran: Path) -> None:
    """Within rounding: of the weights to 2^-30, of the sums in float64, and once to float32."""
    with read_only(ran) as ledger:
        size = CLASSIFIER.network.schema.size
        stale = [n for n in versions(ledger) if any(a.began for a in ledger.answers(RoundId(1, n)).values())]
        for number in stale[:3]:
            made = vector_of(ledger, ledger.model_of(RoundId(1, number)) or b"", size)
            expected = exact(ledger, number, size)
            assert np.allclose(made, expected, rtol=2**-23, atol=1e-8)
            plain = made.astype(np.float64) - expected
            assert np.abs(plain).max() < 1e-6


def test_what_may_still_count_and_what_it_began_from_is_kept(tmp_path: Path) -> None:
    """`keep_rounds` = 2 would free all but two; 3 more stay, so that none counts twice: versions 6 to 10.

    The models before version 6 are those of rounds 2 to 5, from which updates for 3 to 6 began.
    """
    folder = tmp_path / "run"
    simulate(
        CLASSIFIER,
        fleet(),
        plan=PLAN,
        rounds=9,
        seed=SEED,
        seconds=SPEEDS,
        settings={**buffered(2, max_staleness=3), "state": {"keep_rounds": 2}},
        folder=folder,
    )
    path = folder / "state" / LEDGER
    with read_only(path) as ledger:
        kept = versions(ledger)
        models = ledger.kept_models(1)
        assert ledger.only_measured(RoundId(1, 10))
    assert kept == [6, 7, 8, 9]
    assert {2, 3, 4, 5} <= set(models)
    assert 1 not in models
    assert all(replay(path, number, SEED).same for number in kept)


class Adds(LocalAlgorithm):
    """A local algorithm whose change is the same in every round, whatever the rows are."""

    receives: ClassVar[tuple[str, ...]] = ()
    sends: ClassVar[tuple[str, ...]] = ()
    memory: ClassVar[float] = 0.0

    def init(self, size: int) -> dict[str, Any]:
        return {}

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        weights = job.received["weights"]
        change = change_of(len(weights)).astype(np.float32)
        return Trained({"weights": weights + change}, 1, 1.0, 1.0)


def change_of(size: int) -> np.ndarray:
    return np.linspace(-0.01, 0.01, size)


def residual(folder: Path, size: int) -> np.ndarray:
    """What a device keeps of the changes that it has made."""
    memory = Memory(folder / memory_layout.FILE)
    try:
        state = memory.state()
        return np.zeros(size) if state is None else unpack(state.data)["codec/weights/residual"]
    finally:
        memory.close()


def test_of_the_updates_that_count_the_residual_loses_nothing_and_of_others_it_keeps_nothing(
    tmp_path: Path,
) -> None:
    """n changes of a device, n of its updates counted: what they brought and what is left are all of them.

    pi-3 is always more than 3 versions late, so its work is dropped. The bound is that of rounding: weights
    below 1 are rounded by 2^-25 in each of at most 14 changes, and so are the residuals.
    """
    folder, share = tmp_path / "run", {"share": 0.2}
    simulate(
        CLASSIFIER,
        fleet(),
        Algorithm(local=Adds(), codec="topk", options={"codec": share}),
        plan=PLAN,
        rounds=14,
        seed=SEED,
        seconds=SPEEDS,
        settings=buffered(2, max_staleness=3),
        folder=folder,
    )
    size, codec = CLASSIFIER.network.schema.size, CODECS.make("topk", share)
    brought = {device: np.zeros(size) for device in SPEEDS}
    counted: dict[str, list[int | None]] = {device: [] for device in SPEEDS}
    with read_only(folder / "state" / LEDGER) as ledger:
        for number in versions(ledger):
            for device, answer in ledger.answers(RoundId(1, number)).items():
                if answer.verdict == "admitted":
                    update = read(ledger, device, answer)
                    brought[device] += codec.decode(update.body, size, 0)  # type: ignore[union-attr]
                    counted[device].append(answer.began)
    assert counted["pi-3"] == []
    assert len(counted["pi-2"]) > 3
    assert None not in counted["pi-2"], "all of its updates are stale, and they count"
    for device in SPEEDS:
        left = residual(folder / "devices" / device, size)
        made = len(counted[device]) * change_of(size)
        assert np.abs(brought[device] + left - made).max() < 14 * 2**-24, device
        assert left.any() == (device != "pi-3")


def test_one_round_after_the_other_keeps_no_more_than_before(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    simulate(
        CLASSIFIER,
        fleet(),
        plan=PLAN,
        rounds=5,
        seed=SEED,
        settings={"state": {"keep_rounds": 2}},
        folder=folder,
    )
    with read_only(folder / "state" / LEDGER) as ledger:
        assert versions(ledger) == [5]
        assert len({*ledger.kept_models(1)} - {4, 5, 6}) <= 1, "the best model"
        assert all(answer.began is None for answer in ledger.answers(RoundId(1, 5)).values())


def test_figures_are_those_of_fresh_updates_and_staleness_is_told(ran: Path) -> None:
    """Of two updates a version has figures only if both are fresh: fewer than three tell them otherwise."""
    with read_only(ran) as ledger:
        for number in versions(ledger):
            answers = ledger.answers(RoundId(1, number)).values()
            late = [number - answer.began for answer in answers if answer.began is not None]
            summary = ledger.summary(RoundId(1, number))
            assert (summary["stale"], summary["staleness"]) == (len(late), sum(late) / 2)
            assert ("held_loss" in summary) == (not late), number
