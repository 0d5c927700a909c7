"""The result of a study: each algorithm at each learning rate, over the seeds. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from statistics import fmean, stdev
from typing import Any

from fleet.library.results import Point
from fleet.study.own import Own
from fleet.study.runs import LAST, Run, reaches


@dataclass(frozen=True)
class Spread:
    """Several runs' values of one figure."""

    mean: float
    deviation: float | None
    """The sample standard deviation; None: there is one value."""
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """The spread of these values; None: there is none."""
        if not values:
            return None
        return cls(fmean(values), stdev(values) if len(values) > 1 else None, tuple(values))


@dataclass(frozen=True)
class Row:
    """An algorithm with one learning rate, over the seeds that are done."""

    algorithm: str
    rate: float
    seeds: tuple[int, ...]
    """The seeds whose runs are done, ascending."""
    diverged: int
    """How many of these runs diverged."""
    reached: tuple[int | None, ...]
    """Of each seed, the first round whose model is as good as the target; None: none is. Empty without a
    target."""
    rounds: Spread | None
    """These rounds; None: there is no target, or a run did not reach it."""
    mb: Spread | None
    """The megabytes, up and down, until then."""
    virtual_s: Spread | None
    """The virtual seconds until then; None also if devices train in no time."""
    best: Spread | None
    """The best figure of a run; None: no run has one."""
    last: Spread | None
    """The mean figure of the last five rounds, or of all where there are fewer, of the runs that have not
    diverged. The first weights are those of no round."""
    own: Spread | None = None
    """The mean over the devices of the figure of the model that each uses, on the rows that it holds out;
    None: nothing is held out, or no run has measured."""
    own_worst: Spread | None = None
    """The figure of the device for which it is worst."""
    alone: Spread | None = None
    """The mean over the devices of the figure of a model that each trained alone; None: none compares."""
    compared: Spread | None = None
    """How many devices compare the two."""
    worse_off: Spread | None = None
    """How many of these are worse off than alone by more than one held-out row."""

    def as_json(self) -> dict[str, Any]:
        """The row as one JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Result:
    """The rows of a study, and which rate is best for each algorithm."""

    figure: str
    """`accuracy` or `rmse`."""
    target: float | None
    rows: tuple[Row, ...]
    """Algorithm by algorithm in the order of `study.toml`, each by ascending rate."""
    chosen: dict[str, Row]
    """Each algorithm's row with the best rate: first the fewest runs that miss the target, then the fewest
    rounds to it (where devices train for a time: the fewest virtual seconds), then the best figure; or, if
    devices hold rows out, the best mean of the models that they use."""
    timed: bool = False
    """Whether devices train for a time."""

    def as_json(self) -> dict[str, Any]:
        """The result as one JSON object."""
        return {
            "figure": self.figure,
            "target": self.target,
            "timed": self.timed,
            "rows": [row.as_json() for row in self.rows],
            "best_rates": {name: row.rate for name, row in self.chosen.items()},
        }


def result(runs: Sequence[Run], algorithms: Sequence[str], figure: str, target: float | None) -> Result:
    """The result of these runs.

    Args:
        runs: the finished runs.
        algorithms: the names, in order.
        figure: `accuracy`, of which more is better, or `rmse`.
        target: the figure that is to be reached; None: there is none.
    """
    more = figure == "accuracy"
    rows = []
    for name in algorithms:
        for rate in sorted({run.cell.rate for run in runs if run.cell.algorithm == name}):
            mine = [run for run in runs if (run.cell.algorithm, run.cell.rate) == (name, rate)]
            rows.append(_row(sorted(mine, key=lambda run: run.cell.seed), more, target))
    chosen = {}
    for name in algorithms:
        if own := [row for row in rows if row.algorithm == name]:
            chosen[name] = min(own, key=lambda row: _rank(row, more))
    timed = any(run.curve and run.curve[-1].seconds is not None for run in runs)
    return Result(figure, target, tuple(rows), chosen, timed)


def first_reaching(run: Run, target: float, *, more_is_better: bool) -> int | None:
    """The first round whose model is as good as the target; None: none is."""
    return next(
        (at for at, figure in run.figures() if reaches(figure, target, more_is_better=more_is_better)), None
    )


def too_short(runs: Sequence[Run], seconds: float | None) -> list[str]:
    """The algorithms with a run that had done all of its rounds before so many virtual seconds had passed.

    Their figures are not of the same time as those of the others.
    """
    if seconds is None:
        return []
    return list(
        dict.fromkeys(
            run.cell.algorithm
            for run in runs
            if run.stopped == "rounds" and run.curve and (run.curve[-1].seconds or 0.0) < seconds
        )
    )


def _row(runs: list[Run], more: bool, target: float | None) -> Row:
    reached: tuple[int | None, ...] = ()
    if target is not None:
        reached = tuple(first_reaching(run, target, more_is_better=more) for run in runs)
    rounds = [at for at in reached if at is not None]
    all_reached = target is not None and len(rounds) == len(runs)
    best = max if more else min
    points = []
    if all_reached:
        points = [_point(run, at) for run, at in zip(runs, reached, strict=True) if at is not None]
    return Row(
        runs[0].cell.algorithm,
        runs[0].cell.rate,
        tuple(run.cell.seed for run in runs),
        sum(run.stopped == "diverged" for run in runs),
        reached,
        Spread.of(rounds) if all_reached else None,
        Spread.of([(point.bytes_up + point.bytes_down) / 1e6 for point in points]),
        Spread.of([point.seconds for point in points if point.seconds is not None]),
        Spread.of([best(value for _, value in run.figures()) for run in runs if run.curve]),
        Spread.of(
            [
                fmean(last)
                for run in runs
                if run.stopped != "diverged"
                and (last := [value for at, value in run.figures() if at > 0][-LAST:])
            ]
        ),
        **_own([run.own for run in runs if run.own is not None]),
    )


def _own(found: Sequence[Own]) -> dict[str, Spread | None]:
    return {
        "own": Spread.of([one.mean for one in found]),
        "own_worst": Spread.of([one.worst for one in found]),
        "alone": Spread.of([one.alone for one in found if one.alone is not None]),
        "compared": Spread.of([one.compared for one in found if one.compared is not None]),
        "worse_off": Spread.of([one.worse_off for one in found if one.worse_off is not None]),
    }


def _point(run: Run, at: int) -> Point:
    return next(one for one in run.curve if one.round == at)


def _rank(row: Row, more: bool) -> tuple[float, ...]:
    missed = sum(at is None for at in row.reached)
    best = row.best if row.own is None else row.own
    figure = inf if best is None else (-best.mean if more else best.mean)
    effort = row.rounds if row.virtual_s is None else row.virtual_s
    return (missed, effort.mean if effort is not None else inf, row.diverged, figure)
