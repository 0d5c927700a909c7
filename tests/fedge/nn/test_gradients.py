"""Every gradient against central finite differences, in float64.

With step h = 1e-5 the formula's own error is h²/6 times a third derivative, some 1e-10 here, and rounding
adds 1e-16 · L / h, some 1e-11: an absolute tolerance of 1e-7 leaves room, and is far below any real mistake.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedge.nn import Network, NetworkSpec, initialize
from fedge.nn import network as network_module
from fedge.nn.layers import dense
from fedge.nn.spec import Dense, LayerSpec, ReLU, Sigmoid, Tanh

H = 1e-5
TOLERANCE = 1e-7

activations = st.lists(st.sampled_from(["relu", "tanh", "sigmoid"]), max_size=2)


@st.composite
def specs(draw: st.DrawFn) -> NetworkSpec:
    """Any network: dense layers with none, one or two activations before and between them."""
    layers: list[dict[str, Any]] = [{"type": name} for name in draw(activations)]
    for units in draw(st.lists(st.integers(1, 5), max_size=2)):
        layers.append({"type": "dense", "units": units})
        layers += [{"type": name} for name in draw(activations)]
    layers.append({"type": "dense", "units": draw(st.integers(1, 4))})
    loss = draw(st.sampled_from(["cross-entropy", "mse"]))
    return NetworkSpec.model_validate({"inputs": draw(st.integers(1, 5)), "layers": layers, "loss": loss})


def samples(network: Network, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    X = network.prepare(rng.normal(size=(n, network.spec.inputs)))
    if network.spec.loss == "mse":
        return X, network.prepare_targets(rng.normal(size=(n, network.spec.outputs)))
    return X, network.prepare_targets(rng.integers(network.spec.outputs, size=n))


def slopes(network: Network, w: np.ndarray, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    steps = H * np.eye(len(w))
    return np.array([network.loss(w + h, X, y) - network.loss(w - h, X, y) for h in steps]) / (2 * H)


@settings(max_examples=100, deadline=None, derandomize=True)  # one run in a hundred would meet ReLU's bend
@given(
    spec=specs(),
    n=st.integers(1, 7),
    seed=st.integers(0, 2**32),
    piece=st.sampled_from([1, 6, 10_000]),
    block=st.sampled_from([10, 10_000]),
)
def test_the_gradient_is_the_slope_of_the_loss(
    spec: NetworkSpec, n: int, seed: int, piece: int, block: int
) -> None:
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "PIECE_ENTRIES", piece)
        patch.setattr(network_module, "BLOCK_ENTRIES", block)
        network = Network(spec, np.float64)
        X, y = samples(network, n, rng)
        w = initialize(spec, rng, np.float64) + rng.normal(0, 0.1, spec.schema.size)
        gradient = np.full(spec.schema.size, np.nan)
        loss = network.loss_and_grad(w, X, y, gradient)
        assert loss == pytest.approx(network.loss(w, X, y), rel=1e-12)
        np.testing.assert_allclose(gradient, slopes(network, w, X, y), rtol=0, atol=TOLERANCE)
        pieces = np.full(spec.schema.size, np.nan)
        for place, values in network.gradients(w, X, y, scale=-3.0):
            pieces[place] = values
        np.testing.assert_allclose(pieces, -3.0 * gradient, rtol=0, atol=1e-12)


WIDE = np.dtype(np.float64)


@pytest.mark.parametrize("spec", [ReLU(), Tanh(), Sigmoid(), Dense(units=3)], ids=lambda spec: spec.type)
def test_a_layer_passes_the_slope_down(spec: LayerSpec) -> None:
    rng = np.random.default_rng(5)
    layer = spec.build((4,), 6, slice(2, 2 + 5 * 3), WIDE)
    layer.bind(rng.normal(size=2 + 5 * 3 + 1))
    x = rng.normal(size=(6, 4))
    towards = rng.normal(size=layer.forward(x).shape)
    dx = layer.backward(towards).copy()
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = H
        rise = np.sum(layer.forward(x + step) * towards) - np.sum(layer.forward(x - step) * towards)
        assert dx[at] == pytest.approx(rise / (2 * H), abs=TOLERANCE)


def test_where_relu_bends_the_slope_is_zero() -> None:
    layer = ReLU().build((3,), 1, slice(0, 0), WIDE)
    layer.forward(np.array([[-1.0, 0.0, 1.0]]))
    assert layer.backward(np.full((1, 3), 7.0)).tolist() == [[0, 0, 7]]


def test_weights_may_be_changed_as_soon_as_their_piece_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "PIECE_ENTRIES", 8)
    spec = NetworkSpec.model_validate(
        {
            "inputs": 5,
            "layers": [{"type": "dense", "units": 6}, {"type": "tanh"}, {"type": "dense", "units": 3}],
            "loss": "cross-entropy",
        }
    )
    network = Network(spec, np.float64)
    rng = np.random.default_rng(1)
    X, y = samples(network, 9, rng)
    w = initialize(spec, rng, np.float64)
    gradient = np.empty_like(w)
    network.loss_and_grad(w, X, y, gradient)
    expected = w - gradient
    places = 0
    for place, piece in network.gradients(w, X, y):
        w[place] -= piece
        places += 1
    assert places > 2  # more than one a layer, or nothing was tested
    np.testing.assert_array_equal(w, expected)
