"""Twenty agents as real processes, four of which attack: does a robust rule learn what sixteen honest ones
do?

    python -m benchmarks.robust_fleet [--seeds 3] [--rounds 10] [--quick] [--json]

The digits of scikit-learn are dealt at random to twenty devices. Four of them send the opposite of what they
have learnt, four times as long (`benchmarks/liar.py --attack`). Each exported ONNX file is tested on the rows
of the sixteen honest devices, and compared with the model of the sixteen alone, with the same rows, seed and
rounds.

Exits with 1 if a robust rule is more than 3 points of accuracy below the sixteen alone, in the mean over the
seeds, or if the plain mean is not: then the attack would show nothing.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import digits
from benchmarks.fedge_side import ENVIRONMENT, FEDERATION, ROOT, accuracy, start_agent, write_agent
from benchmarks.processes import Processes, end_cleanly_on_sigterm
from benchmarks.verdict import Goal, arguments, judged
from fleet.demo import broker

HONEST, ATTACKERS = 16, 4
POINTS = 0.03
SEEDS, ROUNDS, QUICK_ROUNDS = 3, 10, 6
TIMEOUT_S = 300.0
ATTACK: Mapping[str, Any] = {"name": "sign-flip", "strength": 4.0}
RULES: Mapping[str, Mapping[str, Any]] = {
    "trimmed-mean": {"name": "trimmed-mean", "f": ATTACKERS},
    "multi-krum": {"name": "multi-krum", "f": ATTACKERS},
    "median+nnm": {"name": "median", "f": ATTACKERS, "pre": "nnm"},
}
QUICK = ("multi-krum",)
MEAN: Mapping[str, Any] = {"name": "mean"}

FEDERATION_TOML = """\
[federation]
name = "{federation}"
seed = {seed}

[broker]
url = "{url}"

[model]
features = {features}
classes = {classes}
layers = [{{ type = "dense", units = 32 }}, {{ type = "relu" }}]

[plan]
epochs = 3
batch_size = 10
learning_rate = 0.05

[rule]
{rule}

[rounds]
quorum = {devices}
target = {devices}
deadline_s = 120

[stopping]
rounds = {rounds}

[state]
folder = "state"

[export]
folder = "export"
choose = "newest"
"""


def learnt(
    folder: Path, data: Path, rule: Mapping[str, Any], attackers: int, rounds: int, seed: int
) -> float:
    """Let a fleet learn; the accuracy of its model on the honest devices' rows.

    Raises:
        RuntimeError: a process failed or a wait was too long; names the log.
    """
    (folder / "logs").mkdir(parents=True)
    names = [f"device-{number}" for number in range(HONEST + attackers)]
    with broker.start("mosquitto", folder / "mosquitto") as bus, Processes(folder / "logs") as processes:
        config = folder / "federation.toml"
        text = FEDERATION_TOML.format(
            federation=FEDERATION,
            seed=seed,
            url=bus.url,
            features=list(digits.FEATURES),
            classes=list(digits.CLASSES),
            rule="\n".join(f"{key} = {json.dumps(value)}" for key, value in rule.items()),
            devices=len(names),
            rounds=rounds,
        )
        config.write_text(text, encoding="utf-8")
        for number, name in enumerate(names):
            own = write_agent(folder / name, name, data / f"{name}.npz", bus.url)
            if number < HONEST:
                start_agent(processes, name, own)
            else:
                liar = [str(ROOT / "benchmarks" / "liar.py"), "--attack", json.dumps(ATTACK)]
                command = [sys.executable, *liar, "--config", str(own)]
                processes.start(name, command, environment=ENVIRONMENT)
        command = [sys.executable, "-m", "aggregator", "--config", str(config), "--exit-when-done"]
        aggregator = processes.start("aggregator", command, environment=ENVIRONMENT)
        processes.wait_until(lambda: aggregator.poll() == 0, "end of learning", TIMEOUT_S)
    return accuracy(folder / "export" / "model.onnx", data / "honest.npz")


def deal(folder: Path, seed: int) -> None:
    """Write the rows of each device, and those of all honest ones."""
    folder.mkdir(parents=True)
    digits.write(folder, HONEST + ATTACKERS, seed)
    honest = [np.load(folder / f"device-{number}.npz") for number in range(HONEST)]
    X, y = (np.concatenate([each[name] for each in honest]) for name in ("X", "y"))
    np.savez(folder / "honest.npz", X=X, y=y)


def of_seed(folder: Path, rules: Sequence[str], rounds: int, seed: int) -> dict[str, float]:
    """The accuracies of one seed: `alone`, `mean`, and by rule."""
    data = folder / "data"
    deal(data, seed)
    found = {"alone": learnt(folder / "alone", data, MEAN, 0, rounds, seed)}
    for name in ("mean", *rules):
        rule = MEAN if name == "mean" else RULES[name]
        found[name] = learnt(folder / name, data, rule, ATTACKERS, rounds, seed)
    return found


def goals(found: Sequence[Mapping[str, float]]) -> list[Goal]:
    """How far each rule may be below the sixteen alone, in the mean over the seeds."""
    below = {
        name: float(np.mean([each["alone"] - each[name] for each in found]))
        for name in found[0]
        if name != "alone"
    }
    robust = [
        Goal(f"{name}: points below alone", 100 * far, at_most=100 * POINTS)
        for name, far in below.items()
        if name != "mean"
    ]
    return [*robust, Goal("mean: points below alone", 100 * below["mean"], at_least=100 * POINTS)]


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = arguments(str(__doc__), f"one seed, {QUICK_ROUNDS} rounds, one rule: some minutes")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    end_cleanly_on_sigterm()
    rules, rounds = (QUICK, QUICK_ROUNDS) if asked.quick else (tuple(RULES), asked.rounds)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1 if asked.quick else asked.seeds):
            found.append(of_seed(Path(folder) / str(seed), rules, rounds, seed))
            print(f"seed {seed}: {found[-1]}", file=sys.stderr, flush=True)
    table = "\n".join(f"{name:14} " + " ".join(f"{each[name]:.3f}" for each in found) for name in found[0])
    return judged({"accuracy": found, "rounds": rounds}, table, goals(found), as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
