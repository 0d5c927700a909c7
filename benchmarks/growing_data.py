"""Measure the memory for reading a file that grows for years, and the cost of reading it again.

A separate process reads a CSV of 2.5 million rows and five columns (75 MB) with `newest = 100000`, as an
agent does: by a source in the trainer, for a training round. It reads the file again when nothing is new,
when a line has been begun, and when 100 rows have been added, and compares the CPU seconds with those of the
first reading. Only Linux reports the peak of a process's memory (VmHWM).

    python -m benchmarks.growing_data [--quick] [--json]

`--quick` takes a tenth of the rows. The exit code is 1 if a goal is missed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.config import AgentSettings
from agent.core.events import Done
from agent.sources import open_sources
from agent.trainers.assignment import Assignment
from agent.trainers.worker import Worker
from benchmarks import machine
from fedge.algorithms.plan import Plan
from fedge.nn.spec import Dense, NetworkSpec, Standardize
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.task import Task

ROWS, NEWEST = 2_500_000, 100_000
MORE = 100
GOAL_MB = 120
GOAL_NOTHING_NEW = 0.01
"""The largest shares of the time of a full reading."""
CLASSES = ("walk", "sit", "run")
HEADER = "time,x,y,z,label\n"
MEANS = np.array([1_700_000_000.0 + ROWS, 0, 0, 0])
FIRST = Standardize(
    mean=MEANS.astype("<f4").tobytes(),
    scale=np.array([28_868, 1, 1, 1], "<f4").tobytes(),
    rest=(MEANS - MEANS.astype("<f4")).astype("<f4").tobytes(),
)
"""Times of 100,000 s are too fine for float32, so that all columns are handed over in float64."""
TASK = Task(
    network=NetworkSpec(inputs=4, layers=(FIRST, Dense(units=3)), loss="cross-entropy"),
    features=("time", "x", "y", "z"),
    classes=CLASSES,
)


def lines(first: int, count: int) -> str:
    """Yield rows as a logger writes them, 30 bytes each."""
    rng = np.random.default_rng(first)
    readings, classes = rng.normal(size=(count, 3)), rng.integers(3, size=count)
    return "".join(
        f"{1_700_000_000 + first + i},{x:.1f},{y:.1f},{z:.1f},{CLASSES[k]}\n"
        for i, ((x, y, z), k) in enumerate(zip(readings.tolist(), classes.tolist(), strict=True))
    )


def peak_mb() -> float:
    """Return the peak memory of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1_024


def measure(folder: Path) -> dict[str, Any]:
    """In a process of its own: read, again where nothing is new, and again where some rows are."""
    file = folder / "data.csv"
    settings = AgentSettings.load(folder / "agent.toml", {})
    sources = open_sources(settings)
    source = sources["data"]
    report: dict[str, Any] = {"started_mb": peak_mb()}

    def seconds() -> float:
        began_s = time.process_time()
        source.read()
        return time.process_time() - began_s

    report["full_s"] = seconds()
    report["read_mb"] = peak_mb()
    report["unchanged_s"] = seconds()
    os.utime(file)
    report["touched_s"] = seconds()
    with file.open("a") as more:
        more.write("17")
    report["begun_line_s"] = seconds()
    with file.open("a") as more:
        more.write("0,0,0,0,walk\n" + lines(10 * ROWS, MORE))
    report["more_s"] = seconds()
    blob = Blob(digest=bytes(32), slot=0, frames=1, size=100)
    manifest = Manifest(
        generation=1,
        round=1,
        kind="train",
        state="open",
        seed=1,
        task=blob,
        model=blob,
        plan=Plan(epochs=1),
        cohort=Cohort(fraction=1.0, seed=1),
        seconds_left=60.0,
    )
    weights = np.zeros(TASK.network.schema.size, np.float32)
    done = Worker(settings, sources, lambda _: None).work(Assignment(manifest, TASK, weights, {}))
    assert isinstance(done, Done)
    report["round_mb"] = peak_mb()
    return report


def run(rows: int) -> dict[str, Any]:
    """Write the file, and have it measured."""
    with tempfile.TemporaryDirectory(prefix="fedge-benchmark-") as name:
        folder = Path(name)
        (folder / "agent.toml").write_text(
            'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "csv"\npath = "data.csv"\n'
            f"newest = {NEWEST}\n",
            encoding="utf-8",
        )
        with (folder / "data.csv").open("w") as file:
            file.write(HEADER)
            for first in range(0, rows, 10_000):
                file.write(lines(first, 10_000))
        size = (folder / "data.csv").stat().st_size
        found = subprocess.run(
            [sys.executable, "-m", "benchmarks.growing_data", "--measure", name],
            check=True,
            capture_output=True,
            text=True,
        )
    measured: dict[str, Any] = json.loads(found.stdout)
    full_s = measured["full_s"]
    ratios = {name: measured[f"{name}_s"] / full_s for name in ("unchanged", "touched", "begun_line", "more")}
    return {"machine": machine.description(), "rows": rows, "mb": size / 1e6, **measured, "of_full": ratios}


def missed(report: dict[str, Any]) -> list[str]:
    """The goals that are missed."""
    found = [
        f"{what} takes {report[key]:.0f} MB, the goal is {GOAL_MB}"
        for key, what in (("read_mb", "reading"), ("round_mb", "a round"))
        if report[key] > GOAL_MB
    ]
    return found + [
        f"{name}: {ratio:.2%} of a full reading, the goal is {GOAL_NOTHING_NEW:.0%}"
        for name, ratio in report["of_full"].items()
        if name != "more" and ratio > GOAL_NOTHING_NEW
    ]


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Measure and report; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure is not None:
        say(json.dumps(measure(options.measure)))
        return 0
    report = run(ROWS // 10 if options.quick else ROWS)
    failures = missed(report)
    if options.json:
        say(json.dumps({**report, "missed": failures}))
        return 1 if failures else 0
    say(f"{report['rows']} rows, {report['mb']:.0f} MB, newest = {NEWEST}")
    say(
        f"memory     {report['started_mb']:.0f} MB before, {report['read_mb']:.0f} MB when it was read, "
        f"{report['round_mb']:.0f} MB after a round (goal: {GOAL_MB} MB)"
    )
    say(f"full       {report['full_s']:.2f} s")
    for name, ratio in report["of_full"].items():
        goal = "" if name == "more" else f" (goal: {GOAL_NOTHING_NEW:.0%})"
        say(f"{name:10} {ratio:.3%} of that{goal}")
    for failure in failures:
        say(f"missed: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
