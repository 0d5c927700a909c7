"""Personal models beside the shared one and a model alone, on unlike devices.

    python -m benchmarks.personal [--seeds 5] [--rounds 60] [--data watch digits] [--algorithms NAME ...]
                                  [--without 20] [--without-seeds 1] [--jobs 2] [--quick] [--json]

Two fleets of 20 devices: the wrists of the watch data, each with its own rows, and the digits, dealt by
Dirichlet's distribution with α = 0.1. Each algorithm learns with `[personal] compare = true`
(`benchmarks.personal_fleet`: production's functions without messages). The figures are of the held-out rows
after the last round, as the devices report them:

* shared: the accuracy of the shared model on all of them (with `head`, of the shared layers with each
  device's own last ones);
* own rows: the accuracy of the model that a device uses, on its own held-out rows: the mean over the devices,
  and the worst one;
* alone: the same for a model of the device's own, trained for as many epochs on the rows that the shared
  model trains on. "All rows": the baseline of `fedge demo`, which also trains on those to choose by;
* worse off: devices whose model is worse than alone by more than one held-out row, in the mean of the seeds.
  The goal is 0 of 20 wrists with the demo's personal model, against the model alone that had the same rows;
* rounds: the first one after which the shared model's mean on own rows is at most a point below its last
  value, or above;
* bytes: sent and received by a device in all.

"Left out" is what the shared model is worth to a device that never took part: the others learn without it,
and their model answers its held-out rows. Such a device has no last layers of its own with `head`: the model
that it gets has first weights there, which nobody trained. With `clusters` it uses model 0.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from agent.core.state import USES
from agent.data.dataset import fit
from aggregator.aggregation.compared import by_more_than_a_row
from benchmarks.machine import description
from benchmarks.personal_fleet import Fleet, Rows, fleet_of, learn
from benchmarks.plans import split
from benchmarks.verdict import Goal, arguments, judged
from fedge.algorithms.registry import PERSONAL
from fedge.nn.spec import Dense, NetworkSpec, ReLU
from fedge.wire.messages.task import Task
from fleet.datasets import load_watch
from fleet.demo import baselines
from fleet.demo.run import PERSONAL as PERSONAL_OF_DEMO
from fleet.demo.run import PLAN

DATA = ("watch", "digits")
DEVICES, HIDDEN, HELD_OUT, ALPHA = 20, 64, 0.2, 0.1
GAP = {"watch": 1, "digits": 0}
ALGORITHMS = ("none", "finetune", "ditto", "head", "clusters")
ALIKE = ("ditto", "finetune")
"""With these the shared model is the same; the first has a state from round to round."""
SHARED = "the shared model"
"""Of FedAvg. `ALIKE` leave it as it is, but do not train on the rows that a device chooses by."""
LABELS = {"none": "FedAvg", "finetune": "FedAvg + finetune"}
GOAL_OF = PERSONAL_OF_DEMO


@dataclass(frozen=True)
class Data:
    """The rows of a fleet's devices, and the task without the layers that the survey adds."""

    task: Task
    devices: Mapping[str, Rows]


@lru_cache(maxsize=2)
def data_of(name: str, seed: int) -> Data:
    """The watch data, the same for each seed; or the digits, dealt anew."""
    if name == "watch":
        found = load_watch(DEVICES)
        rows: dict[str, Rows] = {
            each.device: (each.features, list(each.labels), list(each.series)) for each in found.devices
        }
        return Data(_task(found.features, found.classes), rows)
    from sklearn.datasets import load_digits  # takes seconds

    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    # Mixed anew: where classes are used up, the last ones dealt are of others, and the last are held out.
    hands = [rng.permutation(hand) for hand in split(y, DEVICES, ALPHA, rng)]
    rows = {f"writer-{k:02d}": (X[hand].astype(np.float32), y[hand]) for k, hand in enumerate(hands, 1)}
    return Data(_task(tuple(f"x{k}" for k in range(X.shape[1])), tuple(map(str, range(10)))), rows)


def _task(features: tuple[str, ...], classes: tuple[str, ...]) -> Task:
    layers = (Dense(units=HIDDEN), ReLU(), Dense(units=len(classes)))
    network = NetworkSpec(inputs=len(features), layers=layers, loss="cross-entropy")
    return Task(network=network, features=features, classes=classes)


def _fleet(data: Data, name: str, without: str | None = None) -> Fleet:
    devices = {device: rows for device, rows in data.devices.items() if device != without}
    return fleet_of(data.task, devices, HELD_OUT, GAP[name])


def tried(name: str, algorithms: Sequence[str], rounds: int, seed: int) -> dict[str, dict[str, Any]]:
    """One federation: right rows by device and the costs, by algorithm.

    Several algorithms may have the same federation if their shared model is the same (`ALIKE`). The first of
    them has a state from round to round, the others are made of the last model.
    """
    plans = [
        PLAN.model_copy(update={"personal": None if each == "none" else each, "compare": True})
        for each in algorithms
    ]
    found = learn(_fleet(data_of(name, seed), name), plans[0], rounds, seed, plans[1:])
    curve = [float(np.mean([told["accuracy_before"] for told in each.values()])) for each in found.figures]
    reached = next(number for number, value in enumerate(curve) if value >= curve[-1] - 0.01)
    costs = {"rounds": reached, "bytes": (found.bytes_up + found.bytes_down) / len(found.figures[-1])}
    return {
        algorithm: {**_rows(last), **costs}
        for algorithm, last in zip(algorithms, [found.figures[-1], *found.beside], strict=True)
    }


def _rows(last: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """By device: held-out rows, those that each model gets right, and the model that it uses."""
    return {
        "rows": {device: int(told["held_out"]) for device, told in last.items()},
        **{
            which: {device: round(told["held_out"] * told[key]) for device, told in last.items()}
            for which, key in (
                ("shared", "accuracy_before"),
                ("used", "accuracy_personal"),
                ("alone", "accuracy_alone"),
            )
        },
        "chose": {device: int(told["chose"]) for device, told in last.items()},
    }


def alone_on_all_rows(name: str, rounds: int, seed: int) -> dict[str, float]:
    """The demo's baseline: the rows that a model alone gets right if it trains on all the others."""
    fleet = _fleet(data_of(name, seed), name)
    datasets = {device: fit(samples, fleet.bare, fleet.data) for device, samples in fleet.samples.items()}
    found = baselines.alone(fleet.bare, datasets, PLAN, rounds, seed)
    return {one.device: one.own * len(datasets[one.device].held_y) for one in found}


def left_out(name: str, algorithm: str, device: str, rounds: int, seed: int) -> tuple[int, int]:
    """The held-out rows of a device, and those that the shared model of the others gets right."""
    data = data_of(name, seed)
    others = _fleet(data, name, without=device)
    personal = None if algorithm in (*ALIKE, "none", SHARED) else algorithm
    found = learn(others, PLAN.model_copy(update={"personal": personal}), rounds, seed)
    own = fleet_of(data.task, {device: data.devices[device]}, HELD_OUT, GAP[name]).samples[device]
    part = fit(own, others.task, others.data)
    outputs = found.network.predict(found.models["weights"], part.held_X)
    return len(part.held_y), int((outputs.argmax(axis=1) == part.held_y).sum())


def measured(
    names: Sequence[str],
    algorithms: Sequence[str],
    rounds: int,
    seeds: int,
    without: tuple[int, int],
    jobs: int,
) -> dict[str, Any]:
    """All fleets, algorithms and seeds; `without`: how many devices are left out, and with how many seeds."""
    each_seed = range(1, seeds + 1)
    with ProcessPoolExecutor(jobs) as pool:
        together = [each for each in ALIKE if each in algorithms]
        groups = [each for each in (together, *([each] for each in algorithms if each not in ALIKE)) if each]
        asked = {
            (name, group[0]): [pool.submit(tried, name, group, rounds, seed) for seed in each_seed]
            for name in names
            for group in groups
        }
        everything = {
            name: [pool.submit(alone_on_all_rows, name, rounds, seed) for seed in each_seed] for name in names
        }
        kinds = dict.fromkeys(SHARED if each in (*ALIKE, "none") else each for each in algorithms)
        apart = {
            (name, kind): [
                (device, pool.submit(left_out, name, kind, device, rounds, seed))
                for seed in range(1, without[1] + 1)
                for device in [*data_of(name, seed).devices][: without[0]]
            ]
            for name in names
            for kind in kinds
        }
        fleets = {}
        for name in names:
            baseline = [one.result() for one in everything[name]]
            fleets[name] = {
                "algorithms": {
                    algorithm: row([one.result()[algorithm] for one in asked[name, group[0]]], baseline)
                    for group in groups
                    for algorithm in group
                },
                "left_out": {
                    kind: _left_out(
                        [(device, *one.result()) for device, one in apart[name, kind]], without[1]
                    )
                    for kind in kinds
                    if apart[name, kind]
                },
            }
    return {"machine": description(), "rounds": rounds, "seeds": seeds, "fleets": fleets}


def row(found: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The figures of an algorithm: means over the seeds.

    Args:
        found: by seed, from `tried`.
        baseline: by seed, from `alone_on_all_rows`.
    """
    devices = list(found[0]["rows"])

    def shares(which: str) -> list[float]:
        return [
            float(np.mean([one[which][device] / one["rows"][device] for one in found])) for device in devices
        ]

    def behind(which: str) -> list[float]:
        """By device: how many rows more a model alone gets right, in the mean of the seeds."""
        return [
            float(np.mean([one["alone"][device] - one[which][device] for one in found])) for device in devices
        ]

    against_all = [
        float(np.mean([right[d] - one["used"][d] for one, right in zip(found, baseline, strict=True)]))
        for d in devices
    ]
    used, alone = shares("used"), shares("alone")
    return {
        "shared": float(np.mean([sum(one["shared"].values()) / sum(one["rows"].values()) for one in found])),
        "own_mean": float(np.mean(used)),
        "own_worst": min(used),
        "alone_mean": float(np.mean(alone)),
        "alone_worst": min(alone),
        "all_rows_mean": float(
            np.mean(
                [
                    np.mean([right[d] / one["rows"][d] for d in devices])
                    for one, right in zip(found, baseline, strict=True)
                ]
            )
        ),
        "shared_worse_off": worse(behind("shared")),
        "worse_off": worse(behind("used")),
        "worst_rows_behind": max(behind("used")),
        "worse_off_all_rows": worse(against_all),
        "worse_off_each_seed": [worse([one["alone"][d] - one["used"][d] for d in devices]) for one in found],
        "chose": [[sum(x == k for x in one["chose"].values()) for k in range(len(USES))] for one in found],
        "rounds": float(np.mean([one["rounds"] for one in found])),
        "bytes": float(np.mean([one["bytes"] for one in found])),
        "devices": len(devices),
    }


def worse(behind: Sequence[float]) -> int:
    """How many devices are behind by more than one row.

    >>> worse([0.0, 1.0, 1.2, -3.0, 2.0])
    2
    """
    return sum(map(by_more_than_a_row, behind))


def _left_out(found: Sequence[tuple[str, int, int]], seeds: int) -> dict[str, float]:
    """The shares of right rows, each a device's mean over the seeds.

    Args:
        found: by seed and device: its name, its held-out rows, and the right ones.
        seeds: how many there were.
    """
    shares: dict[str, list[float]] = {}
    for device, rows, right in found:
        shares.setdefault(device, []).append(right / rows)
    means = [float(np.mean(each)) for each in shares.values()]
    return {"devices": len(means), "seeds": seeds, "mean": float(np.mean(means)), "worst": min(means)}


def table(report: Mapping[str, Any]) -> str:
    """Format the rows in Markdown."""
    lines = [
        "| data | algorithm | shared | own rows: mean, worst | alone: mean, worst | worse off, by the shared "
        "model | alone, all rows: mean; worse off | rounds | MB a device |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, fleet in report["fleets"].items():
        for algorithm, one in fleet["algorithms"].items():
            cells = [
                name,
                LABELS.get(algorithm, algorithm),
                f"{one['shared']:.3f}",
                f"{one['own_mean']:.3f}, {one['own_worst']:.3f}",
                f"{one['alone_mean']:.3f}, {one['alone_worst']:.3f}",
                f"**{one['worse_off']}** of {one['devices']}, {one['shared_worse_off']}",
                f"{one['all_rows_mean']:.3f}; {one['worse_off_all_rows']}",
                f"{one['rounds']:.0f}",
                f"{one['bytes'] / 1e6:.2f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
        for which, apart in fleet["left_out"].items():
            lines.append(
                f"| {name} | {which}, left out: {apart['devices']} devices, one at a time, "
                f"{_counted(apart['seeds'], 'seed')} | {apart['mean']:.3f}, worst {apart['worst']:.3f} "
                "| | | | | | |"
            )
    said = f"{_counted(report['rounds'], 'round')}, {_counted(report['seeds'], 'seed')}"
    return "\n".join([*lines, "", said])


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def main() -> int:
    """Measure, print, and judge."""
    known = [name for name in ALGORITHMS if name in PERSONAL.entries()]
    parser = arguments(__doc__, f"only the watch data with {' and '.join(ALIKE)}; no device is left out")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=60, help="how many rounds each federation trains")
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA), help="which fleets")
    parser.add_argument("--algorithms", nargs="+", choices=known, default=known, help="which personal models")
    parser.add_argument(
        "--without", type=int, default=DEVICES, help="how many devices are left out, each once"
    )
    parser.add_argument("--without-seeds", type=int, default=1, help="how many seeds for those")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    options = parser.parse_args()
    if options.quick:
        options.data, options.algorithms, options.without = ["watch"], list(ALIKE), 0
    without = (options.without, options.without_seeds)
    report = measured(options.data, options.algorithms, options.rounds, options.seeds, without, options.jobs)
    goals = [
        Goal(
            f"watch, {GOAL_OF}: devices worse off than alone",
            report["fleets"]["watch"]["algorithms"][GOAL_OF]["worse_off"],
            at_most=0,
        )
        for _ in range("watch" in options.data and GOAL_OF in options.algorithms)
    ]
    return judged(report, table(report), goals, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
