"""One run of a study: an algorithm with one learning rate and one seed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from aggregator.settings.rounds import BUFFERED
from fedge.algorithms.composition import USUAL
from fedge.algorithms.plan import Plan
from fedge.errors import ConfigError
from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire.messages.task import Task
from fleet.library.algorithm import Algorithm
from fleet.library.preparation import federation_settings
from fleet.library.results import Point, Progress
from fleet.library.simulation import simulate
from fleet.study.deal import Deal
from fleet.study.own import Own, own_of
from fleet.study.rows import Rows
from fleet.study.settings import AlgorithmSection, StudySettings
from fleet.study.speeds import drawn

LAST = 5
"""The number of last rounds whose mean is the last figure: single rounds are noisy."""
LONGEST_S = 30 * 86_400.0
"""The deadline of rounds where devices train for a time, unless an algorithm sets one: the longest of all."""


@dataclass(frozen=True)
class Cell:
    """What a run differs in from the others of its study."""

    algorithm: str
    """By its name in `study.toml`."""
    rate: float
    seed: int


@dataclass(frozen=True)
class Run:
    """A finished run."""

    cell: Cell
    curve: tuple[Point, ...]
    """The first model and that of each round, measured on the test rows."""
    stopped: Literal["rounds", "until", "diverged"]
    """Why it ended: all rounds were done, the target was reached or the virtual seconds had passed, or
    training diverged."""
    seconds: float
    """How long it took, in real seconds."""
    own: Own | None = None
    """The models that devices use, on the rows that they hold out; None: they hold none out, or the run ended
    early."""

    def figures(self) -> list[tuple[int, float]]:
        """Each round and the figure of its model: the accuracy, or for a regression the RMSE."""
        return [(one.round, figure_of(one)) for one in self.curve]

    def as_json(self) -> dict[str, Any]:
        """The run as one JSON object; `of_json` is the inverse."""
        return {
            **asdict(self.cell),
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
            "curve": [list(asdict(one).values()) for one in self.curve],
            **({} if self.own is None else {"own": asdict(self.own)}),
        }

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> "Run":
        """The run that `as_json` has told.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        cell = Cell(str(told["algorithm"]), float(told["rate"]), int(told["seed"]))
        curve = tuple(Point(*one) for one in told["curve"])
        own = Own(**told["own"]) if "own" in told else None
        return cls(cell, curve, told["stopped"], float(told["seconds"]), own)


def figure_of(point: Point) -> float:
    """The accuracy, or for a regression the RMSE."""
    found = point.rmse if point.accuracy is None else point.accuracy
    assert found is not None
    return found


def cells(settings: StudySettings) -> list[Cell]:
    """All runs of a study: a whole algorithm × rate table for each seed, one seed after the other."""
    return [
        Cell(one.name, rate, seed)
        for seed in settings.study.seeds
        for one in settings.algorithm
        for rate in settings.study.rates
    ]


def check(settings: StudySettings, rows: Rows, devices: int) -> None:
    """Refuse algorithms that cannot work, before anything runs.

    Raises:
        ConfigError: a setting or a composition is refused; the text names the algorithm.
    """
    task = task_of(settings, rows)
    if settings.attackers is not None and settings.attackers.devices >= devices:
        raise ConfigError(
            f"[attackers] devices: {settings.attackers.devices} of {devices} devices attack; at least one "
            "has to be honest"
        )
    names = {f"d{number}": None for number in range(1, devices + 1)}
    for one in settings.algorithm:
        try:
            plan, further = plan_of(settings, one, settings.study.rates[0])
            federation = federation_settings(
                task, names, algorithm_of(one), plan, settings.study.rounds, 0, further, Path("unused")
            )
            if settings.study.engine == "fast" and len(federation.parts().models) > 1:
                raise ConfigError(
                    f"personal = {one.personal!r} has several shared models, which the engine fast does not "
                    'have; set [study] engine = "cores"'
                )
        except ConfigError as error:
            text = str(error).removeprefix("simulate: ").removeprefix("Algorithm: ")
            raise ConfigError(f"[[algorithm]] {one.name!r}: {text}") from None


def run(
    settings: StudySettings,
    rows: Rows,
    deal: Deal,
    cell: Cell,
    told: Callable[[Progress], None] | None = None,
    workers: int = 1,
) -> Run:
    """Run one cell.

    Args:
        settings: of the study.
        rows: whose columns and classes are learnt.
        deal: the rows of each device, and the test rows.
        cell: which run.
        told: called after each round.
        workers: processes of the engine `fast`.

    Raises:
        ConfigError: a setting is wrong.
        FedgeError: a round cannot close.
    """
    chosen = next(one for one in settings.algorithm if one.name == cell.algorithm)
    plan, further = plan_of(settings, chosen, cell.rate)
    if settings.data.holdout and rows.gap:
        further["data"] = {"gap": rows.gap}
    seconds = None if settings.speeds is None else drawn(settings.speeds, tuple(deal.devices), cell.seed)
    begun_s = time.monotonic()
    found = simulate(
        task_of(settings, rows),
        deal.devices,
        algorithm_of(chosen),
        plan=plan,
        rounds=settings.study.rounds,
        seed=cell.seed,
        holdout=settings.data.holdout,
        settings=further,
        engine=settings.study.engine,
        workers=workers if settings.study.engine == "fast" else None,
        progress=told,
        until=_end(settings),
        test=deal.test,
        seconds=seconds,
        attackers=_attackers(settings, deal),
    )
    return Run(cell, found.curve, found.stopped, time.monotonic() - begun_s, own_of(found))


def _attackers(settings: StudySettings, deal: Deal) -> dict[str, dict[str, Any]] | None:
    """The attack of each device that lies."""
    if settings.attackers is None:
        return None
    return dict.fromkeys(tuple(deal.devices)[: settings.attackers.devices], settings.attackers.told)


def reaches(figure: float, target: float, *, more_is_better: bool) -> bool:
    """Whether a figure is at least as good as the target."""
    return figure >= target if more_is_better else figure <= target


def _end(settings: StudySettings) -> Callable[[Progress], bool] | None:
    """Whether a run is to end with a model: the target is reached, or the virtual seconds have passed."""
    target = settings.study.target if settings.study.stop_at_target else None
    most_s = settings.study.seconds
    if target is None and most_s is None:
        return None

    def ends(told: Progress) -> bool:
        point = told.point
        if point is None:
            return False
        if most_s is not None and point.seconds is not None and point.seconds >= most_s:
            return True
        return target is not None and reaches(
            figure_of(point), target, more_is_better=point.accuracy is not None
        )

    return ends


def task_of(settings: StudySettings, rows: Rows) -> Task:
    """The task: the study's hidden layers, with inputs and outputs of the data."""
    outputs = rows.classes or rows.targets or ()
    network = NetworkSpec(
        inputs=len(rows.features),
        layers=(*settings.model.layers, Dense(units=len(outputs))),
        loss="cross-entropy" if rows.classes else "mse",
    )
    return Task(
        network=network,
        features=rows.features,
        classes=rows.classes,
        targets=rows.targets,
        reconnect_spread_s=1.0,
    )


def algorithm_of(one: AlgorithmSection) -> Algorithm:
    """The composition of an `[[algorithm]]`."""
    options = {kind: getattr(one, f"{kind}_options") for kind in USUAL}
    given = {kind: dict(table) for kind, table in options.items() if table}
    return Algorithm(one.local, one.codec, one.rule, one.server, one.personal, options=given)


def plan_of(
    settings: StudySettings, one: AlgorithmSection, rate: float
) -> tuple[Plan, dict[str, dict[str, Any]]]:
    """The plan of an algorithm with a learning rate, and the other tables of `federation.toml`.

    Raises:
        ConfigError: the algorithm's `plan` or `rounds` names what is set elsewhere, or its schedule does not
            work with the study's drop-out.
    """
    if fixed := sorted(
        {"learning_rate", "codec", "codec_options", "local", "local_options"} & one.plan.keys()
    ):
        raise ConfigError(f"plan: {fixed[0]} is not set here but in [study] rates or beside `plan`")
    if elsewhere := sorted({"schedule", "drop_out"} & one.rounds.keys()):
        where = "beside `rounds`" if elsewhere[0] == "schedule" else "in [rounds], for all algorithms"
        raise ConfigError(f"rounds: {elsewhere[0]} is not set here but {where}")
    if one.schedule == BUFFERED and settings.rounds.drop_out:
        raise ConfigError(
            f'schedule: with "{BUFFERED}" every device takes part; leave [rounds] drop_out out, or compare '
            "this algorithm in a study of its own"
        )
    plan = {**settings.plan.model_dump(exclude_unset=True), **one.plan, "learning_rate": rate}
    rounds = {**settings.rounds.model_dump(exclude_unset=True, exclude={"drop_out"}), **one.rounds}
    # Devices are chosen independently of each other. So who is chosen and drops out might as well not have
    # been chosen: no update of it counts, and its state stays as it was.
    if settings.rounds.drop_out:
        fraction = rounds.get("fraction", settings.rounds.fraction)
        rounds["fraction"] = fraction * (1 - settings.rounds.drop_out)
    # A round waits for its whole cohort: without a target it closes when all who are chosen have answered.
    rounds = {"quorum": 1, "target": None, **rounds, "schedule": one.schedule}
    if settings.speeds is not None:
        rounds = {"deadline_s": LONGEST_S, **rounds}
    # Nobody looks into the ledger of a run, so that it keeps as little as it can.
    further: dict[str, dict[str, Any]] = {"plan": plan, "rounds": rounds, "state": {"keep_rounds": 2}}
    if settings.study.compare:
        further["personal"] = {"compare": True}
    if "clip" in settings.model.model_fields_set:
        further["model"] = {"clip": settings.model.clip}
    return Plan(), further
