"""Flower's simulation (Ray) of FedAvg: `python flower.py CLIENTS ROUNDS FRACTION SEED RESULT`.

It writes the seconds of each round. The clients' network and steps are those of `digits_app.mlp`, which this
program finds on its path. Each of two Ray actors has one processor, as with Flower's defaults.
"""

import json
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
from digits_app import mlp
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

PROCESSORS = 2


@cache
def clients(path: str):
    """All clients' samples (clients, n, 64) and labels (clients, n), read once in each process."""
    found = np.load(path)
    return found["X"], found["y"]


def main(path: str, rounds: int, fraction: float, seed: int, result: Path) -> None:
    """Run the rounds."""
    number = len(clients(path)[0])
    client, server = ClientApp(), ServerApp()

    @client.train()
    def train(message: Message, context: Context) -> Message:
        X, y = clients(path)
        node = context.node_config["partition-id"]
        weights = mlp.train(
            message.content["arrays"].to_numpy_ndarrays(),
            X[node],
            y[node],
            epochs=5,
            batch_size=10,
            learning_rate=0.05,
            rng=np.random.default_rng((seed, message.content["config"]["server-round"], node)),
        )
        reply = {"arrays": ArrayRecord(weights), "metrics": MetricRecord({"num-examples": len(y[node])})}
        return Message(content=RecordDict(reply), reply_to=message)

    closed_s: list[float] = []

    @server.main()
    def serve(grid: Grid, context: Context) -> None:
        def evaluate(_: int, arrays: ArrayRecord) -> MetricRecord:
            closed_s.append(time.monotonic())
            return MetricRecord({"rounds": len(closed_s)})

        strategy = FedAvg(fraction_train=fraction, fraction_evaluate=0.0, min_available_nodes=number)
        strategy.start(
            grid=grid,
            initial_arrays=ArrayRecord(mlp.init(np.random.default_rng(seed))),
            num_rounds=rounds,
            evaluate_fn=evaluate,
        )

    run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=number,
        backend_config={
            "init_args": {"num_cpus": PROCESSORS},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
    told = {"seconds": np.diff(closed_s).tolist(), "clients": round(fraction * number)}
    result.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
