"""Local training against references written here as plain textbook code, one matrix a layer."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedge.algorithms.local.descent import batches, descend, train
from fedge.algorithms.local.shuffling import generator
from fedge.algorithms.plan import Plan, fedsgd
from fedge.algorithms.trainer import Cancelled, Diverged
from fedge.nn import Network, NetworkSpec, initialize
from tests.wording import telling


def mlp(*widths: int, loss: str = "cross-entropy") -> NetworkSpec:
    layers: list[dict[str, Any]] = []
    for units in widths[1:-1]:
        layers += [{"type": "dense", "units": units}, {"type": "relu"}]
    layers.append({"type": "dense", "units": widths[-1]})
    return NetworkSpec.model_validate({"inputs": widths[0], "layers": layers, "loss": loss})


class Textbook:
    """An MLP with ReLU and softmax, by the formulas, sample by sample where that is simplest."""

    def __init__(self, spec: NetworkSpec, w: np.ndarray) -> None:
        self.names = [name for name, _ in spec.schema.parameters]
        views = spec.schema.views(w)
        self.W = [views[name].copy() for name in self.names[0::2]]
        self.b = [views[name].copy() for name in self.names[1::2]]

    def gradients(self, X: np.ndarray, y: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        dW, db = [np.zeros_like(W) for W in self.W], [np.zeros_like(b) for b in self.b]
        for x, label in zip(X, y, strict=True):
            inputs, outputs = [], x
            for layer, (W, b) in enumerate(zip(self.W, self.b, strict=True)):
                inputs.append(outputs)
                outputs = W.T @ outputs + b
                if layer < len(self.W) - 1:
                    outputs = np.where(outputs > 0, outputs, 0.0)
            p = np.exp(outputs - outputs.max())
            p = p / p.sum()
            error = p - np.eye(len(p))[label]
            for layer in reversed(range(len(self.W))):
                dW[layer] += np.outer(inputs[layer], error) / len(X)
                db[layer] += error / len(X)
                error = (self.W[layer] @ error) * (inputs[layer] > 0)
        return dW, db

    def step(self, X: np.ndarray, y: np.ndarray, rate: float) -> None:
        dW, db = self.gradients(X, y)
        for layer in range(len(self.W)):
            self.W[layer] = self.W[layer] - rate * dW[layer]
            self.b[layer] = self.b[layer] - rate * db[layer]

    def flat(self) -> np.ndarray:
        return np.concatenate([part.ravel() for pair in zip(self.W, self.b, strict=True) for part in pair])


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits  # takes seconds, which only these tests shall pay

    X, y = load_digits(return_X_y=True)
    return X / 16, y


def problem(spec: NetworkSpec, n: int, seed: int = 0, dtype: Any = np.float64) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    network = Network(spec, dtype)
    X = network.prepare(rng.normal(size=(n, spec.inputs)))
    if spec.loss == "mse":
        y = network.prepare_targets(rng.normal(size=(n, spec.outputs)))
    else:
        y = network.prepare_targets(rng.integers(spec.outputs, size=n))
    return network, initialize(spec, rng, dtype), X, y


def gradient_of(network: Network, w: np.ndarray, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    gradient = np.empty_like(w)
    network.loss_and_grad(w, X, y, gradient)
    return gradient


def test_digits_are_learnt_step_by_step_as_in_the_textbook(digits: tuple[np.ndarray, np.ndarray]) -> None:
    """A step adds a rounding error of some 1e-16, and 57 steps amplify it little: 1e-12 bounds them all."""
    X, y = digits
    spec = mlp(64, 32, 16, 10)
    network = Network(spec, np.float64)
    vector = initialize(spec, np.random.default_rng(1), np.float64)
    reference = Textbook(spec, vector)
    path: list[np.ndarray] = []

    def note() -> bool:
        path.append(vector.copy())
        return False

    plan = Plan(epochs=1, batch_size=32, learning_rate=0.2)
    steps = descend(
        network, vector, network.prepare(X), network.prepare_targets(y), plan, generator(1, 1, 1, "a"), note
    )
    path.append(vector)
    assert steps == 57 == -(-1797 // 32)
    order = generator(1, 1, 1, "a").permutation(len(X))
    for step in range(steps):
        np.testing.assert_allclose(path[step], reference.flat(), rtol=0, atol=1e-12, err_msg=f"step {step}")
        rows = order[32 * step : 32 * (step + 1)]
        reference.step(X[rows], y[rows], 0.2)
    np.testing.assert_allclose(path[-1], reference.flat(), rtol=0, atol=1e-12)
    assert np.abs(path[-1] - path[0]).max() > 0.1  # it went somewhere


def test_digits_are_learnt(digits: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = digits
    spec = mlp(64, 64, 10)
    network = Network(spec)
    trained = train(
        network,
        initialize(spec, np.random.default_rng(0)),
        network.prepare(X[:1500]),
        network.prepare_targets(y[:1500]),
        Plan(epochs=10, batch_size=10, learning_rate=0.1),
        np.random.default_rng(0),
    )
    assert trained.loss_after < 0.1 < 2 < trained.loss_before
    accuracy = network.evaluate(trained.vector, X[1500:], y[1500:]).accuracy
    # A linear model has 0.90 on these 297 later samples (other writers); a tenth would be chance.
    assert accuracy is not None
    assert accuracy > 0.9


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
def test_momentum_and_weight_decay_follow_their_formula(
    momentum: float, weight_decay: float, loss: str
) -> None:
    network, w, X, y = problem(mlp(6, 5, 3, loss=loss), 23)
    rate = 0.1
    plan = Plan(epochs=3, batch_size=5, learning_rate=rate, momentum=momentum, weight_decay=weight_decay)
    trained = train(network, w, X, y, plan, np.random.default_rng(4))
    rng, expected, v = np.random.default_rng(4), w.copy(), np.zeros_like(w)
    for _ in range(3):
        order = rng.permutation(23)
        for start in range(0, 23, 5):
            rows = order[start : start + 5]
            g = gradient_of(network, expected, X[rows], y[rows])
            v = momentum * v + g + weight_decay * expected
            expected = expected - rate * v
    assert trained.steps == 3 * 5
    # α is applied to g earlier here than in the formula: 15 steps of rounding, some 1e-16 each.
    np.testing.assert_allclose(trained.vector, expected, rtol=0, atol=1e-13)


@settings(max_examples=50, deadline=None)
@given(
    devices=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    hidden=st.integers(1, 6),
    rate=st.floats(0.001, 1.0),
    loss=st.sampled_from(["cross-entropy", "mse"]),
    seed=st.integers(0, 2**32),
)
def test_fedsgd_over_any_split_is_one_central_step(
    devices: list[int], hidden: int, rate: float, loss: str, seed: int
) -> None:
    n = sum(devices)
    network, w, X, y = problem(mlp(4, hidden, 3, loss=loss), n, seed)
    order = np.random.default_rng(seed).permutation(n)
    average, start = np.zeros_like(w), 0
    for n_k in devices:
        rows = order[start : start + n_k]
        local = train(network, w, X[rows], y[rows], fedsgd(rate), np.random.default_rng(0))
        assert local.steps == 1
        average += n_k / n * local.vector
        start += n_k
    central = w - rate * gradient_of(network, w, X, y)
    np.testing.assert_allclose(average, central, rtol=0, atol=1e-12)


def test_training_reports_the_loss_before_and_after_and_leaves_its_input_alone() -> None:
    network, w, X, y = problem(mlp(6, 5, 3), 40, dtype=np.float32)
    before = w.copy()
    trained = train(network, w, X, y, Plan(epochs=4, batch_size=8), np.random.default_rng(0))
    np.testing.assert_array_equal(w, before)
    assert trained.vector is not w
    assert trained.vector.dtype == np.float32
    assert trained.loss_before == network.loss(w, X, y)
    assert trained.loss_after == network.loss(trained.vector, X, y) < trained.loss_before


def test_weights_that_came_read_only_are_fine() -> None:
    network, w, X, y = problem(mlp(6, 5, 3), 10, dtype=np.float32)
    received = np.frombuffer(w.tobytes(), "<f4")
    assert train(network, received, X, y, fedsgd(0.1), np.random.default_rng(0)).steps == 1


def test_the_same_seed_gives_the_same_bits() -> None:
    vectors = []
    for device in ("a", "a", "b"):
        network, w, X, y = problem(mlp(20, 30, 4), 101, dtype=np.float32)
        plan = Plan(epochs=3, batch_size=7, momentum=0.5)
        vectors.append(train(network, w, X, y, plan, generator(1, 1, 2, device)).vector.tobytes())
    assert vectors[0] == vectors[1] != vectors[2]


def test_a_network_that_was_used_before_gives_the_same_bits() -> None:
    network, w, X, y = problem(mlp(20, 30, 4), 101, dtype=np.float32)
    plan = Plan(epochs=2, batch_size=7)
    fresh = train(network, w, X, y, plan, np.random.default_rng(0)).vector
    network.predict(fresh, X)
    train(network, fresh, X, y, Plan(epochs=1, batch_size=20), np.random.default_rng(1))
    np.testing.assert_array_equal(train(network, w, X, y, plan, np.random.default_rng(0)).vector, fresh)


@pytest.mark.parametrize(
    ("n", "size", "steps"), [(10, 5, 2), (11, 5, 3), (4, 5, 1), (5, 5, 1), (7, 0, 1), (3, 1, 3)]
)
def test_an_epoch_sees_each_sample_once(n: int, size: int, steps: int) -> None:
    X, y = np.arange(n, dtype=float).reshape(n, 1) * 10, np.arange(n)
    seen = [
        (X_batch.copy(), y_batch.copy()) for X_batch, y_batch in batches(X, y, size, np.random.default_rng(0))
    ]
    assert len(seen) == steps
    assert [len(y_batch) for _, y_batch in seen[:-1]] == [size] * (steps - 1)
    rows = np.concatenate([y_batch for _, y_batch in seen])
    assert sorted(rows) == list(range(n))
    np.testing.assert_array_equal(np.concatenate([X_batch for X_batch, _ in seen])[:, 0], rows * 10)


def test_each_epoch_has_an_order_of_its_own() -> None:
    X, y, rng = np.zeros((50, 1)), np.arange(50), np.random.default_rng(0)
    first, second = ([y_batch.copy() for _, y_batch in batches(X, y, 10, rng)] for _ in range(2))
    assert any((a != b).any() for a, b in zip(first, second, strict=True))


def test_all_samples_at_once_need_no_order() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    ((X_batch, _),) = batches(X := np.zeros((5, 1)), np.zeros(5, int), 0, rng)
    assert X_batch is X
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("asked", [1, 4])
def test_training_stops_before_the_next_step_when_cancelled(asked: int) -> None:
    network, w, X, y = problem(mlp(6, 5, 3), 40)
    answers = iter([False] * (asked - 1) + [True])
    with pytest.raises(Cancelled, match=f"after {asked - 1} steps"):
        train(network, w, X, y, Plan(epochs=2, batch_size=8), np.random.default_rng(0), lambda: next(answers))
    assert next(answers, None) is None


def test_a_rate_that_is_far_too_high_is_told_after_an_epoch() -> None:
    network, w, X, y = problem(mlp(6, 5, 3, loss="mse"), 40, dtype=np.float32)
    plan = Plan(epochs=50, batch_size=1, learning_rate=1e3)
    with pytest.raises(Diverged, match=telling("40 steps", "learning rate 1000")):
        train(network, w, X, y, plan, np.random.default_rng(0))


def test_weights_that_are_finite_but_lead_to_an_infinite_loss_are_told() -> None:
    network, w, X, y = problem(mlp(2, 1, loss="mse"), 2, dtype=np.float32)
    with pytest.raises(Diverged, match=telling("loss", "lower the learning rate 1000")):
        train(network, w, X * np.float32(1e6), y, fedsgd(1e3), np.random.default_rng(0))


def test_a_model_that_has_no_loss_before_the_first_step_is_to_blame_and_not_the_learning_rate() -> None:
    network, w, X, y = problem(mlp(2, 1, loss="mse"), 2, dtype=np.float32)
    with pytest.raises(Diverged, match=telling("before the first step", "not to blame")):
        train(network, w * np.float32(1e25), X, y, fedsgd(1e-3), np.random.default_rng(0))


@pytest.mark.parametrize(("rows", "targets"), [(0, 0), (3, 2)])
def test_training_wants_a_target_for_each_sample(rows: int, targets: int) -> None:
    network, w, X, y = problem(mlp(6, 5, 3), 5)
    with pytest.raises(ValueError, match=telling("sample", "target", f"{rows}", f"{targets}")):
        train(network, w, X[:rows], y[:targets], Plan(), np.random.default_rng(0))


def test_the_order_of_a_round_is_the_same_everywhere() -> None:
    """Frozen: PCG64 seeded by NumPy's SeedSequence with SHA-256("3|7|42|sensor-1") as a big-endian number."""
    raw = generator(seed=42, generation=3, round=7, device="sensor-1").bit_generator.random_raw(2)
    assert raw.tolist() == [4387777771437533804, 1699238838662693607]


@pytest.mark.parametrize("other", [(41, 3, 7, "d"), (42, 4, 7, "d"), (42, 3, 8, "d"), (42, 3, 7, "e")])
def test_each_part_of_a_rounds_name_changes_its_order(other: tuple[int, int, int, str]) -> None:
    assert generator(*other).bit_generator.random_raw() != generator(42, 3, 7, "d").bit_generator.random_raw()
