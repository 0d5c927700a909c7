"""Wall time to a target accuracy: rounds that wait for nobody against rounds that wait.

    python -m benchmarks.buffered [--devices 40] [--seeds 3] [--quick] [--json]

1. **On a virtual clock** (production's cores, no processes). 1,500 of scikit-learn's digits are divided among
   the devices at random. How long a device trains is heavy-tailed: log-normal with σ = 1 and a median of
   30 s. Four schedules learn with the same plan and the same number of updates: rounds that wait for all
   devices; rounds that close with the first 80 % of the devices, whatever the others do (over-selection by
   `[rounds] target`); and the schedule `buffered`, whose versions take a fifth of the devices, with
   `max_staleness` 100 and 10.
2. **Ten real processes** with Mosquitto, of which two train 20 times as long as the others. The same
   schedules, with 10, 8 and 5 updates. Training takes next to no processor time: a process sleeps for the
   rest of its second (of its 20), so that ten of them can share two cores. What the programs themselves need
   for an update (some 50 ms) cannot be slept away. So the table has how long a fast process took for each
   update: on a busy machine it is more, the two slow ones are then less than 20 times as slow, and the
   ratios say more of the machine than of the schedule.

**Fast devices dominate.** Beside time and accuracy the tables have the share of the slowest quarter of the
devices (of the processes, of the two) in the updates, by samples, and in the sums, where a stale update
weighs n_k/√(1 + τ). A third part counts the same without learning, on 2,000 versions, for buffers that take
one, two or any number of updates of one device.

Times are from the first announcement of training on, so starting the programs and the survey do not count.

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
from benchmarks.buffer_shares import dominance, dominance_table
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
VIRTUAL = "virtual"
"""The name of the first part."""
PROCESSES, SLOW, TIMES = 10, (8, 9), 20
FAST_S, QUICK_S = 1.0, 0.3
"""How long a fast process trains at least; with `--quick`."""
PLAN = Plan(epochs=5, batch_size=10, learning_rate=0.05)
RUN_TIMEOUT_S = 600.0

TRAINER = """\
import time
from agent.trainers.built_in import BuiltIn

class Slow(BuiltIn):
    def work(self, job, cancelled):
        until_s = time.monotonic() + {seconds}
        done = super().work(job, cancelled)
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
    """The share of the updates, by samples, that come from the slowest devices."""
    slow_sum: float
    """Their share in the sums: the mean over the versions of Σ n_k s(τ) of theirs by that of all."""
    each_s: float
    """How long one of the other devices took for an update that counted, its waiting included."""

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
    name: str,
    state: Path,
    X: NDArray[np.float32],
    y: NDArray[np.int64],
    slowest: Collection[str],
    devices: int,
) -> Curve:
    """Measure each model that a ledger keeps."""
    rows = [row for row in read_rounds(state) if row.kind == "train" and row.closed]
    seconds = np.cumsum([row.seconds or 0.0 for row in rows])
    with read_only(state / LEDGER) as ledger:
        digest = ledger.newest("task", 1)
        assert digest is not None
        network = Network(task_of(ledger, digest).network)
        found, theirs, everyone, in_sums, others = [], 0, 0, list[float](), 0
        for row in rows:
            answers = admitted(ledger, RoundId(1, row.round))
            weights_of = {
                device: answer.samples / (1 + row.round - (answer.began or row.round)) ** 0.5
                for device, answer in answers.items()
            }
            of_slow = [device for device in answers if device in slowest]
            theirs += sum(answers[device].samples for device in of_slow)
            everyone += sum(answer.samples for answer in answers.values())
            in_sums.append(sum(weights_of[device] for device in of_slow) / sum(weights_of.values()))
            others += len(answers) - len(of_slow)
            model = ledger.model_of(RoundId(1, row.round))
            assert model is not None, "all rounds are kept"
            weights = vector_of(ledger, model, network.spec.schema.size)
            found.append(float((network.predict(weights, X).argmax(axis=1) == y).mean()))
    each_s = float(seconds[-1]) * (devices - len(slowest)) / others
    return Curve(
        name,
        tuple(map(float, seconds)),
        tuple(found),
        theirs / everyone,
        float(np.mean(in_sums)),
        each_s,
    )


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


def simulated(devices: int, rounds: int, seed: int, folder: Path, *, usual: bool) -> list[Curve]:
    """The schedules on a virtual clock; `usual`: with the default of `max_staleness` as well."""
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
    for name, length, table in schedules(devices, over, buffer, rounds)[: 4 if usual else 3]:
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
        found.append(curve(name, home / "state", test["X"], test["y"], slowest, devices))
    return found


def real(rounds: int, fast_s: float, seed: int, folder: Path) -> list[Curve]:
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
        _run(home, data, length, fast_s, seed, table)
        found.append(curve(name, home / "state", test["X"], test["y"], slowest, PROCESSES))
    return found


def _run(home: Path, data: Path, rounds: int, fast_s: float, seed: int, table: dict[str, Any]) -> None:
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
            seconds = fast_s * (TIMES if number in SLOW else 1)
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
                "slow_sum": float(np.mean([one.slow_sum for one in curves])),
                "each_s": float(np.mean([one.each_s for one in curves])),
                "by_seed": [[each, one.last] for each, one in zip(reached, curves, strict=True)],
            }
        )
    return rows


def goals(where: str, rows: list[dict[str, Any]]) -> list[Goal]:
    """How much faster than waiting for all, and how close in accuracy.

    Over-selection has a goal where no `target` separates slow devices from fast ones. Where 8 of 10 are
    equally fast, `target` 8 is the best that a schedule can do with these 8: it loses the other two.
    """
    everybody, over, buffered = rows[:3]
    return [
        Goal(f"{where}: times as fast as waiting", _times(everybody, buffered), at_least=FASTER),
        *(
            Goal(f"{where}: times as fast as over-selection", _times(over, buffered), at_least=1.0)
            for _ in range(where == VIRTUAL)
        ),
        Goal(f"{where}: accuracy below waiting", everybody["last"] - buffered["last"], at_most=POINTS),
    ]


def _times(slow: dict[str, Any], fast: dict[str, Any]) -> float:
    return float(slow["seconds"] / fast["seconds"]) if np.isfinite(fast["seconds"]) else 0.0


def table(where: str, rows: list[dict[str, Any]]) -> str:
    """The figures in Markdown."""
    lines = [
        f"| {where} | seconds to {TARGET:.0%} | last accuracy | models | updates from the slowest "
        "| their share of the sums | seconds for an update of another |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['schedule']} | {row['seconds']:.1f} | {row['last']:.4f} | {row['models']} "
        f"| {row['slow']:.1%} | {row['slow_sum']:.1%} | {row['each_s']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__, "one seed, fewer devices and rounds, shorter training")
    parser.add_argument("--devices", type=int, default=40, help="on the virtual clock")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    end_cleanly_on_sigterm()
    quick = options.quick
    seeds = range(1, 2 if quick else options.seeds + 1)
    with tempfile.TemporaryDirectory(prefix="fedge-buffered-") as name:
        folder = Path(name)
        devices, rounds, real_rounds = (20, 10, 6) if quick else (options.devices, 40, 12)
        logging.disable(logging.WARNING)  # the clock's programs run in this process
        virtual = figures(
            [simulated(devices, rounds, seed, folder / f"virtual-{seed}", usual=not quick) for seed in seeds]
        )
        logging.disable(logging.NOTSET)
        fast_s = QUICK_S if quick else FAST_S
        processes = figures([real(real_rounds, fast_s, seed, folder / f"real-{seed}") for seed in seeds])
    found = {VIRTUAL: virtual, "processes": processes}
    shares = dominance(devices, round(BUFFER * devices), 1, MEDIAN_S, SIGMA)
    text = "\n\n".join([*(table(where, rows) for where, rows in found.items()), dominance_table(shares)])
    wanted = [goal for where, rows in found.items() for goal in goals(where, rows)]
    return judged({**found, "fast_s": fast_s, "dominance": shares}, text, wanted, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
