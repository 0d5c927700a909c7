"""The report of a study: one HTML file that needs no network."""

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from fleet.demo import look
from fleet.study import figures
from fleet.study.runs import Run, cells
from fleet.study.settings import SPEED_KEYS
from fleet.study.table import Result, Row, too_short
from fleet.study.terminal import columns, figure, own_columns, own_texts, texts

if TYPE_CHECKING:
    from fleet.study.study import Study

_PAGE = Path(__file__).with_name("report.html")


def render(study: "Study", result: Result, runs: Sequence[Run]) -> str:
    """The whole page, with plotly's own code in it (about 5 MB).

    Args:
        study: what was run.
        result: its table.
        runs: the finished runs.
    """
    best = {
        name: sorted(
            (run for run in runs if (run.cell.algorithm, run.cell.rate) == (name, row.rate)),
            key=lambda run: run.cell.seed,
        )
        for name, row in result.chosen.items()
    }
    band = "A line is the mean over the seeds, the area around it their range." if _seeds(study) > 1 else ""
    by_round = look.drawn(figures.curves(result, best, "round"), first=True)
    by_bytes = look.drawn(figures.curves(result, best, "bytes"))
    by_seconds = []
    if result.timed:
        text = (
            "The same curves by the virtual time at which each model was made. Sending a model takes no time "
            "here, and closing a round neither."
        )
        drawing = look.drawn(figures.curves(result, best, "seconds"))
        by_seconds = [look.section(f"{_measure(result)} by seconds", text, drawing)]
    sections = [
        look.section(
            "Each algorithm at its best learning rate",
            _how_chosen(result),
            _table(result, result.chosen.values()),
        ),
        look.section(f"{_measure(result)} by round", f"At the same rates. {band}", by_round),
        look.section(
            f"{_measure(result)} by bytes",
            "The same curves by what is sent: the bodies of all updates, and the models that these devices "
            "receive, with all further vectors, without MQTT's own bytes.",
            by_bytes,
        ),
        *by_seconds,
        look.section("The grid of learning rates", _grid_note(result), look.drawn(figures.grid(result))),
        look.section("All runs", _all_note(result), _table(result, result.rows)),
        look.section("How it was done", "", _facts(study, runs)),
    ]
    settings = study.settings.study
    return Template(_PAGE.read_text(encoding="utf-8")).substitute(
        title=html.escape(settings.name),
        ink=look.INK,
        font=look.FONT,
        lead=html.escape(_lead(study, runs)),
        sections="\n".join(sections),
    )


def _seeds(study: "Study") -> int:
    return len(study.settings.study.seeds)


def _measure(result: Result) -> str:
    return "Accuracy" if result.figure == "accuracy" else "RMSE"


def _lead(study: "Study", runs: Sequence[Run]) -> str:
    settings = study.settings.study
    count = len(cells(study.settings))
    done = "" if len(runs) == count else f" This report has the {len(runs)} runs that are done, of {count}."
    return (
        f"{len(study.settings.algorithm)} algorithms on {study.devices} simulated devices, each with "
        f"{len(settings.rates)} learning rates and {len(settings.seeds)} seeds, for {extent(study)}. "
        f"The {study.test} test rows are on no device.{done}{unequal(study, runs)}"
    )


def extent(study: "Study") -> str:
    """How long a run is, in rounds or in virtual seconds."""
    settings = study.settings.study
    if settings.seconds is None:
        return f"{settings.rounds} rounds"
    return f"{settings.seconds:g} virtual seconds"


def unequal(study: "Study", runs: Sequence[Run]) -> str:
    """Which algorithms ended before the virtual seconds of the study, as a sentence; empty: none did."""
    settings = study.settings.study
    if not (names := too_short(runs, settings.seconds)):
        return ""
    return (
        f" Runs of {', '.join(names)} had done their {settings.rounds} rounds before {settings.seconds:g} "
        "virtual seconds had passed, so that the algorithms are not compared at the same time: raise [study] "
        "rounds."
    )


def _how_chosen(result: Result) -> str:
    if result.target is None:
        which = "figure on the devices' own rows" if own_columns(result) else "best figure"
        return f"The best rate of the grid is the one whose {which}, in the mean over the seeds, is best."
    return (
        f"The best rate of the grid is that with which the fewest runs miss {figure(result, result.target)} "
        f"and, among these, the fewest {'seconds' if result.timed else 'rounds'} reach it. Rates were chosen "
        "by the test rows that are shown."
    )


def _grid_note(result: Result) -> str:
    what = (
        "best figure"
        if result.target is None
        else f"{'virtual seconds' if result.timed else 'rounds'} to the target; a rate that is missing did "
        "not reach it with each seed"
    )
    return f"The {what}, for each rate of the one grid. Bars are the standard deviation over the seeds."


def _all_note(result: Result) -> str:
    return (
        "Figures are mean ± standard deviation over the seeds; the last figure is the mean of five rounds. "
        f"Each algorithm's best rate is bold.{_own_note(result)}"
    )


def _own_note(result: Result) -> str:
    if not own_columns(result):
        return ""
    return (
        " Own: the mean over the devices of the model that each uses in the end, on the rows that it holds "
        "out; worst: the device for which it is worst. Alone: the mean of models that devices trained alone."
    )


def _table(result: Result, rows: Iterable[Row]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in [*columns(result), *own_columns(result)])
    bold = {id(row) for row in result.chosen.values()}
    body = ""
    for row in rows:
        told = [*texts(result, row), *own_texts(result, row)]
        cells_ = "".join(f"<td>{html.escape(cell)}</td>" for cell in told)
        body += f'<tr class="best">{cells_}</tr>' if id(row) in bold else f"<tr>{cells_}</tr>"
    return f"<table><tr>{top}</tr>{body}</table>"


def _facts(study: "Study", runs: Sequence[Run]) -> str:
    settings = study.settings
    split = settings.data.split.model_dump(exclude_none=True, exclude_unset=True)
    held = f"which hold {study.held} more out, " if study.held else ""
    rows = [
        ("Data", str(settings.data.dataset)),
        ("Split", ", ".join(f"{key} = {value}" for key, value in split.items())),
        ("Rows", f"{study.training} on {study.devices} devices, {held}{study.test} test rows"),
        ("Seeds", ", ".join(map(str, settings.study.seeds))),
        ("Engine", settings.study.engine),
        ("Time", f"{sum(run.seconds for run in runs):.0f} s, the sum over {len(runs)} runs"),
    ]
    if settings.speeds is not None:
        speeds = settings.speeds.model_dump(exclude_none=True)
        keys = ("by", "median_s", *SPEED_KEYS[settings.speeds.by], "seed")
        text = ", ".join(f"{key} = {speeds[key]}" for key in keys if key in speeds)
        rows.insert(2, ("Seconds of training", text))
    for one in settings.algorithm:
        told = one.model_dump(exclude_unset=True, exclude={"name"})
        rows.append((one.name, ", ".join(f"{key} = {value}" for key, value in told.items()) or "FedAvg"))
    body = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in rows
    )
    return f'<table class="facts">{body}</table>'
