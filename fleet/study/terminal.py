"""A study on the terminal: its progress, and its table."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from fleet.study.runs import Run
from fleet.study.table import Result, Row, Spread
from fleet.study.workers import Failed, Round, named


class Display:
    """Counts the rounds of all runs, and shows how long the others take.

    Args:
        runs: how many are to do.
        rounds: the most rounds of a run.
        console: where it shows them.
        now_s: the clock.
        seconds: the virtual seconds after which a run ends; None: they do not count.
    """

    def __init__(
        self,
        runs: int,
        rounds: int,
        console: Console,
        now_s: Callable[[], float] = time.monotonic,
        seconds: float | None = None,
    ) -> None:
        self._rounds, self._seconds = rounds, seconds
        self._runs, self._done = runs, 0
        self._closed: dict[str, float] = {}
        self._saved = 0
        self._begun_s, self._now_s = now_s(), now_s
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[tells]}"),
            console=console,
            transient=True,
        )
        self._line = self._bar.add_task(f"run 0/{runs}", total=runs * rounds, tells="starting")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, told: Round | Run | Failed) -> None:
        """Show what a run tells; a line about a failure stays."""
        name = named(told.cell)
        if not isinstance(told, Round):
            self._done += 1
            self._saved += self._rounds
            self._closed.pop(name, None)
            what = f"{name}: done"
            if isinstance(told, Failed):
                what = f"{name}: failed"
                self._bar.console.print(f"{name}: {told.text}", markup=False, highlight=False, soft_wrap=True)
        else:
            self._closed[name] = self._rounds * self._part(told)
            figure = "" if told.figure is None else f": {told.figure:.4g}"
            what = f"{name}, round {told.round}{figure}"
        self._bar.update(
            self._line,
            description=f"run {self._done}/{self._runs}",
            completed=self.completed,
            tells=f"{what} · {left(self.seconds_left())}",
        )

    def _part(self, told: Round) -> float:
        """The part of a run that is done: of its rounds, or of its virtual seconds if that is more."""
        part = told.round / self._rounds
        if self._seconds is not None and told.seconds is not None:
            part = max(part, told.seconds / self._seconds)
        return min(part, 1.0)

    @property
    def completed(self) -> float:
        """The rounds that are done; a run that ended early has done all of its rounds."""
        return self._saved + sum(self._closed.values())

    def seconds_left(self) -> float | None:
        """The time that is left if the other rounds take as long as those so far; None: unknown."""
        if not self.completed:
            return None
        return (self._now_s() - self._begun_s) / self.completed * (self._runs * self._rounds - self.completed)


def left(seconds: float | None) -> str:
    """A time that is left, for people.

    >>> left(None), left(41.2), left(754), left(9000)
    ('time left unknown', '41 s left', '13 min left', '2 h 30 min left')
    """
    if seconds is None:
        return "time left unknown"
    if seconds < 90:
        return f"{seconds:.0f} s left"
    minutes = round(seconds / 60)
    return f"{minutes} min left" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min left"


def shown(result: Result) -> Table:
    """The table of a study; each algorithm's best rate is bold."""
    return _table(result, columns(result), [texts(result, row) for row in result.rows])


def shown_own(result: Result) -> Table | None:
    """The table of what devices measure on the rows that they hold out; None: they hold none out."""
    if not (more := own_columns(result)):
        return None
    cells = [[row.algorithm, f"{row.rate:g}", *own_texts(result, row)] for row in result.rows]
    return _table(result, ["algorithm", "rate", *more], cells)


def _table(result: Result, headings: list[str], cells: list[list[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in headings:
        name = column == "algorithm"
        table.add_column(
            column,
            justify="left" if name else "right",
            no_wrap=not name,
            min_width=len("algorithm") if name else None,
        )
    for row, its in zip(result.rows, cells, strict=True):
        best = result.chosen.get(row.algorithm) is row and len(result.rows) > len(result.chosen)
        table.add_row(*its, style="bold" if best else None)
    return table


def columns(result: Result) -> list[str]:
    """The headings of a study's table."""
    to = []
    if result.target is not None:
        to = [
            f"rounds to {figure(result, result.target)}",
            "MB to it",
            *(["s to it"] if result.timed else []),
        ]
    best = "best, %" if result.figure == "accuracy" else "best RMSE"
    return ["algorithm", "rate", *to, best, best.replace("best", "last")]


def texts(result: Result, row: Row) -> list[str]:
    """The cells of a row, for people."""
    to = []
    if result.target is not None:
        missed = sum(at is None for at in row.reached)
        never = f"missed by {missed} of {len(row.reached)}"
        to = [
            never if row.rounds is None else _counted(row.rounds),
            "–" if row.mb is None else spread(row.mb, "{:.0f}" if row.mb.mean >= 10 else "{:.2g}"),
        ]
        if result.timed:
            to.append(spread(row.virtual_s, "{:.0f}"))
    last = _measured(result, row.last)
    if row.diverged:
        last = f"{row.diverged} of {len(row.seeds)} diverged"
    return [row.algorithm, f"{row.rate:g}", *to, _measured(result, row.best), last]


def own_columns(result: Result) -> list[str]:
    """The further headings if devices hold rows out; else none."""
    if all(row.own is None for row in result.rows):
        return []
    which = ["own", "worst", *(["alone"] if _compares(result) else [])]
    told = [f"{what}, %" if result.figure == "accuracy" else f"{what} RMSE" for what in which]
    return [*told, *(["worse off"] if _compares(result) else [])]


def own_texts(result: Result, row: Row) -> list[str]:
    """The cells of a row under `own_columns`."""
    if not own_columns(result):
        return []
    told = [_measured(result, row.own), _measured(result, row.own_worst)]
    if not _compares(result):
        return told
    of = "" if row.compared is None else f" of {row.compared.mean:g}"
    return [*told, _measured(result, row.alone), f"{_counted(row.worse_off)}{of}"]


def _compares(result: Result) -> bool:
    return any(row.alone is not None for row in result.rows)


def _counted(value: Spread | None) -> str:
    """A number: whole for one run, with a decimal for the mean of several."""
    if value is None:
        return "–"
    return spread(value, "{:.0f}" if value.deviation is None or value.mean >= 100 else "{:.1f}")


def _measured(result: Result, value: Spread | None) -> str:
    """A figure on the test rows: an accuracy in per cent, or an RMSE."""
    if value is None or result.figure != "accuracy":
        return spread(value, "{:.4g}")
    deviation = None if value.deviation is None else 100 * value.deviation
    return spread(Spread(100 * value.mean, deviation, ()), "{:.1f}")


def spread(value: Spread | None, form: str) -> str:
    """A mean and its standard deviation.

    >>> spread(Spread(87.25, 3.5, (1.0, 2.0)), "{:.0f}"), spread(None, "{}")
    ('87 ± 4', '–')
    """
    if value is None:
        return "–"
    mean = form.format(value.mean)
    return mean if value.deviation is None else f"{mean} ± {form.format(value.deviation)}"


def figure(result: Result, value: float) -> str:
    """A target as people write it.

    >>> figure(Result("accuracy", None, (), {}), 0.97)
    '97 %'
    """
    return f"{100 * value:g} %" if result.figure == "accuracy" else f"{value:g}"
