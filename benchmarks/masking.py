"""Secure aggregation in one process: exact sums with losses, its price, and lies that devices refuse.

    python -m benchmarks.masking          # --quick: at most 24 devices with losses, 50 with a price; --json

* **Losses:** for 3 to 100 devices, every number of lost devices in every phase, up to the threshold and one
  more: the sum is exact, or there is none. The updates have 16 entries, and signatures are not real.
* **Price:** 200,000 weights, real signatures, a twentieth of the devices lost after their shares. The open
  round in the same run encodes with `int8` and takes the mean. CPU is compared without training, and for
  rounds in which each device also trains a network of 199,210 weights in batches of ten, which is measured in
  the same run: five epochs of 600 rows, as on MNIST in the paper of FedAvg, and one epoch of 300 rows.
* **Lies** of broker and server, each told to one of six devices before the truth.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from time import process_time

from benchmarks.machine import description
from benchmarks.masked_costs import Cost, cost
from benchmarks.masked_lies import LIES, told
from benchmarks.masked_losses import Outcome, outcomes
from benchmarks.sgd_step import Case, data, fedge_steps
from benchmarks.verdict import Goal, arguments, judged
from fedge.masking.server_state import Summed

SIZE = 200_000
PRICED, PRICED_QUICK = (10, 50, 100, 300, 1_000), (10, 50)
LOST, LOST_QUICK = range(3, 101), (*range(3, 13), 16, 24)
JUDGED = (50, 100)
"""The numbers of devices whose price has goals."""
MOST_CPU, MOST_BYTES = 3.0, 2.1
TURNS = 5
TRAINING: dict[str, tuple[int, int]] = {"paper": (600, 5), "short": (300, 1)}
"""Rows and epochs of a device's training: of McMahan et al. 2017 with E = 5 and B = 10, and a short one."""


def training_s(rows: int, epochs: int) -> float:
    """The CPU of one device's training."""
    case = Case((784, 200, 200, 10), 10, epochs=epochs, goal=0)
    X, y = data(case)
    train = fedge_steps(case, X[:rows], y[:rows])
    train()
    found = []
    for _ in range(TURNS):
        began_s = process_time()
        train()
        found.append(process_time() - began_s)
    return median(found)


def losses(numbers: Iterable[int]) -> list[Outcome]:
    """What all attempts with losses came to, told on the way."""
    found: list[Outcome] = []
    for devices in numbers:
        began_s, made = process_time(), outcomes(devices)
        found += made
        wrong = sum(each.wrong != "" for each in made)
        print(
            f"{devices} devices: {len(made)} attempts, {sum(each.summed for each in made)} sums, "
            f"{wrong} wrong, {process_time() - began_s:.0f} s",
            file=sys.stderr,
        )
    return found


def refused() -> dict[str, bool]:
    """By lie, whether the device refused it with its reason, and the sum was exact after the truth."""
    answers = {lie.name: told(lie) for lie in LIES}
    return {
        lie.name: answers[lie.name][0] == lie.whys and isinstance(answers[lie.name][1], Summed)
        for lie in LIES
    }


def table(costs: Sequence[Cost], trained_s: Mapping[str, float]) -> str:
    """The price, a row for each number of devices."""
    rows = [
        f"{'devices':>8}{'shares with':>12}{'bits':>6}{'device: CPU s':>15}{'sends':>12}{'receives':>10}"
        f"{'once':>8}{'server: CPU s':>15}{'bytes sent':>12}{'CPU':>8}"
        + "".join(f"{name:>10}" for name in trained_s)
    ]
    for each in costs:
        masked = each.masked
        rows.append(
            f"{each.devices:>8}{each.neighbours:>12}{each.bits:>6}{masked.device_s:>15.4f}{masked.sent:>12,}"
            f"{masked.received:>10,}{each.first_check_s:>8.4f}{masked.server_s:>15.3f}{each.sent:>10.3f} ×"
            f"{each.cpu():>6.1f} ×" + "".join(f"{each.cpu(each_s):>8.2f} ×" for each_s in trained_s.values())
        )
    trained = ", ".join(f"{name} {each_s:.3f} s" for name, each_s in trained_s.items())
    return "\n".join([*rows, f"training: {trained}; ×: by the open round with int8; once: certificates"])


def main() -> int:
    """Run all parts."""
    options = arguments(__doc__, "fewer numbers of devices").parse_args()
    trained_s = {name: training_s(*rows) for name, rows in TRAINING.items()}
    costs = []
    for devices in PRICED_QUICK if options.quick else PRICED:
        costs.append(cost(devices, SIZE, devices // 20))
        print(table(costs[-1:], trained_s).splitlines()[1], file=sys.stderr)
    lies = refused()
    attempts = losses(LOST_QUICK if options.quick else LOST)
    wrong = [each for each in attempts if each.wrong]
    goals = [Goal("attempts with another end than they must have", len(wrong), at_most=0)]
    goals.append(Goal("lies that are refused with their reason", sum(lies.values()), at_least=len(LIES)))
    for each in costs:
        if each.devices in JUDGED:
            goals.append(Goal(f"bytes sent, {each.devices} devices", each.sent, at_most=MOST_BYTES))
            for name, each_s in trained_s.items():
                text = f"CPU with {name} training, {each.devices} devices"
                goals.append(Goal(text, each.cpu(each_s), at_most=MOST_CPU))
    summed = sum(each.summed for each in attempts)
    text = "\n".join(
        [
            description(),
            table(costs, trained_s),
            f"{len(attempts)} attempts with losses, {summed} of them with a sum",
            *(f"wrong: {each}" for each in wrong[:10]),
            *(f"not refused: {name}" for name, well in lies.items() if not well),
        ]
    )
    report = {
        "machine": description(),
        "training_s": trained_s,
        "costs": [
            {
                **asdict(each),
                "cpu": each.cpu(),
                "cpu_with_training": {name: each.cpu(each_s) for name, each_s in trained_s.items()},
                "sent": each.sent,
            }
            for each in costs
        ],
        "attempts": len(attempts),
        "sums": summed,
        "wrong": [asdict(each) for each in wrong],
        "lies": lies,
    }
    return judged(report, text, goals, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
