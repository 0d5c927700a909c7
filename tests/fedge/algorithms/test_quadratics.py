"""Local algorithms, rules and server optimizers together, on quadratics whose optimum is known.

The model is one dense layer with the mean squared error, so device k has the loss
F_k(w) = ‖Z_k w - y_k‖² / n_k with Z_k = [X_k, 1]. Its Hessian is H_k = 2 Z_kᵀ Z_k / n_k, and its own optimum
w_k* is a least-squares solution. The devices differ in both, and in n_k. The optimum of Σ p_k F_k is the
least-squares solution of all rows, those of device k multiplied by √(p_k / n_k).

K full-batch steps of rate α from w end in w_k* + (I - αH_k)^K (w - w_k*). With A_k = I - (I - αH_k)^K this is
w + A_k (w_k* - w). So a round of FedAvg leaves w where it is if Σ p_k A_k (w_k* - w) = 0:

    w = (Σ p_k A_k)⁻¹ Σ p_k A_k w_k*

For K = 1, A_k = αH_k, and w is the optimum. FedNova divides each device's change by its K_k, which gives the
same with p_k / K_k in the place of p_k. As α falls, A_k tends to αK_k H_k. So FedNova tends to the optimum,
with a distance in proportion to α, and FedAvg to the optimum of Σ p_k K_k F_k, which is another one if the
K_k differ.

The loop below calls the parts themselves; besides, it chooses devices and keeps their states. In float64 the
same parts run, because each keeps the type of what it gets: the network has a dtype, and rule, server
optimizer and `handed_on` round to the type of the base, which is float32 in a federation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.linalg import lstsq, matrix_power, norm, solve

from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import WEIGHTS
from fedge.algorithms.registry import CODECS, LOCAL, RULES, SERVER
from fedge.algorithms.trainer import Job, Trained
from fedge.nn import Dense, Network, NetworkSpec
from fedge.testing.rule import SomeUpdates

Array = np.ndarray[Any, Any]

INPUTS = 3
SIZE = INPUTS + 1
SPEC = NetworkSpec(inputs=INPUTS, layers=(Dense(units=1),), loss="mse")
DEVICES = 8
PRECISIONS = [(np.float32, 1e-5), (np.float64, 1e-6)]


@dataclass(frozen=True)
class Device:
    """One device's samples; its owner allows it `most` epochs."""

    X: Array
    y: Array
    most: int = 1000

    @property
    def rows(self) -> Array:
        """Z, of shape (n, p), in the order of the flat vector: weights, then bias."""
        return np.column_stack([self.X, np.ones(len(self.X))])

    @property
    def hessian(self) -> Array:
        return 2 * self.rows.T @ self.rows / len(self.X)

    @property
    def optimum(self) -> Array:
        return lstsq(self.rows, self.y, None)[0]


def fleet(most: Sequence[int] = (1000,) * DEVICES) -> dict[str, Device]:
    """Devices that differ in the scales of their inputs, in what they have to learn, and in n_k."""
    rng, devices = np.random.default_rng(3), {}
    for k in range(DEVICES):
        samples = 12 + 6 * k
        X = rng.normal(size=(samples, INPUTS)) * rng.uniform(0.6, 1.4, INPUTS) + rng.uniform(
            -0.3, 0.3, INPUTS
        )
        y = X @ rng.normal(1, 1, INPUTS) + rng.normal() + 0.1 * rng.normal(size=samples)
        devices[f"pi-{k}"] = Device(X, y, most[k])
    return devices


def by_samples(devices: Mapping[str, Device]) -> dict[str, float]:
    total = sum(len(device.X) for device in devices.values())
    return {name: len(device.X) / total for name, device in devices.items()}


def uniform(devices: Mapping[str, Device]) -> dict[str, float]:
    return dict.fromkeys(devices, 1 / len(devices))


def optimum(devices: Mapping[str, Device], p: Mapping[str, float]) -> Array:
    """The optimum of Σ p_k F_k."""
    factors = {name: np.sqrt(p[name] / len(device.X)) for name, device in devices.items()}
    rows = np.concatenate([factors[name] * device.rows for name, device in devices.items()])
    return lstsq(rows, np.concatenate([factors[name] * device.y for name, device in devices.items()]), None)[
        0
    ]


def standstill(devices: Mapping[str, Device], p: Mapping[str, float], plan: Plan) -> Array:
    """Where FedAvg's model stands still: (Σ p_k A_k)⁻¹ Σ p_k A_k w_k*."""
    unit, left, right = np.eye(SIZE), np.zeros((SIZE, SIZE)), np.zeros(SIZE)
    for name, device in devices.items():
        steps = min(plan.epochs, device.most)
        A = unit - matrix_power(unit - plan.learning_rate * device.hessian, steps)
        left += p[name] * A
        right += p[name] * A @ device.optimum
    return solve(left, right)


def counted(devices: Mapping[str, Device], parts: "Parts") -> dict[str, float]:
    """p_k by samples; for FedNova divided by K_k."""
    p = by_samples(devices)
    return p if parts is FEDAVG else {name: p[name] / devices[name].most for name in devices}


def off(w: Array, target: Array) -> float:
    return float(norm(w - target) / norm(target))


@dataclass(frozen=True, eq=False)
class Parts:
    """An algorithm: names of its parts, with their options."""

    local: str = "sgd"
    rule: str = "mean"
    server: str = "average"
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


FEDAVG = Parts()
SCAFFOLD = Parts("scaffold", options={"rule": {"weights": "uniform"}})
FEDDYN = Parts("dyn", server="dyn", options={"local": {"alpha": 1.0}, "rule": {"weights": "uniform"}})
FEDNOVA = Parts("nova", "nova")


class Through:
    """A codec that the vectors of all devices go through, with a state for each."""

    def __init__(self, codec: str, options: Mapping[str, Any]) -> None:
        self._codec, self._seed = CODECS.make(codec, options), 0
        self._states: dict[tuple[str, str], Any] = {}

    def sent(self, device: str, trained: Trained, base: Array) -> Trained:
        """What arrives: the weights are sent as the change from the base."""
        found = {}
        for name, vector in trained.vectors.items():
            start = base if name == WEIGHTS else np.zeros_like(base)
            before = self._states.get((device, name)) or self._codec.init(SIZE)
            self._seed += 1
            body, self._states[device, name] = self._codec.encode(vector - start, before, self._seed)
            found[name] = start + self._codec.decode(body, SIZE, self._seed)
        return replace(trained, vectors=found)


def learn(
    devices: Mapping[str, Device],
    parts: Parts,
    plan: Plan,
    rounds: int,
    dtype: Any,
    fewest: int = DEVICES,
    through: Through | None = None,
) -> Array:
    """The model, of shape (p,), after these rounds.

    In each round as many devices take part as are drawn between `fewest` and all but two; they are drawn too.
    Their number has to vary. If it were always the same, a mistake in `share` would only multiply sums that
    end at 0.
    """
    local = LOCAL.make(parts.local, parts.options.get("local"))
    rule = RULES.make(parts.rule, parts.options.get("rule"))
    server = SERVER.make(parts.server, parts.options.get("server"))
    rng = np.random.default_rng(4)
    networks = {name: Network(SPEC, dtype) for name in devices}
    data = {
        name: (n.prepare(devices[name].X), n.prepare_targets(devices[name].y)) for name, n in networks.items()
    }
    states = {name: local.init(SIZE) for name in devices}
    model = {name: np.zeros(SIZE, dtype) for name in (WEIGHTS, *local.receives)}
    kept = server.init(SIZE)
    for _ in range(rounds):
        done: dict[str, Trained] = {}
        cohort = fewest if fewest == DEVICES else rng.integers(fewest, DEVICES - 1)
        for name in sorted(rng.permutation(sorted(devices))[:cohort]):
            asked = plan.model_copy(update={"epochs": min(plan.epochs, devices[name].most)})
            job = Job(networks[name], model, *data[name], asked, np.random.default_rng(0), states[name])
            done[name] = local.run(job, lambda: False)
            states[name] = done[name].state
            if through is not None:
                done[name] = through.sent(name, done[name], model[WEIGHTS])

        def updates(vector: str, done: Mapping[str, Trained] = done) -> Any:
            made = {name: (each.vectors[vector].copy, len(devices[name].X)) for name, each in done.items()}
            return SomeUpdates(made, SIZE, {name: each.steps for name, each in done.items()})

        share = len(done) / len(devices)
        weights, kept = server.step(
            model[WEIGHTS], rule.aggregate(updates(WEIGHTS), model[WEIGHTS], {}).vector, kept, share
        )
        further = {
            name: local.handed_on(
                name, model[name], rule.aggregate(updates(name), np.zeros(SIZE, dtype), {}).vector, share
            )
            for name in local.receives
        }
        model = {WEIGHTS: weights, **further}
        assert all(vector.dtype == dtype for vector in model.values())
    return model[WEIGHTS]


PLAN = Plan(epochs=5, batch_size=0, learning_rate=0.1)
MOST = (1, 2, 9, 3, 8, 1, 4, 2)
"""Epochs that owners allow, where devices take unequal numbers of steps."""
UNEQUAL = PLAN.model_copy(update={"epochs": 9})


def test_the_devices_are_unlike_each_other() -> None:
    devices = fleet()
    best = optimum(devices, uniform(devices))
    assert all(off(device.optimum, best) > 0.5 for device in devices.values())
    for device in devices.values():
        least, *_, most = np.linalg.eigvalsh(device.hessian)
        assert least > 0.5
        assert most < 1 / PLAN.learning_rate, "each step of each device lowers its loss"


@pytest.mark.parametrize(("dtype", "near"), PRECISIONS)
def test_fedavg_with_one_step_ends_at_the_optimum(dtype: Any, near: float) -> None:
    devices, once = fleet(), PLAN.model_copy(update={"epochs": 1})
    w = learn(devices, FEDAVG, once, 100, dtype)
    assert off(w, optimum(devices, by_samples(devices))) < near


@pytest.mark.parametrize(("dtype", "near"), PRECISIONS)
@pytest.mark.parametrize("weights", ["samples", "uniform"])
def test_fedavg_with_several_steps_ends_as_far_from_the_optimum_as_theory_says(
    weights: str, dtype: Any, near: float
) -> None:
    devices = fleet()
    p = by_samples(devices) if weights == "samples" else uniform(devices)
    w = learn(devices, replace(FEDAVG, options={"rule": {"weights": weights}}), PLAN, 60, dtype)
    assert off(w, standstill(devices, p, PLAN)) < near
    assert off(w, optimum(devices, p)) > 0.05


@pytest.mark.parametrize(("dtype", "near"), PRECISIONS)
@pytest.mark.parametrize(("fewest", "rounds"), [(DEVICES, 100), (1, 300)])
@pytest.mark.parametrize("parts", [SCAFFOLD, FEDDYN], ids=["scaffold", "dyn"])
def test_scaffold_and_feddyn_end_at_the_optimum(
    parts: Parts, fewest: int, rounds: int, dtype: Any, near: float
) -> None:
    devices = fleet()
    w = learn(devices, parts, PLAN, rounds, dtype, fewest)
    assert off(w, optimum(devices, uniform(devices))) < near


@pytest.mark.parametrize(("dtype", "near"), PRECISIONS)
@pytest.mark.parametrize("parts", [SCAFFOLD, FEDDYN], ids=["scaffold", "dyn"])
def test_so_they_do_with_unequal_numbers_of_steps(parts: Parts, dtype: Any, near: float) -> None:
    devices = fleet(MOST)
    w = learn(devices, parts, UNEQUAL, 150, dtype)
    assert off(w, optimum(devices, uniform(devices))) < near


@pytest.mark.parametrize(("dtype", "near"), PRECISIONS)
@pytest.mark.parametrize("parts", [FEDAVG, FEDNOVA], ids=["sgd", "nova"])
def test_with_unequal_numbers_of_steps_fedavg_and_fednova_end_where_theory_says(
    parts: Parts, dtype: Any, near: float
) -> None:
    devices = fleet(MOST)
    w = learn(devices, parts, UNEQUAL, 60, dtype)
    assert off(w, standstill(devices, counted(devices, parts), UNEQUAL)) < near


def test_fednovas_distance_from_the_optimum_falls_with_the_rate_and_fedavgs_does_not() -> None:
    devices = fleet(MOST)
    best = optimum(devices, by_samples(devices))
    drawn = {name: each * devices[name].most for name, each in by_samples(devices).items()}
    ends: dict[Parts, list[float]] = {FEDAVG: [], FEDNOVA: []}
    drawn_off = []
    for rate, rounds in ((0.05, 60), (0.025, 110), (0.0125, 210)):
        plan = UNEQUAL.model_copy(update={"learning_rate": rate})
        for parts, told in ends.items():
            w = learn(devices, parts, plan, rounds, np.float64)
            assert off(w, standstill(devices, counted(devices, parts), plan)) < 1e-6
            told.append(off(w, best))
            if parts is FEDAVG:
                drawn_off.append(off(w, optimum(devices, drawn)))
    # A distance a α + b α² + … is halved with α, up to a part in the order of α.
    assert [ends[FEDNOVA][i] / ends[FEDNOVA][i + 1] for i in (0, 1)] == pytest.approx([2, 2], rel=0.1)
    assert [drawn_off[i] / drawn_off[i + 1] for i in (0, 1)] == pytest.approx([2, 2], rel=0.1)
    assert ends[FEDAVG] == sorted(ends[FEDAVG]), "it tends to the optimum of the wrong sum"
    assert ends[FEDAVG][-1] > 5 * ends[FEDNOVA][-1]


@pytest.mark.slow
@pytest.mark.parametrize("parts", [SCAFFOLD, FEDDYN], ids=["scaffold", "dyn"])
@pytest.mark.parametrize("fewest", [DEVICES, 3], ids=["all devices", "some"])
def test_with_a_residual_scaffold_and_feddyn_end_at_the_optimum_and_with_rounding_elsewhere(
    parts: Parts, fewest: int
) -> None:
    """Both keep a sum of changes on the server, and its parts on the devices. What a codec rounds off a
    change is missing in the sum ever after: the gradient at the end is the sum of these errors, and not 0. A
    residual sends them later, so that the sum lacks the present residuals alone, which vanish with the
    changes."""
    devices = fleet()
    best = optimum(devices, uniform(devices))
    for values in ("float32", "int4"):
        through = Through("topk", {"share": 0.5, "values": values})
        w = learn(devices, parts, PLAN, 600, np.float32, fewest, through)
        assert off(w, best) < 1e-5, values
    for codec in ("int4", "int8"):
        w = learn(devices, parts, PLAN, 600, np.float32, fewest, Through(codec, {}))
        assert off(w, best) > 1e-4, codec
