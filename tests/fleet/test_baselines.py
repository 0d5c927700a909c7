"""Baselines on data whose answer is known."""

import numpy as np
import pytest

from agent.data.dataset import Dataset
from fedge.algorithms.plan import Plan
from fedge.nn.spec import Dense, NetworkSpec, ReLU
from fedge.wire.messages.task import Task
from fleet.demo.baselines import alone, central, held_out, predict
from fleet.demo.figure import ACCURACY

TASK = Task(
    network=NetworkSpec(inputs=2, layers=(Dense(units=8), ReLU(), Dense(units=3)), loss="cross-entropy"),
    features=("x", "y"),
    classes=("a", "b", "c"),
)
PLAN = Plan(epochs=2, batch_size=8, learning_rate=0.1, momentum=0.9)
CENTRES = np.array([[1000.0, 0.0], [1010.0, 0.0], [1000.0, 0.02]])  # raw units: nobody normalised them


def device(classes: list[int], seed: int) -> Dataset:
    """40 samples to train and 10 held out of each of the classes, far apart in standard units."""
    rng = np.random.default_rng(seed)

    def rows(count: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.repeat(np.array(classes, dtype=np.int64), count)
        X = CENTRES[y] + rng.normal(0, 1, (len(y), 2)) * [0.5, 0.001]
        return X.astype(np.float32), y

    return Dataset(*rows(40), *rows(10))


@pytest.fixture(scope="module")
def fleet() -> dict[str, Dataset]:
    return {"first": device([0, 1], 1), "second": device([1, 2], 2)}


def test_alone_a_device_knows_its_own_classes_only(fleet: dict[str, Dataset]) -> None:
    results = alone(TASK, fleet, PLAN, rounds=20, seed=1)
    assert [result.device for result in results] == ["first", "second"]
    for result in results:
        assert result.own == 1.0
        # of the 40 held-out samples a device has never seen the class of 10
        assert result.everyone == 0.75


def test_all_data_in_one_place_knows_them_all(fleet: dict[str, Dataset]) -> None:
    assert central(TASK, fleet, PLAN, rounds=20, seed=1) == 1.0


def test_the_rounds_are_trained_and_the_seed_decides(fleet: dict[str, Dataset]) -> None:
    short = Plan(epochs=1, batch_size=0, learning_rate=1e-4)
    untrained = central(TASK, fleet, short, rounds=1, seed=5)
    assert untrained < 1.0
    assert untrained == central(TASK, fleet, short, rounds=1, seed=5)
    assert len({central(TASK, fleet, short, rounds=1, seed=seed) for seed in range(6)}) > 1


def test_held_out_parts_keep_the_order_of_the_devices(fleet: dict[str, Dataset]) -> None:
    X, y = held_out(fleet)
    np.testing.assert_array_equal(X, np.vstack([fleet["first"].held_X, fleet["second"].held_X]))
    np.testing.assert_array_equal(y, [0] * 10 + [1] * 20 + [2] * 10)


def test_the_best_of_the_rounds_is_taken_where_it_is_asked_for() -> None:
    """Answers that are drawn by lot: which round does best is chance, and the last one is as good as any."""
    rng = np.random.default_rng(8)

    def lots(rows: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.normal(size=(rows, 2)).astype(np.float32), rng.integers(0, 3, rows)

    fleet = {name: Dataset(*lots(60), *lots(60)) for name in ("first", "second")}
    X, y = held_out(fleet)
    each = [ACCURACY.of(predict(TASK, fleet, PLAN, k, 3, X).outputs, y) for k in range(1, 9)]
    assert max(each) > each[-1]
    found = predict(TASK, fleet, PLAN, 8, 3, X, judge=(X, y))
    assert (ACCURACY.of(found.outputs, y), found.rounds) == (max(each), 8)
    assert each[found.of - 1] == max(each)
    best = alone(TASK, fleet, PLAN, rounds=8, seed=3, best=True)
    last = alone(TASK, fleet, PLAN, rounds=8, seed=3)
    assert all(one.everyone >= other.everyone for one, other in zip(best, last, strict=True))


def test_when_the_time_is_up_each_has_had_a_round_and_one_device_was_trained(
    fleet: dict[str, Dataset],
) -> None:
    X, _ = held_out(fleet)
    assert predict(TASK, fleet, PLAN, 20, 1, X, enough=lambda: True).rounds == 1
    assert [one.device for one in alone(TASK, fleet, PLAN, 2, 1, enough=lambda: True)] == ["first"]


def test_of_a_regression_the_figure_is_in_the_targets_own_unit() -> None:
    rng = np.random.default_rng(4)

    def part(rows: int) -> tuple[np.ndarray, np.ndarray]:
        X = rng.normal(1000, 5, (rows, 2)).astype(np.float32)
        return X, (7 * (X[:, :1] - 1000) + rng.normal(0, 2, (rows, 1))).astype(np.float32)

    task = Task(
        network=NetworkSpec(inputs=2, layers=(Dense(units=1),), loss="mse"),
        features=("x", "y"),
        targets=("z",),
    )
    fleet = {name: Dataset(*part(100), *part(100)) for name in ("first", "second")}
    # the noise is 2; always the mean is off by 7 · 5 = 35
    slow = Plan(epochs=5, batch_size=16, learning_rate=0.01)
    assert central(task, fleet, slow, rounds=5, seed=1) == pytest.approx(2, rel=0.2)
    assert all(one.everyone < 3 for one in alone(task, fleet, slow, rounds=5, seed=1))
