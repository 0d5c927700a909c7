"""Run `fedge try` on four public data sets, as a new user would.

    python -m benchmarks.own_data            # --quick: one seed, within two minutes

Each data set is written as files that devices' owners could have, one CSV a device. The command starts a
broker, an aggregator and a process for each device. The goal is a shared model within 3 points of accuracy
(5 % of the RMSE) of a model that was trained on all data in one place. If the goal is missed, the verdict
must name a cause, and the same call without that cause must reach the goal. So each named cause is tested.

| set | what is odd | from |
|---|---|---|
| watch | sorted by class: one exercise after the other | seglearn 1.2.5: 20 wrists, windows of 4 s |
| watch, by time | the same, and its last rows are held out, of one exercise | |
| cancer | gaps: a sensor fails, single cells are empty | scikit-learn: 569 × 30; the gaps are made here |
| diabetes | a regression, few rows | scikit-learn: 442 × 10, dealt at random to five clinics |
| digits | skewed: two of ten digits on most of 20 devices | scikit-learn: 1,797 × 64, by label shards |
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.processes import end_cleanly_on_sigterm
from fleet.datasets import load_digits, load_watch

POINTS, PART = 0.03, 0.05
"""How far from one place with all data: in accuracy, and as a part of its RMSE."""
SEEDS, ROUNDS = 3, 60
TIMEOUT_S = 600.0
LABORATORIES = CLINICS = 5

Rows = Iterable[Sequence[object]]
Writer = Callable[[Path, int], None]


@dataclass(frozen=True)
class Case:
    """A data set, and how it is tried."""

    write: Writer
    """Writes the files for a seed."""
    arguments: tuple[str, ...]
    without: Mapping[str, tuple[Writer, tuple[str, ...]]] = field(default_factory=dict)
    """By a cause that the verdict may name: the files and arguments without it."""
    spoilt_by: str | None = None
    """The cause that the verdict must name, though one place with all data suffers from it as well; without
    it the shared model must gain more than the goal."""


def _csv(path: Path, header: Sequence[str], rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def watch(folder: Path, seed: int) -> None:
    """Windows overlap by half, so each second one of a recording is left out."""
    dataset = load_watch()
    for device in dataset.devices:
        kept, seen = [], dict.fromkeys(device.series, 0)
        for row, series, label in zip(device.features.tolist(), device.series, device.labels, strict=True):
            if seen[series] % 2 == 0:
                kept.append([*(f"{value:.6g}" for value in row), label])
            seen[series] += 1
        _csv(folder / f"{device.device}.csv", [*dataset.features, "exercise"], kept)


def cancer(folder: Path, seed: int, gaps: bool = True) -> None:
    """Patients dealt at random; one laboratory's analyser fails for a third of its rows."""
    from sklearn import datasets

    found, rng = datasets.load_breast_cancer(), np.random.default_rng(seed)
    for number, rows in enumerate(np.array_split(rng.permutation(len(found.data)), LABORATORIES)):
        X = found.data[rows].astype(object)
        if gaps:
            X[rng.random(X.shape) < 0.01] = ""
        if gaps and number == 0:
            X[len(X) // 3 : 2 * len(X) // 3, :10] = ""
        names = [str(name) for name in found.target_names[found.target[rows]]]
        table = [[*row, name] for row, name in zip(X.tolist(), names, strict=True)]
        header = [*map(str, found.feature_names), "diagnosis"]
        _csv(folder / f"laboratory-{number + 1}.csv", header, table)


def diabetes(folder: Path, seed: int) -> None:
    from sklearn import datasets

    found, rng = datasets.load_diabetes(scaled=False), np.random.default_rng(seed)
    for number, rows in enumerate(np.array_split(rng.permutation(len(found.data)), CLINICS)):
        table = np.column_stack([found.data[rows], found.target[rows]]).tolist()
        _csv(folder / f"clinic-{number + 1}.csv", [*found.feature_names, "progression"], table)


def digits(folder: Path, seed: int, skewed: bool = True) -> None:
    dataset = load_digits(20, seed)
    rows = [
        [*(f"{value:g}" for value in row), label]
        for device in dataset.devices
        for row, label in zip(device.features.tolist(), device.labels, strict=True)
    ]
    ends = np.cumsum([len(device.labels) for device in dataset.devices])[:-1]
    order = np.arange(len(rows)) if skewed else np.random.default_rng(seed).permutation(len(rows))
    for device, chosen in zip(dataset.devices, np.split(order, ends), strict=True):
        _csv(folder / f"{device.device}.csv", [*dataset.features, "digit"], [rows[k] for k in chosen])


def _whole(folder: Path, seed: int) -> None:
    cancer(folder, seed, gaps=False)


def _mixed(folder: Path, seed: int) -> None:
    digits(folder, seed, skewed=False)


LONGER = ("--rounds", "240")
EXERCISE, DIAGNOSIS, DIGIT = ("--label", "exercise"), ("--label", "diagnosis"), ("--label", "digit")
PROGRESSION = ("--regression", "progression")
CASES: Mapping[str, Case] = {
    "watch": Case(watch, EXERCISE, {"learning was not over": (watch, (*EXERCISE, *LONGER))}),
    "watch, by time": Case(
        watch,
        (*EXERCISE, "--by", "time"),
        {"sorted by class": (watch, (*EXERCISE, "--by", "every"))},
        spoilt_by="sorted by class",
    ),
    "cancer": Case(
        cancer,
        DIAGNOSIS,
        {"gaps": (_whole, DIAGNOSIS), "learning was not over": (cancer, (*DIAGNOSIS, *LONGER))},
    ),
    "diabetes": Case(diabetes, PROGRESSION, {"learning was not over": (diabetes, (*PROGRESSION, *LONGER))}),
    "digits": Case(
        digits,
        DIGIT,
        {"label skew": (_mixed, DIGIT), "learning was not over": (digits, (*DIGIT, *LONGER))},
    ),
}


def tried(write: Writer, arguments: Sequence[str], seed: int, rounds: int) -> dict[str, Any]:
    """What `fedge try --json` says of files."""
    with tempfile.TemporaryDirectory(prefix="fedge-own-data-") as name:
        data = Path(name) / "data"
        write(data, seed)
        chosen = arguments if "--rounds" in arguments else (*arguments, "--rounds", str(rounds))
        command = [sys.executable, "-m", "fleet", "try", str(data), *chosen, "--seed", str(seed)]
        done = subprocess.run(
            [*command, "--json", "--out", str(Path(name) / "out")],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    if done.returncode != 0:
        raise RuntimeError(f"fedge try {' '.join(chosen)} ended with {done.returncode}:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def short(found: Mapping[str, Any]) -> float:
    """How far the shared model is behind one place with all data, in units of the goal: 1 is just met."""
    if "rmse" in found:
        return float((found["rmse"] / found["rmse_central"] - 1) / PART)
    return float((found["accuracy_central"] - found["accuracy"]) / POINTS)


def judged(case: Case, seed: int, rounds: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """One case with one seed: what it reached, and where that is short, what removing the causes brings."""
    found = tried(case.write, case.arguments, seed, rounds)
    name = "rmse" if "rmse" in found else "accuracy"
    result = {
        "together": found[name],
        "central": found[f"{name}_central"],
        "alone": found[f"{name}_alone_mean"],
        "ratio": found[name] / found[f"{name}_central"],
        "noise": found["noise"],
        "short": short(found),
        "verdict": found["verdict"]["kind"],
        "causes": found["verdict"]["causes"],
        "seconds": found["seconds"],
        "confirmed": {},
    }
    tell(f"    seed {seed}: {result['together']:.4g} of {result['central']:.4g}, {result['verdict']}")
    if result["short"] > 1 or case.spoilt_by is not None:
        for cause in result["causes"]:
            if cause in case.without and cause not in result["confirmed"]:
                write, arguments = case.without[cause]
                again = tried(write, arguments, seed, rounds)
                result["confirmed"][cause] = {
                    "together": again[name],
                    "central": again[f"{name}_central"],
                    "reached": short(again) <= 1
                    if case.spoilt_by is None
                    else again[name] - found[name] > POINTS,
                }
                tell(f"      without {cause}: {again[name]:.4g} of {again[f'{name}_central']:.4g}")
    return result


def met(case: Case, runs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the goal is reached on average, or every run that falls short has a cause that is confirmed."""
    if case.spoilt_by is not None:
        return all(run["confirmed"].get(case.spoilt_by, {}).get("reached") for run in runs)
    if mean(run["short"] for run in runs) <= 1:
        return True
    falls = [run for run in runs if run["short"] > 1]
    return all(any(one["reached"] for one in run["confirmed"].values()) for run in falls)


def measure(
    names: Sequence[str], seeds: Sequence[int], rounds: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Every case with every seed."""
    began_s, cases = time.monotonic(), {}
    for name in names:
        tell(name)
        runs = [judged(CASES[name], seed, rounds, tell) for seed in seeds]
        together = [run["together"] for run in runs]
        cases[name] = {
            "together": mean(together),
            "spread": stdev(together) if len(together) > 1 else None,
            "central": mean(run["central"] for run in runs),
            "alone": mean(run["alone"] for run in runs),
            "ratio": mean(run["ratio"] for run in runs),
            "noise": mean(run["noise"] for run in runs),
            "met": met(CASES[name], runs),
            "runs": runs,
        }
    return {
        "machine": machine.description(),
        "rounds": rounds,
        "seeds": list(seeds),
        "goal": {"points": POINTS, "part_of_rmse": PART},
        "seconds": round(time.monotonic() - began_s, 1),
        "cases": cases,
        "missed": [name for name, case in cases.items() if not case["met"]],
    }


def table(report: Mapping[str, Any]) -> str:
    """The report for people."""
    lines = [
        f"{report['rounds']} rounds, mean of {len(report['seeds'])} seeds, on {report['machine']}; "
        f"{report['seconds']:.0f} s",
        f"goal: {100 * POINTS:.0f} points of accuracy, or {PART:.0%} of RMSE, from all data in one place; or "
        "a cause without which it is reached",
        "",
        f"{'set':<16}{'alone':>8}{'together':>10}{'central':>9}{'ratio':>7}{'± noise':>9}  goal",
    ]
    for name, case in report["cases"].items():
        lines.append(
            f"{name:<16}{case['alone']:>8.4g}{case['together']:>10.4g}{case['central']:>9.4g}"
            f"{case['ratio']:>7.3f}{case['noise']:>9.3f}  {'met' if case['met'] else 'MISSED'}"
        )
        for seed, run in zip(report["seeds"], case["runs"], strict=True):
            if run["short"] > 1 or run["confirmed"]:
                named = ", ".join(run["causes"]) or "none"
                lines.append(f"    seed {seed}: {run['together']:.4g} causes named: {named}")
            lines += [
                f"      without {cause}: {one['together']:.4g} of {one['central']:.4g}, "
                f"{'confirmed' if one['reached'] else 'not confirmed'}"
                for cause, one in run["confirmed"].items()
            ]
    return "\n".join(lines)


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one seed, without the one that is spoilt on purpose: two minutes",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many, one after the other")
    parser.add_argument("--only", default="", help="only sets whose name holds this text")
    options = parser.parse_args()
    end_cleanly_on_sigterm()
    names = [name for name in CASES if options.only in name]
    if options.quick:
        names = [name for name in names if CASES[name].spoilt_by is None]
    seeds = range(1, 2 if options.quick else options.seeds + 1)

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    report = measure(names, seeds, ROUNDS, tell)
    print(json.dumps(report, indent=2) if options.json else table(report))
    sys.exit(1 if report["missed"] else 0)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main()
