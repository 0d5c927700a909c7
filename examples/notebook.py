"""A federation in a notebook: each `# %%` is a cell for Jupyter, VS Code or Spyder; `python` runs it too.

Five machines, each with a vibration sensor, learn together to tell a worn bearing from a healthy one. None of
them shares a sample. Everything runs in this process, with the code of devices and aggregator.
"""

# %% The data of each device: mean, spread and range of windows of a sensor's log, and the machine's state
import tempfile
from pathlib import Path

import numpy as np

import fedge


def measured(seed: int, rows: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Return windows of one machine, X of shape (rows, 3), and the state that each shows."""
    rng = np.random.default_rng(seed)
    worn = rng.random(rows) < 0.2 + 0.1 * seed  # some machines are in a worse state than others
    log = rng.normal(0.1 * seed, 1.0 + 0.5 * worn[:, None], (rows, 50))
    X = np.stack([log.mean(axis=1), log.std(axis=1), np.ptp(log, axis=1)], axis=1)
    return X, np.where(worn, "worn", "healthy")


devices = {f"machine-{number}": measured(number) for number in range(1, 6)}

# %% The task: a network with one hidden layer; the fleet's survey adds the layer that standardizes
task = fedge.Task(
    network=fedge.NetworkSpec.model_validate(
        {
            "inputs": 3,
            "layers": [{"type": "dense", "units": 8}, {"type": "relu"}, {"type": "dense", "units": 2}],
            "loss": "cross-entropy",
        }
    ),
    features=("mean", "spread", "range"),
    classes=("healthy", "worn"),
)

# %% Learn: FedAvg with five passes over its samples on each device and round
plan = fedge.Plan(epochs=5, batch_size=16, learning_rate=0.05)
result = fedge.simulate(task, devices, plan=plan, rounds=8, seed=1)

# %% What became of each round
print("round  kind      devices  samples  loss   accuracy")
for row in result.history:
    loss = "" if row.loss is None else f"{row.loss:.3f}"
    accuracy = "" if row.accuracy is None else f"{row.accuracy:.3f}"
    print(f"{row.round:5}  {row.kind:8}  {row.devices:7}  {row.samples:7}  {loss:5}  {accuracy:8}")

# %% FedSGD, the plain beginning: one step on all samples each round; fewer computations, more rounds
plain = fedge.simulate(task, devices, plan=fedge.fedsgd(learning_rate=0.5), rounds=8, seed=1)
print("FedSGD after as many rounds:", f"{plain.history[-1].accuracy:.3f}")

# %% Keep the model in the file that devices hold it in, read it again, and predict for a machine of no device
with tempfile.TemporaryDirectory() as folder:
    result.model.save(Path(folder) / "model.held")
    model = fedge.load_model(folder)
X, y = measured(9)
print("on a machine that took no part:", f"{np.mean(model.predict(X) == y):.3f} are right")
print("the first window:", model.predict(X)[0], model.outputs(X)[0].round(3))
