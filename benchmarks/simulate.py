"""Clients a second of `fedge.simulate`'s engine `fast`, of Flower's simulation and of pfl; and equal bits.

1,000 clients have 20 rows of digits each, drawn with replacement; about 100 train in a round, a network
64-64-10 with E=5, B=10. A device of Fedge takes part from 20 rows on; 18 to 20 rows are 10 steps. All three
run on two processors, one after the other, several times; the medians are compared. Flower and pfl have
environments of their own, made on first use. In the same run the engines `cores` and `fast` have to give the
same weights, to the bit, with one and with two workers.

    python -m benchmarks.simulate [--quick] [--json]
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine, peer_environment
from benchmarks.verdict import Goal, arguments, judged
from fedge import NetworkSpec, Plan, Result, Task, simulate

ROWS, FRACTION, WORKERS, SEED = 20, 0.1, 2, 1
PLAN = Plan(epochs=5, batch_size=10, learning_rate=0.05)
WARM_UP = 30
"""Rounds after which 1 - 0.9^30 = 96 % of the clients have been chosen once."""
TIMES_FLOWER, TIMES_PFL = 20, 3
HERE = Path(__file__).parent
PEERS = {
    "flower": ("flower-simulation", ("flwr[simulation]>=1.41", "numpy>=1.24"), "flower.py"),
    "pfl": ("pfl", ("pfl==0.6.*",), "pfl_numpy.py"),
}
"""By name: the folder of the environment, its packages, and the program."""
RUN_TIMEOUT_S = 1_800

Devices = Mapping[str, tuple[NDArray[np.float64], NDArray[np.int64]]]


def clients(number: int) -> Devices:
    """Rows of digits, drawn with replacement."""
    from sklearn.datasets import load_digits  # takes seconds

    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(SEED)
    drawn = (rng.integers(0, len(X), ROWS) for _ in range(number))
    return {f"client-{k}": (X[rows] / 16, y[rows]) for k, rows in enumerate(drawn)}


def task() -> Task:
    """The network 64-64-10."""
    layers = [{"type": "dense", "units": 64}, {"type": "relu"}, {"type": "dense", "units": 10}]
    network = NetworkSpec.model_validate({"inputs": 64, "layers": layers, "loss": "cross-entropy"})
    return Task(
        network=network,
        features=tuple(f"pixel {k}" for k in range(64)),
        classes=tuple(str(k) for k in range(10)),
    )


def run(devices: Devices, rounds: int, **arguments: Any) -> Result:
    """One simulation."""
    quorum = max(2, int(FRACTION * len(devices) / 2))
    rules = {"fraction": FRACTION, "quorum": quorum, "target": None}
    return simulate(
        task(),
        devices,
        plan=PLAN,
        rounds=rounds,
        seed=SEED,
        holdout=0.0,
        settings={"rounds": rules},
        **arguments,
    )


def fast(devices: Devices, rounds: int) -> float:
    """Clients a second, once most clients have read and checked their rows.

    Each does so when it is first chosen; the peers get arrays that are ready.
    """
    closed: list[tuple[float, int]] = []
    run(
        devices,
        WARM_UP + rounds,
        engine="fast",
        workers=WORKERS,
        progress=lambda told: closed.append((time.monotonic(), told.row.devices)),
    )
    begun, *timed = closed[WARM_UP - 1 :]
    return sum(count for _, count in timed) / (timed[-1][0] - begun[0])


def same_bits(devices: Devices, rounds: int) -> bool:
    """Whether the engines give the same weights, with one worker and with two."""
    cores = run(devices, rounds).model.weights.tobytes()
    return all(
        run(devices, rounds, engine="fast", workers=count).model.weights.tobytes() == cores
        for count in (1, WORKERS)
    )


def python_of(name: str) -> Path:
    """The Python of a peer's environment, which is made if it is not there."""
    folder, packages, _ = PEERS[name]
    return peer_environment.python_of(folder, packages)


def peer(name: str, data: Path, rounds: int) -> float:
    """A peer's clients a second, from the end of the first round on.

    Raises:
        RuntimeError: it failed; with the last lines of what it printed.
    """
    program = HERE / "simulation_peers" / PEERS[name][2]
    result = data.with_name(f"{name}.json")
    environment = {**os.environ, "PYTHONPATH": str(HERE / "flower_app"), "FLWR_TELEMETRY_ENABLED": "0"}
    told = [str(data), str(rounds + 1), str(FRACTION), str(SEED), str(result)]
    done = subprocess.run(
        [python_of(name), str(program), *told],
        env=environment,
        cwd=data.parent,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    if done.returncode or not result.exists():
        raise RuntimeError(f"{name} failed ({done.returncode}):\n{(done.stdout + done.stderr)[-3000:]}")
    found = json.loads(result.read_text(encoding="utf-8"))
    seconds = found["seconds"][1:]
    return float(found["clients"] * len(seconds) / sum(seconds))


def version(name: str) -> str:
    """The installed version of a peer."""
    package = {"flower": "flwr", "pfl": "pfl"}[name]
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    found = subprocess.run([python_of(name), "-c", code], check=True, capture_output=True, text=True)
    return found.stdout.strip()


def measure(number: int, rounds: int, flower_rounds: int, repeats: int, equal: int) -> dict[str, Any]:
    """Measure all, one after the other, `repeats` times."""
    devices = clients(number)
    speeds: dict[str, list[float]] = {"fast": [], "flower": [], "pfl": []}
    gains: list[float] = []
    with tempfile.TemporaryDirectory(prefix="fedge-simulate-") as folder:
        data = Path(folder) / "clients.npz"
        X = np.stack([X for X, _ in devices.values()])
        mean, scale = X.mean((0, 1)), X.std((0, 1))
        np.savez(
            data,
            X=((X - mean) / np.where(scale > 0, scale, 1)).astype(np.float32),
            y=np.stack([y for _, y in devices.values()]).astype(np.int64),
        )
        for name in PEERS:
            python_of(name)
        for _ in range(repeats):
            gains.append(machine.gain_of_two())
            speeds["fast"].append(fast(devices, rounds))
            speeds["pfl"].append(peer("pfl", data, rounds))
            speeds["flower"].append(peer("flower", data, flower_rounds))
    medians = {name: median(found) for name, found in speeds.items()}
    few = dict(list(devices.items())[:equal])
    return {
        "machine": machine.description(),
        "load": os.getloadavg(),
        "clients": number,
        "workers": WORKERS,
        "gain_of_two": median(gains),
        "versions": {name: version(name) for name in PEERS},
        "clients_per_second": speeds,
        "median": medians,
        "times_flower": medians["fast"] / medians["flower"],
        "times_pfl": medians["fast"] / medians["pfl"],
        "same_bits": same_bits(few, 3),
    }


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    names = {"fast": f"Fedge, {WORKERS} workers"}
    names |= {"flower": f"Flower {report['versions']['flower']}, 2 actors"}
    names |= {"pfl": f"pfl {report['versions']['pfl']}, NumPy, 1 process"}
    lines = [f"{report['clients']} clients on {report['machine']}, load {report['load'][0]:.1f}", ""]
    lines.append(f"{'':<32}{'clients a second':>18}{'lowest':>10}{'highest':>10}")
    for name, label in names.items():
        found = report["clients_per_second"][name]
        lines.append(f"{label:<32}{median(found):>18.0f}{min(found):>10.0f}{max(found):>10.0f}")
    lines.append(
        f"two processes on this machine compute {report['gain_of_two']:.2f} times what one does alone"
    )
    lines.append(f"engines cores and fast give the same weights: {'yes' if report['same_bits'] else 'NO'}")
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and judge."""
    parser = arguments(__doc__ or "", "200 clients, a few rounds, once")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # that some clients lack some classes
    report = measure(200, 20, 3, 1, 30) if options.quick else measure(1_000, 30, 5, 3, 100)
    goals = [
        Goal("times Flower's simulation", report["times_flower"], at_least=TIMES_FLOWER),
        Goal("times pfl", report["times_pfl"], at_least=TIMES_PFL),
        Goal("equal to the bit", float(report["same_bits"]), at_least=1),
    ]
    return judged(report, table(report), goals, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
