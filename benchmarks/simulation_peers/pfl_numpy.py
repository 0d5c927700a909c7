"""pfl's simulation of FedAvg with a NumPy model: `python pfl_numpy.py CLIENTS ROUNDS FRACTION SEED RESULT`.

It writes the seconds of each round. pfl has models for PyTorch, TensorFlow and MLX; this one is written for
its interface `StatefulModel`, in place, with the network and steps of `digits_app.mlp`. pfl divides a cohort
among processes only with one of these frameworks (`pfl.internal.ops.numpy_ops`), so it runs in one process.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from digits_app import mlp
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.base import StatefulModel
from pfl.stats import MappedVectorStatistics

NAMES = ("W1", "b1", "W2", "b2")


class Perceptron(StatefulModel):
    """The network of `digits_app.mlp`."""

    def __init__(self, seed: int) -> None:
        self.weights = mlp.init(np.random.default_rng(seed))
        self.rng = np.random.default_rng(seed)

    def get_parameters(self, placeholders=None):
        """The weights; training makes new arrays, so none is copied."""
        return MappedVectorStatistics(dict(zip(NAMES, self.weights, strict=True)))

    def set_parameters(self, w):
        """Go back to these weights."""
        self.weights = [w[name] for name in NAMES]

    def get_model_difference(self, other_parameters, clone=False):
        """The change of the weights."""
        pairs = zip(NAMES, self.weights, strict=True)
        return MappedVectorStatistics({name: now - other_parameters[name] for name, now in pairs})

    def apply_model_update(self, statistics):
        """Add the mean change."""
        pairs = zip(NAMES, self.weights, strict=True)
        self.weights = [now + statistics[name] for name, now in pairs]
        return self, Metrics()

    def evaluate(self, dataset, name_formatting_fn, eval_params=None):
        """Nothing: only training is timed."""
        return Metrics()

    def save(self, dir_path):
        """Not needed."""

    def load(self, dir_path):
        """Not needed."""


class Averaging(FederatedAveraging):
    """FedAvg, whose clients take the steps of `digits_app.mlp` and are weighed by their samples."""

    def train_one_user(self, initial_model_state, model, user_dataset, central_context):
        """Train, and return n_k times the change."""
        X, y = user_dataset.raw_data
        params = central_context.model_train_params
        model.weights = mlp.train(
            model.weights,
            X,
            y,
            epochs=params.local_num_epochs,
            batch_size=params.local_batch_size,
            learning_rate=params.local_learning_rate,
            rng=model.rng,
        )
        change = model.get_model_difference(initial_model_state)
        change.reweight(len(y))
        return change, Metrics()


class Clock(TrainingProcessCallback):
    """Notes when each round ends."""

    def __init__(self) -> None:
        self.closed_s: list[float] = []

    def on_train_begin(self, *, model):
        """The first round begins."""
        self.closed_s.append(time.monotonic())
        return Metrics()

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        """A round has ended."""
        self.closed_s.append(time.monotonic())
        return False, Metrics()


def main(path: str, rounds: int, fraction: float, seed: int, result: Path) -> None:
    """Run the rounds."""
    found = np.load(path)
    X, y = found["X"], found["y"]
    cohort = round(fraction * len(X))
    sampler = get_user_sampler("random", range(len(X)))
    data = FederatedDataset(lambda user: Dataset((X[user], y[user]), user_id=user), sampler)
    clock = Clock()
    Averaging().run(
        NNAlgorithmParams(
            central_num_iterations=rounds,
            evaluation_frequency=rounds + 1,
            train_cohort_size=cohort,
            val_cohort_size=None,
        ),
        SimulatedBackend(training_data=data, val_data=data),
        Perceptron(seed),
        NNTrainHyperParams(local_num_epochs=5, local_learning_rate=0.05, local_batch_size=10),
        callbacks=[clock],
        send_metrics_to_platform=False,
    )
    told = {"seconds": np.diff(clock.closed_s).tolist(), "clients": cohort}
    result.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
