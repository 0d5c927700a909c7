"""Start Fedge's programs as real processes on the digits, in the same way as a user."""

import os
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks import digits
from benchmarks.observer import Arrival, Observer
from benchmarks.processes import Processes
from fedge.wire.messages.envelope import unseal
from fedge.wire.messages.manifest import Manifest
from fedge.wire.topics import Topics
from fleet.demo import broker
from fleet.demo.threads import ONE_THREAD

ROOT = Path(__file__).resolve().parent.parent
FEDERATION = "digits"
RUN_TIMEOUT_S = 120.0

ENVIRONMENT = ONE_THREAD | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
}
"""The path, so that the programs of this checkout are measured, installed or not."""

FEDERATION_TOML = """\
[federation]
name = "{federation}"
seed = {seed}

[broker]
url = "{url}"

[model]
features = {features}
classes = {classes}
layers = [{{ type = "dense", units = 64 }}, {{ type = "relu" }}]

[plan]
epochs = 5
batch_size = 10
learning_rate = 0.05

[rounds]
fraction = 1.0
target = {devices}
quorum = {devices}
deadline_s = 60

[stopping]
rounds = {rounds}

[state]
folder = "state"

[export]
folder = "export"
choose = "newest"
"""

AGENT_TOML = """\
federation = "{federation}"
device = "{device}"

[broker]
url = "{url}"

[data]
source = "npz"
path = "{data}"
holdout = 0.0

[state]
folder = "state"
"""


@dataclass(frozen=True)
class FedgeRun:
    """The results of one run: seconds of each training round, final test accuracy, MB of each agent."""

    seconds: list[float]
    accuracy: float
    node_mb: list[float]


def write_agent(folder: Path, device: str, data: Path, url: str, pin: Path | None = None) -> Path:
    """Write an agent's configuration into a folder of its own; returns the file.

    `pin`: the public key that announcements must be signed with.
    """
    folder.mkdir()
    path = folder / "agent.toml"
    text = AGENT_TOML.format(federation=FEDERATION, device=device, data=data, url=url)
    path.write_text(text + (f'\n[trust]\nkey = "{pin}"\n' if pin is not None else ""), encoding="utf-8")
    return path


def _write_federation(folder: Path, url: str, *, devices: int, rounds: int, seed: int) -> Path:
    path = folder / "federation.toml"
    path.write_text(
        FEDERATION_TOML.format(
            federation=FEDERATION,
            seed=seed,
            url=url,
            features=list(digits.FEATURES),
            classes=list(digits.CLASSES),
            devices=devices,
            rounds=rounds,
        ),
        encoding="utf-8",
    )
    return path


def start_agent(processes: Processes, name: str, configuration: Path) -> subprocess.Popen[bytes]:
    """Start one agent; `name` is what its memory is measured under."""
    return _start(processes, name, "agent", "--config", str(configuration))


def run(processes: Processes, folder: Path, data: Path, *, devices: int, rounds: int, seed: int) -> FedgeRun:
    """Start a broker, an aggregator and `devices` agents over the files in `data`; wait for the last round.

    Raises:
        RuntimeError: a process failed or a wait was too long; names the log.
    """
    folder.mkdir()
    names = [f"agent-{device}" for device in range(devices)]
    with (
        broker.start("mosquitto", folder / "mosquitto") as mosquitto,
        Observer(mosquitto.url, [Topics(FEDERATION).round]) as observer,
        processes.peaks_mb(names) as peaks,
    ):
        federation = _write_federation(folder, mosquitto.url, devices=devices, rounds=rounds, seed=seed)
        aggregator = _start(
            processes, "aggregator", "aggregator", "--config", str(federation), "--exit-when-done"
        )
        for device, name in enumerate(names):
            samples = data / f"device-{device}.npz"
            start_agent(
                processes, name, write_agent(folder / name, f"device-{device}", samples, mosquitto.url)
            )
        processes.wait_until(lambda: aggregator.poll() == 0, "end of Fedge's run", RUN_TIMEOUT_S)
        processes.stop()
    return FedgeRun(
        seconds=seconds_per_round(observer.arrivals),
        accuracy=accuracy(folder / "export" / "model.onnx", data / "test.npz"),
        node_mb=list(peaks.values()),
    )


def seconds_per_round(arrivals: list[Arrival]) -> list[float]:
    """From each training round's announcement to the next, or to what follows the last one."""
    begun_s: dict[tuple[int, str], float] = {}
    for arrival in arrivals:
        manifest = unseal(arrival.payload, Manifest)
        trains = manifest.kind == "train" and manifest.state == "open"
        if trains or manifest.kind == "evaluate" or manifest.state == "done":
            begun_s.setdefault((manifest.round, manifest.state), arrival.at_s)
        if begun_s and not trains:
            break
    return [end - begin for begin, end in pairwise(begun_s.values())]


def accuracy(model: Path, test: Path) -> float:
    """The exported file's accuracy on raw held-out digits, by onnxruntime."""
    samples = np.load(test)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    scores = session.run(None, {session.get_inputs()[0].name: samples["X"]})[0]
    return float((scores.argmax(axis=1) == samples["y"]).mean())


def _start(processes: Processes, name: str, package: str, *arguments: str) -> subprocess.Popen[bytes]:
    return processes.start(name, [sys.executable, "-m", package, *arguments], environment=ENVIRONMENT)
