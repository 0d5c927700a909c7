"""Seconds per round of ten real processes on digits: Fedge, then Flower's deployment engine.

Both train a 64-64-10 network with E=5, B=10, learning rate 0.05 on the same ten files of 150 samples and are
tested on the same 297 others. Flower gets an environment of its own, made on first use. A round is timed from
its announcement to the next one's: Fedge's as a subscriber of the broker sees it, Flower's in its ServerApp.

    python -m benchmarks.round_vs_flower [--json]
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import digits, fedge_side, flower_peer, machine
from benchmarks.fedge_side import FedgeRun
from benchmarks.flower_peer import FlowerRun
from benchmarks.processes import Processes, end_cleanly_on_sigterm

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
        verdict = "met" if report["times_faster"] >= GOAL else "missed"
        lines += ["", f"{report['times_faster']:.0f} times faster (goal: at least {GOAL}: {verdict})"]
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


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    end_cleanly_on_sigterm()
    report = measure(
        options.devices, options.rounds, options.flower_rounds, options.seed, options.flower_environment
    )
    print(json.dumps(report, indent=2) if options.json else table(report))


if __name__ == "__main__":
    main()
