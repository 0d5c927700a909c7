"""Accuracy of every robust rule against the worst of several attacks, and a backdoor's success, on MNIST.

    python -m benchmarks.byzantine [--quick] [--json] [--attackers 1 2 3 4] [--similarity 1 .66 .33]
                                   [--bounds off on] [--folder out/byzantine] [--peer]

Ten honest devices and f attackers learn by distributed SGD: each round a device takes one step on 32 rows
from the announced model, with momentum that it keeps over rounds (Karimireddy et al. 2021). The network is
784-32-10, 400 rounds. The rows of MNIST are dealt so that a share of them (the similarity) is spread evenly
and the rest is sorted by label (`gamma_similarity_niid` of ByzFL). The attackers know the honest updates of
each round, and their own copy of an honest device's rows. `fleet/simulator/attacks/` has the attacks.

For each rule the attack counts with which the accuracy at the end is lowest. The first figure is that of the
rule alone: `[rounds] clip_norm`, `max_weight` and `max_norm` are 0. The second has them at their defaults.

Goals. The plain mean without bounds has to lose 30 points or more to the worst attack of two attackers or
more: else the attacks are void. Each rule with `nnm` loses at most 2 points of what ByzFL publishes for MNIST
(González, Guerraoui, Pinot, Rizk, Stephan, Taïani 2025, "ByzFL: Research Framework for Robust Federated
Learning", https://arxiv.org/abs/2505.24802): .98 with two attackers and like devices, .91 to .94 with four
attackers and the similarity .33. ByzFL's network is a convolutional one and better than ours without any
attacker; where our own accuracy without attackers is lower than the published one, it counts instead. A
backdoor by one attacker beside ten (9 %) succeeds on at most 10 % of the test rows.

The finished runs are kept in the folder, and the benchmark goes on from there when it is started again.
`--quick`: scikit-learn's digits, 100 rounds, two attackers, like devices, some rules; no rule loses more than
5 points. `--peer` instead compares rules and attacks with ByzFL's own (`benchmarks.byzantine_peer`).
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import byzantine_peer
from benchmarks.byzantine_runs import HONEST, WHITE, Job, Part, Run, Setting, run_all
from benchmarks.kept_runs import KeptRuns
from benchmarks.machine import description
from benchmarks.verdict import Goal, arguments, judged
from fedge.algorithms.registry import RULES

SEED = 1
MEAN = Part("mean", {"name": "mean"})
NAMES = (
    "median",
    "trimmed-mean",
    "krum",
    "multi-krum",
    "geometric-median",
    "centered-clipping",
    "bulyan",
)
OPTIONS: dict[str, dict[str, Any]] = {"centered-clipping": {"radius": 0.3}}
"""Further options. Honest changes of this plan have a length of 2 in the first rounds, and of .15 later."""
NNM = ", nnm"
"""What the name of a rule with nearest neighbour mixing ends with."""
ATTACKS = (
    Part("sign flip", {"name": "sign-flip"}),
    Part("Gaussian", {"name": "gaussian"}),
    Part("IPM .5", {"name": "ipm", "epsilon": 0.5}),
    Part("IPM 100", {"name": "ipm", "epsilon": 100.0}),
    Part("ALIE 1.5", {"name": "alie", "z": 1.5}),
    Part("min-max", {"name": "min-max"}),
    Part("mimic", {"name": "mimic"}),
    Part("label flip", {"name": "label-flip"}),
)
LOST = 0.30
"""What the plain mean has to lose."""
NEAR = 0.02
PUBLISHED = {(2, 1.0): 0.98, (4, 0.33): 0.91}
"""ByzFL's accuracy on MNIST, by attackers and similarity."""
BACKDOOR = 0.10
QUICK_NEAR = 0.05


@dataclass(frozen=True)
class Cell:
    """A number of attackers, and how alike the honest devices' rows are."""

    attackers: int
    similarity: float


@dataclass(frozen=True)
class Worst:
    """A rule's lowest accuracy in one cell."""

    rule: str
    attackers: int
    similarity: float
    bounded: bool
    accuracy: float
    attack: str


@dataclass(frozen=True)
class Case:
    """What is run, and what is asked of it."""

    setting: Setting
    cells: tuple[Cell, ...]
    bounds: tuple[bool, ...]
    names: tuple[str, ...]
    attacks: tuple[Part, ...]
    near: float
    published: dict[tuple[int, float], float]

    def rules(self, attackers: int) -> list[Part]:
        """The plain mean, and the rules for which there are devices enough, each with and without nnm."""
        found = [MEAN]
        for name in self.names:
            for more, end in (({}, ""), ({"pre": "nnm"}, NNM)):
                told = {"f": attackers, **more, **OPTIONS.get(name, {})}
                if RULES.make(name, told).fewest <= HONEST + attackers:
                    found.append(Part(f"{name}{end}", {"name": name, **told}))
        return found

    @property
    def backdoor(self) -> Part:
        """The attack of one device that is judged by the trigger's success."""
        width = 28 if self.setting.data == "mnist" else 8
        side = 3 if self.setting.data == "mnist" else 2
        told = {"name": "backdoor-pixels", "value": WHITE, "width": width, "side": side}
        return Part("backdoor", told)

    def honest(self, similarity: float) -> Job:
        """The run without attackers."""
        return Job(self.setting, MEAN, None, 0, similarity, False, SEED)

    def attacked(self, cell: Cell, rule: Part, bounded: bool) -> Iterator[Job]:
        """The runs of a rule in a cell."""
        for each in self.attacks:
            yield Job(self.setting, rule, each, cell.attackers, cell.similarity, bounded, SEED)

    def backdoors(self, bounded: bool) -> list[Job]:
        """The runs with a backdoor."""
        return [Job(self.setting, rule, self.backdoor, 1, 1.0, bounded, SEED) for rule in self.rules(1)]

    def jobs(self) -> Iterator[Job]:
        """All runs; those that goals are about first."""
        for similarity in sorted({cell.similarity for cell in self.cells} | {1.0}, reverse=True):
            yield self.honest(similarity)
        for bounded in self.bounds:
            yield from self.backdoors(bounded)
        first = sorted(self.cells, key=lambda cell: (cell.attackers, cell.similarity) not in self.published)
        for cell in first:
            for bounded in self.bounds:
                for rule in self.rules(cell.attackers):
                    yield from self.attacked(cell, rule, bounded)


def worst(case: Case, kept: KeptRuns[Run], cell: Cell, rule: Part, bounded: bool) -> Worst:
    """The attack with which the accuracy is lowest."""
    found = [kept.runs[job.key] for job in case.attacked(cell, rule, bounded)]
    lowest = min(found, key=lambda run: run.accuracy)
    return Worst(rule.name, cell.attackers, cell.similarity, bounded, lowest.accuracy, lowest.attack)


def rows(case: Case, kept: KeptRuns[Run], cell: Cell) -> list[Worst]:
    """The worst of each rule, without and with bounds."""
    return [
        worst(case, kept, cell, rule, bounded)
        for rule in case.rules(cell.attackers)
        for bounded in case.bounds
    ]


def goals(case: Case, kept: KeptRuns[Run]) -> list[Goal]:
    """What is asked of the runs."""
    made: list[Goal] = []
    for cell in case.cells:
        where = f"f = {cell.attackers}, similarity {cell.similarity:g}"
        own = kept.runs[case.honest(cell.similarity).key].accuracy
        found = rows(case, kept, cell)
        made += [
            Goal(f"{where}: what the plain mean loses to {one.attack}", own - one.accuracy, LOST)
            for one in found
            if one.rule == MEAN.name and not one.bounded and cell.attackers >= 2
        ]
        published = case.published.get((cell.attackers, cell.similarity))
        if published is None:
            continue
        for one in found:
            if one.rule.endswith(NNM) and not one.bounded:
                name = f"{where}: accuracy of {one.rule} against {one.attack}"
                made.append(Goal(name, one.accuracy, min(own, published) - case.near))
    for bounded in case.bounds:
        for job in case.backdoors(bounded):
            success = kept.runs[job.key].backdoor
            if success is not None and job.rule != MEAN:
                how = "with" if bounded else "without"
                name = f"success of the backdoor with {job.rule.name}, {how} bounds"
                made.append(Goal(name, success, at_most=BACKDOOR))
    return made


def table(case: Case, kept: KeptRuns[Run]) -> str:
    """Format the figures in Markdown."""
    lines = []
    for cell in case.cells:
        own = kept.runs[case.honest(cell.similarity).key].accuracy
        lines += [
            f"{cell.attackers} attackers beside {HONEST}, similarity {cell.similarity:g}; "
            f"without attackers {own:.3f}",
            "",
            "| rule | " + " | ".join(_column(bounded) for bounded in case.bounds) + " |",
            "|---|" + "---|" * len(case.bounds),
        ]
        for rule in case.rules(cell.attackers):
            each = (worst(case, kept, cell, rule, bounded) for bounded in case.bounds)
            lines.append(
                f"| {rule.name} | " + " | ".join(f"{w.accuracy:.3f} ({w.attack})" for w in each) + " |"
            )
        lines.append("")
    lines += [
        f"a backdoor by one attacker beside {HONEST}, similarity 1: success, accuracy without trigger",
        "",
        "| rule | " + " | ".join(_column(bounded) for bounded in case.bounds) + " |",
        "|---|" + "---|" * len(case.bounds),
    ]
    for jobs in zip(*(case.backdoors(bounded) for bounded in case.bounds), strict=True):
        found = [kept.runs[job.key] for job in jobs]
        told = (f"{run.backdoor or 0:.3f}, {run.accuracy:.3f}" for run in found)
        lines.append(f"| {jobs[0].rule.name} | " + " | ".join(told) + " |")
    return "\n".join([*lines, ""])


def _column(bounded: bool) -> str:
    return "with our bounds" if bounded else "the rule alone"


def case_of(
    attackers: Sequence[int], similarities: Sequence[float], bounds: Sequence[bool], *, short: bool
) -> Case:
    """What is run."""
    if short:
        setting = Setting(100, "digits", units=32)
        names, attacks = ("median", "trimmed-mean", "krum"), ("IPM 100", "ALIE 1.5", "sign flip")
        chosen = tuple(each for each in ATTACKS if each.name in attacks)
        return Case(setting, (Cell(2, 1.0),), (False, True), names, chosen, QUICK_NEAR, {(2, 1.0): 1.0})
    cells = tuple(Cell(f, similarity) for similarity in similarities for f in attackers)
    return Case(Setting(400), cells, tuple(bounds), NAMES, ATTACKS, NEAR, PUBLISHED)


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__ or "", "digits instead of MNIST, 100 rounds, two attackers, three rules")
    parser.add_argument("--attackers", nargs="+", type=int, default=(1, 2, 3, 4), help="f; default: 1 to 4")
    parser.add_argument(
        "--similarity", nargs="+", type=float, default=(1.0, 0.66, 0.33), help="default: 1, .66 and .33"
    )
    parser.add_argument("--bounds", nargs="+", choices=("off", "on"), default=("off", "on"))
    parser.add_argument("--folder", type=Path, default=Path("out/byzantine"), help="keeps the runs")
    parser.add_argument("--peer", action="store_true", help="compare with ByzFL's functions, and run nothing")
    options = parser.parse_args()
    if options.peer:
        off = byzantine_peer.compared()
        told = "".join(f"{name}: {found:.1e}\n" for name, found in off.items())
        return judged({"differences": off}, told, byzantine_peer.goals(off), as_json=options.json)
    bounds = [each == "on" for each in options.bounds]
    case = case_of(options.attackers, options.similarity, bounds, short=options.quick)
    kept = KeptRuns(None if options.quick else options.folder / "runs.jsonl", Run)
    run_all(list(case.jobs()), kept)
    report: dict[str, Any] = {
        "machine": description(),
        "setting": asdict(case.setting),
        "rows": [asdict(one) for cell in case.cells for one in rows(case, kept, cell)],
        "backdoors": [
            asdict(kept.runs[job.key]) for bounded in case.bounds for job in case.backdoors(bounded)
        ],
    }
    text = f"{description()}\n\n{table(case, kept)}"
    return judged(report, text, goals(case, kept), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
