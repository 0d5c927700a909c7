"""What `benchmarks.byzantine` runs: rules, attacks, numbers of attackers, and the similarity of data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.byzantine_runs import HONEST, WHITE, Job, Part, Run, Setting
from benchmarks.kept_runs import KeptRuns
from fedge.algorithms.registry import RULES

SEED, ROUNDS = 1, 800
MEAN = Part("mean", {"name": "mean"})
NAMES = (
    "median",
    "trimmed-mean",
    "krum",
    "multi-krum",
    "geometric-median",
    "centered-clipping",
    "bulyan",
    "norm-bound",
)
OPTIONS: dict[str, dict[str, Any]] = {"centered-clipping": {"radius": 0.3}, "norm-bound": {"length": 0.07}}
"""Further options. Honest changes of this plan are .3 long in the first round, which is the longest possible
(the rate times `max_gradient`), and about .07 after the hundredth (median, with another seed)."""
COUNT_ALL = ("centered-clipping", "geometric-median", "norm-bound")
"""Rules that shorten or weigh updates and leave none out."""
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

    @property
    def title(self) -> str:
        """As it is shown."""
        several = "" if self.attackers == 1 else "s"
        return f"{self.attackers} attacker{several} beside {HONEST}, similarity {self.similarity:g}"


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
        every = [
            (cell, rule, bounded)
            for cell in self.cells
            for rule in self.rules(cell.attackers)
            for bounded in self.bounds
        ]
        for cell, rule, bounded in sorted(every, key=lambda one: self._late(*one)):
            yield from self.attacked(cell, rule, bounded)

    def _late(self, cell: Cell, rule: Part, bounded: bool) -> tuple[bool, bool, bool]:
        """The order in which rules are run: first those that goals are about."""
        published = (cell.attackers, cell.similarity) in self.published
        return not (rule == MEAN or rule.name.endswith(NNM)), bounded, not published


def worst(case: Case, kept: KeptRuns[Run], cell: Cell, rule: Part, bounded: bool) -> Worst | None:
    """The attack with which the accuracy is lowest; None: not all attacks have been run."""
    jobs = list(case.attacked(cell, rule, bounded))
    if not all(map(kept.has, jobs)):
        return None
    lowest = min((kept.runs[job.key] for job in jobs), key=lambda run: run.accuracy)
    return Worst(rule.name, cell.attackers, cell.similarity, bounded, lowest.accuracy, lowest.attack)


def rows(case: Case, kept: KeptRuns[Run], cell: Cell) -> list[Worst]:
    """The worst of each rule, without and with bounds."""
    found = (worst(case, kept, cell, rule, b) for rule in case.rules(cell.attackers) for b in case.bounds)
    return [one for one in found if one is not None]


def alone(case: Case, kept: KeptRuns[Run], similarity: float) -> float | None:
    """The accuracy without attackers; None: it has not been run."""
    job = case.honest(similarity)
    return kept.runs[job.key].accuracy if kept.has(job) else None


def case_of(
    attackers: Sequence[int],
    similarities: Sequence[float],
    bounds: Sequence[bool],
    *,
    short: bool,
    rounds: int = ROUNDS,
) -> Case:
    """What is run."""
    if short:
        setting = Setting(100, "digits", units=32)
        names, attacks = ("median", "trimmed-mean", "krum"), ("IPM 100", "ALIE 1.5", "sign flip")
        chosen = tuple(each for each in ATTACKS if each.name in attacks)
        return Case(setting, (Cell(2, 1.0),), (False, True), names, chosen, QUICK_NEAR, {(2, 1.0): 1.0})
    cells = tuple(Cell(f, similarity) for similarity in similarities for f in attackers)
    return Case(Setting(rounds), cells, tuple(bounds), NAMES, ATTACKS, NEAR, PUBLISHED)
