"""Seconds per round of ten real processes on digits: Fedge, then Flower's deployment engine.

Both train a 64-64-10 network with E=5, B=10, learning rate 0.05 on the same ten files of 150 samples and are
tested on the same 297 others. Flower gets an environment of its own, made on first use. A round is timed from
its announcement to the next one's: Fedge's as a subscriber of the broker sees it, Flower's in its ServerApp.

    python -m benchmarks.round_vs_flower [--quick] [--json]
"""

import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import digits, fedge_side, flower_peer, machine
from benchmarks.fedge_side import FedgeRun
from benchmarks.flower_peer import FlowerRun
from benchmarks.processes import Processes, end_cleanly_on_sigterm
from benchmarks.verdict import Goal, arguments, judged

QUICK_ROUNDS = 3
GOAL = 60
"""How many times faster a round is to be."""


def measure(devices: int, rounds: int, flower_rounds: int, seed: int, environment: Path) -> dict[str, Any]:
    """Run both sides; Fedge once more for as few rounds as Flower, so that accuracies compare."""
    programs = flower_peer.install(environment) if flower_rounds else None
    with tempfile.TemporaryDirectory(prefix="fedge-benchmark-") as name:
        folder = Path(name)
        data, logs = folder / "data", folder / "logs"
        data.mkdir()
        logs.mkdir()
        digits.write(data, devices, seed)

        def fedge(rounds: int) -> FedgeRun:
            with Processes(logs) as processes:
                place = folder / f"fedge-{rounds}"
                return fedge_side.run(processes, place, data, devices=devices, rounds=rounds, seed=seed)

        report: dict[str, Any] = {
            "machine": machine.description(),
            "devices": devices,
            "fedge": _side(fedge(rounds)),
        }
        if programs is not None:
            report["fedge_accuracy_at_flower_rounds"] = fedge(flower_rounds).accuracy
            with Processes(logs) as processes:
                peer = flower_peer.FlowerPeer(processes, programs, folder / "flower")
                peer.start_superlink()
                flower = peer.run(data, nodes=devices, rounds=flower_rounds, seed=seed)
            report["flower"] = {"version": flower_peer.version(programs)} | _side(flower)
            times = report["flower"]["seconds_per_round_median"] / report["fedge"]["seconds_per_round_median"]
            report |= {"times_faster": times, "goal": GOAL}
        return report


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    sides = {"Fedge": report["fedge"]}
    if "flower" in report:
        sides[f"Flower {report['flower']['version']}"] = report["flower"]
    rows = [
        ("rounds", "rounds", "d"),
        ("seconds per round, median", "seconds_per_round_median", ".3f"),
        ("  fastest", "seconds_per_round_min", ".3f"),
        ("  slowest", "seconds_per_round_max", ".3f"),
        ("MB per node, peak in a round", "node_mb_median", ".0f"),
        ("accuracy after the last round", "accuracy", ".3f"),
    ]
    lines = [f"{report['devices']} nodes on {report['machine']}", ""]
    lines.append(" " * 32 + "".join(f"{name:>16}" for name in sides))
    lines += [
        f"{label:<32}" + "".join(f"{side[key]:>16{form}}" for side in sides.values())
        for label, key, form in rows
    ]
    if "flower" in report:
        rounds = report["flower"]["rounds"]
        lines.append(
            f"{f'accuracy after {rounds} rounds':<32}"
            f"{report['fedge_accuracy_at_flower_rounds']:>16.3f}{report['flower']['accuracy']:>16.3f}"
        )
    return "\n".join(lines)


def _side(run: FedgeRun | FlowerRun) -> dict[str, Any]:
    return {
        "rounds": len(run.seconds),
        "seconds_per_round_median": median(run.seconds),
        "seconds_per_round_min": min(run.seconds),
        "seconds_per_round_max": max(run.seconds),
        "node_mb_median": median(run.node_mb),
        "accuracy": run.accuracy,
    }


def main() -> int:
    """Parse the arguments, measure, print, and judge."""
    parser = arguments(__doc__, f"{QUICK_ROUNDS} rounds each, and Flower only if its environment is there")
    parser.add_argument("--devices", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=20, help="Fedge's rounds")
    parser.add_argument(
        "--flower-rounds", type=int, default=5, help="Flower's rounds, 10 to 20 s each; 0 leaves it out"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--flower-environment",
        type=Path,
        default=flower_peer.DEFAULT_FOLDER,
        help="virtual environment with Flower, made if it is not there",
    )
    options = parser.parse_args()
    end_cleanly_on_sigterm()
    rounds, flower_rounds = options.rounds, options.flower_rounds
    if options.quick:
        there = flower_peer.is_installed(options.flower_environment)
        rounds, flower_rounds = min(rounds, QUICK_ROUNDS), min(flower_rounds, QUICK_ROUNDS if there else 0)
    report = measure(options.devices, rounds, flower_rounds, options.seed, options.flower_environment)
    goals = []
    if "flower" in report:
        goals.append(Goal("times faster than Flower", report["times_faster"], at_least=GOAL))
    return judged(report, table(report), goals, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
