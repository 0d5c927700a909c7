"""Flower's own FedAvg over all nodes; writes how long each round took and what the model is worth."""

import json
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from digits_app import mlp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds once all nodes are there, so that no round is charged for waiting."""
    run = context.run_config
    folder, nodes = Path(run["folder"]), run["nodes"]
    X, y = mlp.load(folder / "test.npz")
    closed_s: list[float] = []
    accuracies: list[float] = []

    def evaluate(_: int, arrays: ArrayRecord) -> MetricRecord:
        closed_s.append(time.monotonic())
        accuracies.append(mlp.accuracy(arrays.to_numpy_ndarrays(), X, y))
        return MetricRecord({"accuracy": accuracies[-1]})

    while len(list(grid.get_node_ids())) < nodes:
        time.sleep(0.5)
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(mlp.init(np.random.default_rng(run["seed"]))),
        num_rounds=run["rounds"],
        evaluate_fn=evaluate,
    )
    result = {"seconds": np.diff(closed_s).tolist(), "accuracy": accuracies[-1]}
    unfinished = folder / "flower.json.new"
    unfinished.write_text(json.dumps(result), encoding="utf-8")
    unfinished.replace(folder / "flower.json")
