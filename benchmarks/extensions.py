"""Check that all registered parts keep their laws, and count the files that a new part touches.

    python -m benchmarks.extensions            # a table; --json for programs; --quick: shorter rounds

Each trial puts one example as a file into the registry's folder in a copy of the tree, and drops the copy
afterwards. In the copy it runs the part's check, lets a federation on production's cores learn with the part
named in its settings, and counts the production files that differ from the tree. The exit code is 1 if a part
breaks a law, a trial fails, or a trial touches more files than the goal.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from agent.trainers.built_in import BuiltIn
from benchmarks.machine import description
from fedge import Algorithm, NetworkSpec, Plan, Task, simulate, testing
from fedge.algorithms.registry import REGISTRIES

ROOT = Path(__file__).parents[1]
PRODUCTION = ("fedge", "agent", "aggregator", "fleet")
COPIED = (*PRODUCTION, "benchmarks")
GOAL = 1
"""The most production files that an addition may touch."""
ROUNDS, QUICK_ROUNDS = 20, 5
DEVICES, ROWS, STEPS = 6, 60, 8
TRIAL_S = 300.0
"""The longest that a trial may take."""


@dataclass(frozen=True)
class Trial:
    """An addition: an example, its place in the tree, and the settings that name it."""

    name: str
    example: str
    """In `examples/extend`."""
    kind: str
    part: str
    """Its name in settings."""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> Path:
        """The file in the folder of its registry."""
        return Path(*REGISTRIES[self.kind].folder.split("."), f"{self.example}.py")


TRIALS = (
    Trial("top-k with a residual", "sparse", "codec", "sparse", {"share": 0.3}),
    Trial("Huber", "huber", "rule", "huber", {"passes": 4}),
    Trial("FedAdam", "fedadam", "server", "fedadam", {"rate": 0.1}),
    Trial("FedCM, which sends a second vector", "fedcm", "local", "fedcm", {"share": 0.5}),
    Trial("FedProx", "proximal", "local", "proximal", {"mu": 0.1}),
    Trial("1-D convolution", "conv1d", "layer", "conv1d", {"filters": 3, "width": 3}),
)


@dataclass(frozen=True)
class Checked:
    """The check of one registered part against the laws of its protocol."""

    kind: str
    part: str
    seconds: float
    broken: str
    """The law that the part breaks, and how; empty: none."""


@dataclass(frozen=True)
class Tried:
    """What became of a trial."""

    name: str
    files: int | None
    """The production files that differ; None: the trial failed before."""
    loss: tuple[float, ...]
    """Mean training loss after each round, in the federation with the part."""
    failed: str
    """The reason of a failure; empty: none."""

    @property
    def met(self) -> bool:
        """Whether it works, the loss falls, and it touches no more files than the goal."""
        learns = bool(self.loss) and self.loss[-1] < self.loss[0]
        return not self.failed and learns and self.files is not None and self.files <= GOAL


LOOSER: dict[tuple[str, str], dict[str, bool]] = {
    ("rule", name): {"between": False} for name in ("centered-clipping", "norm-bound")
}
"""Laws that a part does not promise: these rules shorten updates to an absolute length."""


def check_of(kind: str) -> Callable[..., None] | None:
    """The check of the parts of a kind; None: there is none."""
    return getattr(testing, f"check_{kind}", None)


def check_all() -> list[Checked]:
    """Check every registered part, and the trainer that comes with the agent."""
    parts = [
        (kind, name, check_of(kind), entry)
        for kind, registry in REGISTRIES.items()
        for name, entry in sorted(registry.entries().items())
    ]
    return [_checked(*part) for part in (*parts, ("trainer", "built-in", testing.check_trainer, BuiltIn))]


def _checked(kind: str, name: str, check: Callable[..., None] | None, part: Any) -> Checked:
    began_s, broken = time.perf_counter(), ""
    if check is None:
        broken = f"there is no check of the kind {kind!r}"
    else:
        try:
            check(part, **LOOSER.get((kind, name), {}))
        except Exception as error:
            broken = f"{type(error).__name__}: {error}"
    return Checked(kind, name, time.perf_counter() - began_s, broken)


def learn(trial: Trial, rounds: int, *, used: bool = True) -> tuple[float, ...]:
    """Let a federation learn with the part that its settings name; the loss after each round.

    Args:
        trial: which part.
        rounds: training rounds.
        used: else the same federation learns without it.
    """
    layers: list[dict[str, Any]] = [{"type": "dense", "units": 6}, {"type": "relu"}]
    algorithm = Algorithm()
    if trial.kind == "layer" and used:
        layers = [{"type": trial.part, **trial.options}, {"type": "relu"}]
    elif used:
        algorithm = Algorithm(**{trial.kind: trial.part}, options={trial.kind: trial.options})
    network = NetworkSpec.model_validate(
        {"inputs": STEPS, "layers": [*layers, {"type": "dense", "units": 2}], "loss": "cross-entropy"}
    )
    features = tuple(f"step_{step}" for step in range(STEPS))
    task = Task(network=network, features=features, classes=("falling", "rising"))
    devices = {f"device-{number}": _samples(number) for number in range(DEVICES)}
    plan = Plan(epochs=2, batch_size=8, learning_rate=0.1)
    history = simulate(task, devices, algorithm, plan=plan, rounds=rounds, seed=1).history
    return tuple(row.loss for row in history if row.loss is not None)


def _samples(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Series that rise or fall, with noise."""
    rng = np.random.default_rng(number)
    rising = rng.random(ROWS) < 0.5
    slope = np.where(rising, 0.3, -0.3)[:, None] * np.arange(STEPS)
    return slope + rng.normal(size=(ROWS, STEPS)), rising.astype(np.int64)


def attempt(trial: Trial, rounds: int) -> Tried:
    """Make the addition in a copy of the tree, use it there, and count what was touched."""
    source = ROOT / "examples" / "extend" / f"{trial.example}.py"
    if not source.exists():
        return Tried(trial.name, None, (), f"{source.relative_to(ROOT)} is not there")
    with TemporaryDirectory(prefix="fedge-trial-") as folder:
        copy = Path(folder)
        for name in COPIED:
            ignored = shutil.ignore_patterns("__pycache__", "flower_app")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        shutil.copyfile(source, copy / trial.place)
        command = [
            sys.executable,
            "-m",
            "benchmarks.extensions",
            "--trial",
            trial.part,
            "--rounds",
            str(rounds),
        ]
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command,
                cwd=copy,
                env=environment,
                capture_output=True,
                text=True,
                timeout=TRIAL_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Tried(trial.name, None, (), f"it takes more than {TRIAL_S:.0f} s")
        files = len(_differing(copy))
        if done.returncode != 0:
            return Tried(trial.name, files, (), (done.stderr.strip().splitlines() or ["it failed"])[-1])
        return Tried(trial.name, files, tuple(json.loads(done.stdout)), "")


def _differing(copy: Path) -> set[Path]:
    """The production files that are not as in the tree."""
    here, there = (_digests(folder) for folder in (ROOT, copy))
    return {path for path in here.keys() | there.keys() if here.get(path) != there.get(path)}


def _digests(root: Path) -> dict[Path, bytes]:
    files = (path for name in PRODUCTION for path in (root / name).rglob("*") if path.is_file())
    return {
        path.relative_to(root): hashlib.sha256(path.read_bytes()).digest()
        for path in files
        if "__pycache__" not in path.parts
    }


def one(trial: Trial, rounds: int) -> None:
    """In the copy: the part is found in its folder, keeps its laws, and a federation learns with it."""
    entry = REGISTRIES[trial.kind].entries()[trial.part]
    check = check_of(trial.kind)
    if check is None:
        sys.exit(f"there is no check of the kind {trial.kind!r}")
    check(entry)
    with_it, without = (learn(trial, rounds, used=used) for used in (True, False))
    if with_it == without:
        sys.exit(f"the federation learns as without {trial.part!r}: what its settings name is not used")
    print(json.dumps(with_it))


def report(checked: list[Checked], tried: list[Tried]) -> dict[str, Any]:
    """For programs."""
    return {
        "machine": description(),
        "checks": [asdict(each) for each in checked],
        "trials": [{**asdict(each), "goal": GOAL, "met": each.met} for each in tried],
        "met": all(each.met for each in tried) and not any(each.broken for each in checked),
    }


def table(checked: list[Checked], tried: list[Tried]) -> str:
    """For people."""
    lines = [description(), "", "registered parts against the laws of their protocols"]
    for part in checked:
        told = f"BROKEN: {part.broken}" if part.broken else "keeps them"
        lines.append(f"  {part.kind:<8} {part.part:<18} {part.seconds:6.2f} s   {told}")
    lines += ["", f"production files that an addition touches (goal: {GOAL})"]
    for trial in tried:
        files = "-" if trial.files is None else str(trial.files)
        told = f"loss {trial.loss[0]:.3f} → {trial.loss[-1]:.3f}" if trial.loss else trial.failed
        lines.append(f"  {trial.name:<24} {files:>3}   {told}{'' if trial.met else '   MISSED'}")
    return "\n".join(lines)


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds instead of {ROUNDS}")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--trial", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    rounds = QUICK_ROUNDS if options.quick else options.rounds
    if options.trial is not None:
        one(next(trial for trial in TRIALS if trial.part == options.trial), rounds)
        return
    checked, tried = check_all(), [attempt(trial, rounds) for trial in TRIALS]
    found = report(checked, tried)
    print(json.dumps(found, indent=2) if options.json else table(checked, tried))
    sys.exit(0 if found["met"] else 1)


if __name__ == "__main__":
    main()
