"""Wall time to a target accuracy: rounds that wait for nobody against rounds that wait.

    python -m benchmarks.buffered [--devices 40] [--seeds 3] [--quick] [--json]

1. **On a virtual clock** (production's cores, no processes). 1,500 of scikit-learn's digits are divided among
   the devices at random. How long a device trains is heavy-tailed: log-normal with σ = 1 and a median of
   30 s. Four schedules learn with the same plan and the same number of updates: rounds that wait for all
   devices; rounds that close with the first 80 % of the devices, whatever the others do (over-selection by
   `[rounds] target`); and the schedule `buffered`, whose versions take a fifth of the devices, with
   `max_staleness` 100 and 10.
2. **Ten real processes** with Mosquitto, of which two train 20 times as long as the others. The same
   schedules, with 10, 8 and 5 updates.

Beside time and accuracy the table has the share of the updates that come from the slowest quarter of the
devices (of the processes, from the two): fast devices dominate.

The accuracy is that of the shared model on 297 rows that no device has. The target is reached when the mean
of three models in a row reaches it. The last accuracy is the mean of the last five models. The paper (Nguyen
et al. 2022, Table 1) finds 3.3 times as fast as synchronous rounds.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import logging
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation.models import task_of, vector_of
from aggregator.aggregation.updates import admitted
from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.reading import read_only
from benchmarks import digits, fedge_side
from benchmarks.processes import Processes, end_cleanly_on_sigterm
from benchmarks.verdict import Goal, arguments, judged
from fedge import NetworkSpec, Plan, Task, simulate
from fedge.nn import Network
from fedge.wire.freshness import RoundId
from fleet.demo import broker
from fleet.library.history import read_rounds

TARGET = 0.93
WINDOW, LAST = 3, 5
"""How many models in a row the target is reached by, and the last accuracy is the mean of."""
SIGMA, MEDIAN_S = 1.0, 30.0
SLOWEST = 0.25
"""The share of the devices whose updates are counted apart."""
OVER, BUFFER = 0.8, 0.2
"""The share of the devices that closes a round with over-selection, and a version."""
STALENESS, USUAL = 100, 10
"""Without a bound that matters, and the default."""
FASTER, POINTS = 3.0, 0.005
PROCESSES, SLOW, TIMES = 10, (8, 9), 20
FAST_S = 0.2
"""How long a fast process trains at least."""
PLAN = Plan(epochs=5, batch_size=10, learning_rate=0.05)
RUN_TIMEOUT_S = 600.0

TRAINER = """\
import time
from agent.trainers.built_in import BuiltIn

class Slow(BuiltIn):
    def work(self, job, cancelled):
        done = super().work(job, cancelled)
        until_s = time.monotonic() + {seconds}
        while time.monotonic() < until_s:
            cancelled()
            time.sleep(0.02)
        return done
"""


@dataclass(frozen=True)
class Curve:
    """What one schedule reached, and when."""

    name: str
    seconds: tuple[float, ...]
    """When each model was made, from the first announcement of training on."""
    accuracy: tuple[float, ...]
    slow: float
    """The share of the updates that come from the slowest devices."""

    @property
    def last(self) -> float:
        """The accuracy at the end."""
        return float(np.mean(self.accuracy[-LAST:]))

    def reached_s(self, target: float) -> float:
        """When the target is reached; infinity if it is not."""
        for end in range(WINDOW, len(self.accuracy) + 1):
            if np.mean(self.accuracy[end - WINDOW : end]) >= target:
                return self.seconds[end - 1]
        return float("inf")


def curve(
    name: str, state: Path, X: NDArray[np.float32], y: NDArray[np.int64], slowest: Collection[str]
) -> Curve:
    """Measure each model that a ledger keeps."""
    rows = [row for row in read_rounds(state) if row.kind == "train" and row.closed]
    seconds = np.cumsum([row.seconds or 0.0 for row in rows])
    with read_only(state / LEDGER) as ledger:
        digest = ledger.newest("task", 1)
        assert digest is not None
        network = Network(task_of(ledger, digest).network)
        found, counted = [], list[bool]()
        for row in rows:
            counted += [device in slowest for device in admitted(ledger, RoundId(1, row.round))]
            model = ledger.model_of(RoundId(1, row.round))
            assert model is not None, "all rounds are kept"
            weights = vector_of(ledger, model, network.spec.schema.size)
            found.append(float((network.predict(weights, X).argmax(axis=1) == y).mean()))
    return Curve(name, tuple(map(float, seconds)), tuple(found), float(np.mean(counted)))


def schedules(devices: int, over: int, buffer: int, rounds: int) -> list[tuple[str, int, dict[str, Any]]]:
    """Name, length and `[rounds]` of each schedule; the number of updates is the same."""
    late = {"schedule": "buffered", "target": buffer, "quorum": 2}
    updates = devices * rounds
    return [
        ("all", rounds, {"target": devices, "quorum": devices}),
        ("over-selection", updates // over, {"target": over, "quorum": 2}),
        ("buffered", updates // buffer, {**late, "max_staleness": STALENESS}),
        (f"buffered, {USUAL}", updates // buffer, {**late, "max_staleness": USUAL}),
    ]


def simulated(devices: int, rounds: int, seed: int, folder: Path) -> list[Curve]:
    """The schedules on a virtual clock."""
    data = folder / "data"
    data.mkdir(parents=True)
    digits.write(data, devices, seed)
    parts, test = {}, np.load(data / "test.npz")
    for number in range(devices):
        rows = np.load(data / f"device-{number}.npz")
        parts[f"pi-{number:02d}"] = rows["X"], np.array(digits.CLASSES)[rows["y"]]
    slow = MEDIAN_S * np.random.default_rng(seed).lognormal(0.0, SIGMA, devices)
    seconds = dict(zip(parts, map(float, slow), strict=True))
    slowest = sorted(seconds, key=lambda name: -seconds[name])[: round(SLOWEST * devices)]
    network = NetworkSpec.model_validate(
        {
            "inputs": 64,
            "layers": [{"type": "dense", "units": 64}, {"type": "relu"}, {"type": "dense", "units": 10}],
            "loss": "cross-entropy",
        }
    )
    task = Task(network=network, features=digits.FEATURES, classes=digits.CLASSES)
    found = []
    over, buffer = round(OVER * devices), round(BUFFER * devices)
    for name, length, table in schedules(devices, over, buffer, rounds):
        home = folder / name
        simulate(
            task,
            parts,
            plan=PLAN,
            rounds=length,
            seed=seed,
            holdout=0.0,
            settings={"rounds": {"deadline_s": 86_400.0, **table}},
            folder=home,
            seconds=seconds,
        )
        found.append(curve(name, home / "state", test["X"], test["y"], slowest))
    return found


def real(rounds: int, seed: int, folder: Path) -> list[Curve]:
    """The schedules in real processes, but for the default of `max_staleness`."""
    data = folder / "data"
    data.mkdir(parents=True)
    digits.write(data, PROCESSES, seed)
    test = np.load(data / "test.npz")
    found = []
    slowest = [f"device-{number}" for number in SLOW]
    for name, length, table in schedules(PROCESSES, PROCESSES - len(SLOW), PROCESSES // 2, rounds)[:3]:
        home = folder / name
        home.mkdir()
        _run(home, data, length, seed, table)
        found.append(curve(name, home / "state", test["X"], test["y"], slowest))
    return found


def _run(home: Path, data: Path, rounds: int, seed: int, table: dict[str, Any]) -> None:
    logs = home / "logs"
    logs.mkdir()
    with (
        broker.start("mosquitto", home / "mosquitto") as mosquitto,
        Processes(logs) as processes,
    ):
        text = fedge_side.FEDERATION_TOML.format(
            federation=fedge_side.FEDERATION,
            seed=seed,
            url=mosquitto.url,
            features=list(digits.FEATURES),
            classes=list(digits.CLASSES),
            devices=PROCESSES,
            rounds=rounds,
        )
        head, rest = text.split("[rounds]\n")
        lines = "".join(
            f"{key} = {value!r}\n".replace("'", '"') for key, value in {"deadline_s": 300, **table}.items()
        )
        rest = "[stopping]" + rest.split("[stopping]")[1].replace(
            'folder = "state"', 'folder = "state"\nkeep_rounds = 100000', 1
        )
        federation = home / "federation.toml"
        federation.write_text(f"{head}[rounds]\n{lines}\n{rest}", encoding="utf-8")
        python = [sys.executable, "-m"]
        aggregator = processes.start(
            "aggregator",
            [*python, "aggregator", "--config", str(federation), "--exit-when-done"],
            environment=fedge_side.ENVIRONMENT,
        )
        for number in range(PROCESSES):
            name = f"device-{number}"
            path = fedge_side.write_agent(home / name, name, data / f"{name}.npz", mosquitto.url)
            seconds = FAST_S * (TIMES if number in SLOW else 1)
            (home / name / "slow.py").write_text(TRAINER.format(seconds=seconds), encoding="utf-8")
            with path.open("a", encoding="utf-8") as file:
                file.write('\n[trainer]\nuse = "slow:Slow"\npath = "."\n')
            fedge_side.start_agent(processes, name, path)
        processes.wait_until(lambda: aggregator.poll() == 0, "end of the run", RUN_TIMEOUT_S)


def figures(runs: Sequence[list[Curve]]) -> list[dict[str, Any]]:
    """A row for each schedule: the means over the seeds."""
    rows = []
    for curves in zip(*runs, strict=True):
        reached = [one.reached_s(TARGET) for one in curves]
        rows.append(
            {
                "schedule": curves[0].name,
                "seconds": float(np.mean(reached)),
                "last": float(np.mean([one.last for one in curves])),
                "models": len(curves[0].accuracy),
                "slow": float(np.mean([one.slow for one in curves])),
                "by_seed": [[each, one.last] for each, one in zip(reached, curves, strict=True)],
            }
        )
    return rows


def goals(where: str, rows: list[dict[str, Any]]) -> list[Goal]:
    """How much faster than waiting for all, and how close in accuracy."""
    everybody, over, buffered = rows[:3]
    return [
        Goal(f"{where}: times as fast as waiting", _times(everybody, buffered), at_least=FASTER),
        Goal(f"{where}: times as fast as over-selection", _times(over, buffered), at_least=1.0),
        Goal(f"{where}: accuracy below waiting", everybody["last"] - buffered["last"], at_most=POINTS),
    ]


def _times(slow: dict[str, Any], fast: dict[str, Any]) -> float:
    return float(slow["seconds"] / fast["seconds"]) if np.isfinite(fast["seconds"]) else 0.0


def table(where: str, rows: list[dict[str, Any]]) -> str:
    """The figures in Markdown."""
    lines = [
        f"| {where} | seconds to {TARGET:.0%} | last accuracy | models | from the slowest |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['schedule']} | {row['seconds']:.1f} | {row['last']:.4f} | {row['models']} "
        f"| {row['slow']:.1%} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__, "one seed, fewer rounds")
    parser.add_argument("--devices", type=int, default=40, help="on the virtual clock")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    end_cleanly_on_sigterm()
    quick = options.quick
    seeds = range(1, 2 if quick else options.seeds + 1)
    with tempfile.TemporaryDirectory(prefix="fedge-buffered-") as name:
        folder = Path(name)
        devices, rounds, real_rounds = (20, 14, 7) if quick else (options.devices, 40, 12)
        logging.disable(logging.WARNING)  # the clock's programs run in this process
        virtual = figures([simulated(devices, rounds, seed, folder / f"virtual-{seed}") for seed in seeds])
        logging.disable(logging.NOTSET)
        processes = figures([real(real_rounds, seed, folder / f"real-{seed}") for seed in seeds])
    found = {"virtual": virtual, "processes": processes}
    text = "\n\n".join(table(where, rows) for where, rows in found.items())
    wanted = [goal for where, rows in found.items() for goal in goals(where, rows)]
    return judged(found, text, wanted, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
