"""Train on this node's own digits."""

from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits_app import mlp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Answer the global weights with the locally trained ones and n_k."""
    run, node = context.run_config, context.node_config["partition-id"]
    X, y = mlp.load(Path(run["folder"]) / f"device-{node}.npz")
    weights = mlp.train(
        message.content["arrays"].to_numpy_ndarrays(),
        X,
        y,
        epochs=run["epochs"],
        batch_size=run["batch-size"],
        learning_rate=run["learning-rate"],
        rng=np.random.default_rng((run["seed"], message.content["config"]["server-round"], node)),
    )
    reply = {"arrays": ArrayRecord(weights), "metrics": MetricRecord({"num-examples": len(y)})}
    return Message(content=RecordDict(reply), reply_to=message)
