import tracemalloc
from typing import Any

import numpy as np
import pytest

from fedge.nn import Network, NetworkSpec, initialize
from fedge.nn import network as network_module
from fedge.nn.chain import Chain
from fedge.nn.spec import Dense, ReLU, Rescale, Standardize

MEAN, SCALE = np.array([1.0, -2.0, 100.0]), np.array([2.0, 0.5, 10.0])
TARGET_MEAN, TARGET_SCALE = np.array([20.0, 5.0]), np.array([4.0, 0.25])


def frozen(kind: type, mean: np.ndarray, scale: np.ndarray) -> Any:
    return kind(mean=mean.astype("<f4").tobytes(), scale=scale.astype("<f4").tobytes())


CORE = (Dense(units=8), ReLU(), Dense(units=2))
CLASSIFIER = NetworkSpec(inputs=3, layers=(frozen(Standardize, MEAN, SCALE), *CORE), loss="cross-entropy")
REGRESSION = NetworkSpec(
    inputs=3,
    layers=(frozen(Standardize, MEAN, SCALE), *CORE, frozen(Rescale, TARGET_MEAN, TARGET_SCALE)),
    loss="mse",
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def raw_samples(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(MEAN, SCALE, (n, 3))


def test_prepare_standardizes_in_the_networks_own_precision(rng: np.random.Generator) -> None:
    X = raw_samples(50, rng)
    wide = Network(CLASSIFIER, np.float64).prepare(X)
    np.testing.assert_allclose(wide, (X - MEAN) / SCALE, rtol=1e-14)
    narrow = Network(CLASSIFIER).prepare(X)
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, wide, rtol=0, atol=1e-5)


def test_prepare_does_not_change_what_it_is_given(rng: np.random.Generator) -> None:
    X = raw_samples(5, rng).astype(np.float32)
    before = X.copy()
    Network(CLASSIFIER).prepare(X)
    np.testing.assert_array_equal(X, before)


def test_targets_of_a_regression_are_compared_in_standard_units() -> None:
    y = np.array([[24.0, 5.0], [20.0, 4.75]])
    prepared = Network(REGRESSION).prepare_targets(y)
    np.testing.assert_array_equal(prepared, [[1, 0], [0, -1]])


def test_one_target_may_come_as_a_vector() -> None:
    network = Network(NetworkSpec(inputs=3, layers=(Dense(units=1),), loss="mse"))
    np.testing.assert_array_equal(network.prepare_targets([1.0, 2.0]), [[1], [2]])


def test_classes_become_int64(rng: np.random.Generator) -> None:
    prepared = Network(CLASSIFIER).prepare_targets(np.array([1, 0, 1], np.uint8))
    assert prepared.dtype == np.int64
    assert prepared.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("spec", "y", "message"),
    [
        (CLASSIFIER, [0, 1, 2], "row 2: .*2 .*0 … 1"),
        (CLASSIFIER, [0, -1], "row 1: .*-1 .*0 … 1"),
        (CLASSIFIER, [0.0, 1.0], "float64"),
        (CLASSIFIER, [[0], [1]], r"\(n,\).*\(2, 1\)"),
        (REGRESSION, [[0.0], [1.0]], r"\(n, 2\).*\(2, 1\)"),
        (REGRESSION, [0.0, 1.0], r"\(n, 2\).*\(2,\)"),
    ],
)
def test_wrong_targets_are_named(spec: NetworkSpec, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Network(spec).prepare_targets(np.asarray(y))


@pytest.mark.parametrize("shape", [(4, 2), (3,), (2, 3, 1)])
def test_samples_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    network = Network(CLASSIFIER)
    w = np.zeros(network.schema.size, np.float32)
    for function in (network.prepare, lambda X: network.predict(w, X)):
        with pytest.raises(ValueError, match=r"\(n, 3\)"):
            function(np.zeros(shape))


@pytest.mark.parametrize("w", [np.zeros(10, np.float32), np.zeros(CLASSIFIER.schema.size)])
def test_weights_of_another_shape_or_precision_are_refused(w: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"float32.*shape"):
        Network(CLASSIFIER).predict(w, np.zeros((2, 3)))


def test_outputs_are_the_matrices_product(rng: np.random.Generator) -> None:
    w = initialize(REGRESSION, rng, np.float64) + 0.1
    X = raw_samples(20, rng)
    p = REGRESSION.schema.views(w)
    hidden = np.maximum((X - MEAN) / SCALE @ p["0.weight"] + p["0.bias"], 0)
    expected = (hidden @ p["1.weight"] + p["1.bias"]) * TARGET_SCALE + TARGET_MEAN
    network = Network(REGRESSION, np.float64)
    np.testing.assert_allclose(network.forward(w, X), expected, rtol=1e-13)
    np.testing.assert_array_equal(network.predict(w, X), network.forward(w, X))


def test_a_classifier_predicts_probabilities(rng: np.random.Generator) -> None:
    network = Network(CLASSIFIER)
    w, X = initialize(CLASSIFIER, rng), raw_samples(20, rng)
    probabilities, logits = network.predict(w, X), network.forward(w, X)
    assert probabilities.dtype == logits.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    odds = probabilities[:, 0] / probabilities[:, 1]
    np.testing.assert_allclose(np.log(odds), logits[:, 0] - logits[:, 1], atol=1e-5)


def test_no_samples_have_no_predictions() -> None:
    network = Network(CLASSIFIER)
    assert network.predict(np.zeros(network.schema.size, np.float32), np.zeros((0, 3))).shape == (0, 2)


def test_evaluate_counts_right_answers(rng: np.random.Generator) -> None:
    network = Network(CLASSIFIER)
    w, X = initialize(CLASSIFIER, rng), raw_samples(30, rng)
    right = np.argmax(network.predict(w, X), axis=1)
    y = right.copy()
    y[:6] = 1 - y[:6]
    evaluation = network.evaluate(w, X, y)
    assert evaluation.accuracy == 24 / 30
    assert evaluation.samples == 30
    prepared = network.prepare(X), network.prepare_targets(y)
    assert evaluation.loss == pytest.approx(network.loss(w, *prepared), rel=1e-6)
    expected = -np.log(network.predict(w, X)[np.arange(30), y]).mean()
    assert evaluation.loss == pytest.approx(expected, rel=1e-5)


def test_a_regression_is_evaluated_in_standard_units_and_has_no_accuracy(rng: np.random.Generator) -> None:
    network = Network(REGRESSION, np.float64)
    w, X = initialize(REGRESSION, rng, np.float64), raw_samples(30, rng)
    y = rng.normal(TARGET_MEAN, TARGET_SCALE, (30, 2))
    evaluation = network.evaluate(w, X, y)
    assert evaluation.accuracy is None
    expected = np.mean(((network.predict(w, X) - y) / TARGET_SCALE) ** 2)
    assert evaluation.loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rows", [30, 3])
def test_errors_of_a_regression_are_in_the_targets_units(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Of several targets the mean of theirs; whether the rows are gone through at once or in blocks."""
    network = Network(REGRESSION, np.float64)
    monkeypatch.setattr(network, "_block", rows)
    w, X = initialize(REGRESSION, rng, np.float64), raw_samples(30, rng)
    y = rng.normal(TARGET_MEAN, TARGET_SCALE, (30, 2))
    found = network.evaluate(w, X, y).errors
    assert found is not None
    apart = network.predict(w, X) - y
    assert found.rmse == pytest.approx(np.sqrt((apart**2).mean(axis=0)).mean(), rel=1e-9)
    assert found.mae == pytest.approx(np.abs(apart).mean(axis=0).mean(), rel=1e-9)


def test_a_classifier_has_no_errors(rng: np.random.Generator) -> None:
    network = Network(CLASSIFIER)
    w, X = initialize(CLASSIFIER, rng), raw_samples(5, rng)
    assert network.evaluate(w, X, np.zeros(5, int)).errors is None


@pytest.mark.parametrize("samples", [0, 4])
def test_evaluate_wants_a_target_for_each_sample(samples: int) -> None:
    network = Network(CLASSIFIER)
    w = np.zeros(network.schema.size, np.float32)
    with pytest.raises(ValueError, match="at least one sample and a target for each"):
        network.evaluate(w, np.zeros((samples, 3)), np.zeros(0, int))


def test_frozen_layers_learn_nothing(rng: np.random.Generator) -> None:
    bare = NetworkSpec(inputs=3, layers=CORE, loss="mse")
    assert REGRESSION.schema == bare.schema
    network, core = Network(REGRESSION, np.float64), Network(bare, np.float64)
    w = initialize(bare, rng, np.float64)
    X = network.prepare(raw_samples(9, rng))
    y = network.prepare_targets(rng.normal(TARGET_MEAN, TARGET_SCALE, (9, 2)))
    gradient, expected = np.empty_like(w), np.empty_like(w)
    assert network.loss_and_grad(w, X, y, gradient) == core.loss_and_grad(w, X, y, expected)
    np.testing.assert_array_equal(gradient, expected)


def test_blocks_change_nothing_but_the_last_bits(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Network(CLASSIFIER, np.float64)
    monkeypatch.setattr(network_module, "BLOCK_ENTRIES", 8 * 7)
    cut = Network(CLASSIFIER, np.float64)
    w, X, y = initialize(CLASSIFIER, rng, np.float64), raw_samples(40, rng), rng.integers(2, size=40)
    np.testing.assert_allclose(cut.predict(w, X), whole.predict(w, X), rtol=1e-13)
    assert cut.evaluate(w, X, y).loss == pytest.approx(whole.evaluate(w, X, y).loss, rel=1e-13)
    assert cut.evaluate(w, X, y).accuracy == whole.evaluate(w, X, y).accuracy
    prepared = whole.prepare(X), whole.prepare_targets(y)
    gradient, expected = np.empty_like(w), np.empty_like(w)
    cut.loss_and_grad(w, *prepared, gradient)
    whole.loss_and_grad(w, *prepared, expected)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-14)


def test_the_memory_of_a_prediction_does_not_grow_with_the_samples(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_module, "BLOCK_ENTRIES", 8 * 64)
    network = Network(CLASSIFIER)
    w, X = initialize(CLASSIFIER, rng), raw_samples(20_000, rng)
    y = rng.integers(2, size=20_000)
    network.evaluate(w, X[:100], y[:100])
    tracemalloc.start()
    network.evaluate(w, X, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 20,000 samples of 8 hidden units are 640 kB; what remains is the check of the class indices, 60 kB.
    assert peak < 100_000


@pytest.mark.parametrize("spec", [CLASSIFIER, REGRESSION], ids=["classifier", "regression"])
def test_a_gradient_allocates_nothing(spec: NetworkSpec, rng: np.random.Generator) -> None:
    network = Network(spec)
    w, gradient = initialize(spec, rng), np.empty(spec.schema.size, np.float32)
    X = network.prepare(raw_samples(30_000, rng))
    targets = rng.integers(2, size=30_000) if spec is CLASSIFIER else rng.normal(size=(30_000, 2))
    y = network.prepare_targets(targets)
    network.loss_and_grad(w, X, y, gradient)
    tracemalloc.start()
    for _ in range(5):
        network.loss_and_grad(w, X, y, gradient)
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # One column of one layer's output is 120 kB. What is seen is NumPy's own cast buffer, 64 KiB at any n.
    assert peak < 100_000
    assert now < 4_000


def test_batches_of_ever_new_sizes_keep_few_buffers(rng: np.random.Generator) -> None:
    network = Network(CLASSIFIER)
    w, gradient = initialize(CLASSIFIER, rng), np.empty(CLASSIFIER.schema.size, np.float32)
    X, y = network.prepare(raw_samples(1_000, rng)), network.prepare_targets(rng.integers(2, size=1_000))
    for n in range(1_000, 990, -1):
        network.loss_and_grad(w, X[:n], y[:n], gradient)
    tracemalloc.start()
    for n in range(990, 900, -1):
        network.loss_and_grad(w, X[:n], y[:n], gradient)
    now, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A chain of 1,000 rows is about 150 kB; ninety of them would be 13 MB.
    assert now < 1_000_000


def test_the_same_input_gives_the_same_bits(rng: np.random.Generator) -> None:
    w = initialize(CLASSIFIER, rng)
    X, y = raw_samples(33, rng), rng.integers(2, size=33)
    results = []
    for _ in range(2):
        network = Network(CLASSIFIER)
        gradient = np.empty_like(w)
        loss = network.loss_and_grad(
            w.copy(), network.prepare(X.copy()), network.prepare_targets(y), gradient
        )
        results.append((loss, gradient.tobytes(), network.predict(w, X).tobytes()))
    assert results[0] == results[1]


def test_another_vector_is_noticed(rng: np.random.Generator) -> None:
    network = Network(CLASSIFIER)
    one, other = initialize(CLASSIFIER, rng), initialize(CLASSIFIER, rng)
    X = raw_samples(5, rng)
    first = network.predict(one, X)
    assert (network.predict(other, X) != first).any()
    np.testing.assert_array_equal(network.predict(one, X), first)


def test_blocks_are_small_where_a_hidden_layer_is_wide(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setattr(network_module, "BLOCK_ENTRIES", 120)
    made = []
    monkeypatch.setattr(
        network_module, "Chain", lambda spec, rows, dtype: made.append(rows) or Chain(spec, rows, dtype)
    )
    spec = NetworkSpec(inputs=3, layers=(Dense(units=40), ReLU(), Dense(units=2)), loss="cross-entropy")
    Network(spec).predict(initialize(spec, rng), rng.normal(size=(8, 3)))
    assert sorted(made) == [2, 3], "three rows of 40 at once, and the two that are left"


def test_views_that_could_not_be_made_are_made_again(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last layer fails to take a vector, as where memory is short; the first one has taken it."""
    X, first, second = (
        rng.normal(size=(4, 3)).astype(np.float32),
        *(initialize(CLASSIFIER, np.random.default_rng(seed)) for seed in (1, 2)),
    )
    chain = Chain(CLASSIFIER, 4, np.dtype(np.float32))
    expected = chain.forward(first, X).copy()

    def fails(w: np.ndarray) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(chain._layers[-1], "bind", fails)
        with pytest.raises(MemoryError):
            chain.forward(second, X)
    assert (chain.forward(first, X) == expected).all()
