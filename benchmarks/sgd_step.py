"""One local SGD step of Fedge against PyTorch's, and against a bare NumPy loop of the same arithmetic.

    python -m benchmarks.sgd_step [--quick] [--json]     # asks for: pip install torch==2.13.0

One thread each, float32, 1,500 samples, softmax cross-entropy, plain SGD; a step is all that a batch costs:
choosing and gathering its rows, forward, backward, update. PyTorch is `nn.Sequential` with `optim.SGD`, in
eager mode, in the fastest of the optimizer's own variants. The contenders take turns within one run, and the
best turn of each counts: the one that other programs disturbed least.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# One thread each, before NumPy is imported.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np

from benchmarks.verdict import Goal, arguments, judged
from fedge.algorithms.local.descent import descend
from fedge.algorithms.plan import Plan
from fedge.nn import Network, NetworkSpec, initialize

SAMPLES = 1_500
RATE = 0.05


@dataclass(frozen=True)
class Case:
    widths: tuple[int, ...]
    batch: int
    epochs: int
    goal: float
    """How many times PyTorch's speed is wanted."""


CASES = (
    Case((64, 64, 10), 10, epochs=5, goal=8.0),
    Case((784, 200, 200, 10), 10, epochs=3, goal=2.0),
    Case((784, 200, 200, 10), 32, epochs=6, goal=2.0),
)
TURNS, QUICK_TURNS = 15, 3

Contender = Callable[[], int]
"""Trains for the case's epochs and returns the number of steps."""


def spec(widths: tuple[int, ...]) -> NetworkSpec:
    layers: list[dict[str, Any]] = []
    for units in widths[1:-1]:
        layers += [{"type": "dense", "units": units}, {"type": "relu"}]
    layers.append({"type": "dense", "units": widths[-1]})
    return NetworkSpec.model_validate({"inputs": widths[0], "layers": layers, "loss": "cross-entropy"})


def data(case: Case) -> tuple[Any, Any]:
    """Samples like an image's pixels, and classes that a network can learn from them."""
    rng = np.random.default_rng(0)
    X = np.maximum(rng.normal(size=(SAMPLES, case.widths[0])), 0).astype(np.float32)
    return X, np.argmax(X @ rng.normal(size=(case.widths[0], case.widths[-1])), axis=1)


def fedge_steps(case: Case, X: Any, y: Any) -> Contender:
    network = Network(spec(case.widths))
    rng = np.random.default_rng(1)
    vector = initialize(network.spec, rng)
    X, y = network.prepare(X), network.prepare_targets(y)
    plan = Plan(epochs=case.epochs, batch_size=case.batch, learning_rate=RATE)
    return lambda: descend(network, vector, X, y, plan, rng)


def bare_steps(case: Case, X: Any, y: Any) -> Contender:
    """The textbook's loop over lists of matrices, as one would first write it."""
    network = spec(case.widths)
    rng = np.random.default_rng(1)
    parameters = network.schema.views(initialize(network, rng))
    weights = [view.copy() for name, view in parameters.items() if name.endswith("weight")]
    biases = [view.copy() for name, view in parameters.items() if name.endswith("bias")]
    one_hot = np.eye(case.widths[-1], dtype=np.float32)

    def run() -> int:
        steps = 0
        for _ in range(case.epochs):
            order = rng.permutation(SAMPLES)
            for start in range(0, SAMPLES, case.batch):
                rows = order[start : start + case.batch]
                activations = [X[rows]]
                for W, b in zip(weights[:-1], biases[:-1], strict=True):
                    activations.append(np.maximum(activations[-1] @ W + b, 0))
                z = activations[-1] @ weights[-1] + biases[-1]
                p = np.exp(z - z.max(axis=1, keepdims=True))
                p /= p.sum(axis=1, keepdims=True)
                delta = (p - one_hot[y[rows]]) / np.float32(len(rows))
                for layer in reversed(range(len(weights))):
                    gradient, bias_gradient = activations[layer].T @ delta, delta.sum(axis=0)
                    if layer:
                        delta = (delta @ weights[layer].T) * (activations[layer] > 0)
                    weights[layer] -= np.float32(RATE) * gradient
                    biases[layer] -= np.float32(RATE) * bias_gradient
                steps += 1
        return steps

    return run


def torch_steps(case: Case, X: Any, y: Any, **variant: bool) -> Contender:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(1)
    layers: list[Any] = []
    for inputs, units in zip(case.widths[:-2], case.widths[1:-1], strict=True):
        layers += [torch.nn.Linear(inputs, units), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(*case.widths[-2:]))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, **variant)
    criterion = torch.nn.CrossEntropyLoss()
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)

    def run() -> int:
        steps = 0
        for _ in range(case.epochs):
            for rows in torch.randperm(SAMPLES).split(case.batch):
                optimizer.zero_grad(set_to_none=True)
                criterion(model(inputs[rows]), targets[rows]).backward()
                optimizer.step()
                steps += 1
        return steps

    return run


def measure(contenders: dict[str, Contender], turns: int) -> dict[str, float]:
    """Return each contender's microseconds a step in its best turn."""
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(turns):
        for name, run in contenders.items():
            start = time.perf_counter()
            steps = run()
            best[name] = min(best[name], (time.perf_counter() - start) / steps * 1e6)
    return best


def main() -> int:
    options = arguments(__doc__, f"{QUICK_TURNS} turns instead of {TURNS}").parse_args()
    try:
        import torch
    except ModuleNotFoundError:
        print("this benchmark compares with PyTorch: pip install torch==2.13.0", file=sys.stderr)
        return 78
    lines = [f"NumPy {np.__version__}, PyTorch {torch.__version__}, one thread each; µs a step"]
    report: dict[str, dict[str, float]] = {}
    goals = []
    for case in CASES:
        X, y = data(case)
        times = measure(
            {
                "fedge": fedge_steps(case, X, y),
                "bare": bare_steps(case, X, y),
                "torch": torch_steps(case, X, y),
                "torch foreach": torch_steps(case, X, y, foreach=True),
                "torch loop": torch_steps(case, X, y, foreach=False),
                "torch fused": torch_steps(case, X, y, fused=True),
            },
            QUICK_TURNS if options.quick else TURNS,
        )
        network = f"{'-'.join(map(str, case.widths))} B={case.batch}"
        report[network] = dict(times)
        ours = times.pop("fedge")
        bare = times.pop("bare")
        best = min(times, key=lambda name: times[name])
        lines.append(f"{network}: fedge {ours:.1f}")
        lines.append(f"    bare NumPy {bare:.1f}: {bare / ours:.2f}×")
        lines.append(f"    {best} {times[best]:.1f}: {times[best] / ours:.2f}×")
        goals.append(Goal(f"{network}, times PyTorch's speed", times[best] / ours, at_least=case.goal))
    return judged({"us_a_step": report}, "\n".join(lines), goals, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
