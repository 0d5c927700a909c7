"""The figures of a study's report: curves by round, bytes and seconds, and the grid of learning rates."""

import html
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal, assert_never

import plotly.graph_objects as go

from fleet.demo import look
from fleet.library.results import Point
from fleet.study.runs import Run, figure_of
from fleet.study.table import Result, Row, Spread

COLOURS = (
    "#0f766e",
    "#d97706",
    "#4f46e5",
    "#be123c",
    "#0284c7",
    "#65a30d",
    "#a21caf",
    "#64748b",
    "#92400e",
    "#1e293b",
)
DASHES = ("solid", "dash", "dot")
"""A line is drawn so; with more than ten algorithms the colours begin anew with the next."""
BELOW = 5
"""The accuracies that are drawn reach so many times as far below 1 as the target."""
MOST_POINTS = 400
"""Of a longer curve some points are drawn, evenly, so that the page stays small."""


By = Literal["round", "bytes", "seconds"]
"""What a curve is drawn over."""
AXES: dict[By, str] = {
    "round": "round",
    "bytes": "MB of models and updates, all devices",
    "seconds": "virtual seconds since training began",
}


def curves(result: Result, runs: Mapping[str, Sequence[Run]], by: By) -> go.Figure:
    """The figure on the test rows, by rounds, megabytes or seconds: the mean over the seeds, and their range.

    Args:
        result: of the study.
        runs: each algorithm's runs at the rate that is drawn.
        by: the abscissa; the bytes are those of all models and updates.
    """
    figure = look.figure(420, legend=True)
    for place, (name, its) in enumerate(runs.items()):
        points = [points for run in its if (points := run.curve)]
        if not points:
            continue
        n = min(map(len, points))  # where a run ended early there is no mean over all seeds
        chosen = sorted(
            {round(k * (n - 1) / min(n - 1, MOST_POINTS)) for k in range(min(n, MOST_POINTS + 1))}
            if n > 1
            else {0}
        )
        values = [[figure_of(curve[k]) for curve in points] for k in chosen]
        x = [fmean(_place(curve[k], by) for curve in points) for k in chosen]
        colour, dash = style(place)
        if len(points) > 1:
            figure.add_scatter(
                x=[*x, *reversed(x)],
                y=[*map(max, values), *map(min, reversed(values))],
                fill="toself",
                fillcolor=colour,
                opacity=0.15,
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
                legendgroup=name,
            )
        figure.add_scatter(
            x=x,
            y=[fmean(each) for each in values],
            mode="lines",
            name=f"{literal(name)}, rate {its[0].cell.rate:g}",
            legendgroup=name,
            line={"color": colour, "width": 2.5, "dash": dash},
            hovertemplate=f"{literal(name)}: %{{y:.4g}} at %{{x:.4g}}<extra></extra>",
        )
    _target(figure, result)
    _measure(figure, result)
    if result.figure == "accuracy" and result.target is not None:
        figure.update_yaxes(range=[max(0.0, 1 - BELOW * (1 - result.target)), 1.0])
    figure.update_xaxes(title=AXES[by])
    return figure


def _place(point: Point, by: By) -> float:
    match by:
        case "round":
            return point.round
        case "bytes":
            return (point.bytes_up + point.bytes_down) / 1e6
        case "seconds":
            assert point.seconds is not None, "the study is timed"
            return point.seconds
        case _:
            assert_never(by)


def grid(result: Result) -> go.Figure:
    """What each learning rate gives: the rounds, or where devices train for a time the virtual seconds, to
    the target; or without a target the best figure."""
    figure = look.figure(400, legend=True)

    def value_of(row: Row) -> Spread | None:
        if result.target is None:
            return row.best
        return row.virtual_s if result.timed else row.rounds

    for place, name in enumerate(result.chosen):
        rows = [row for row in result.rows if row.algorithm == name]
        found = [(row.rate, value_of(row)) for row in rows]
        there = [(rate, value) for rate, value in found if value is not None]
        colour, dash = style(place)
        figure.add_scatter(
            x=[rate for rate, _ in there],
            y=[value.mean for _, value in there],
            error_y={"type": "data", "array": [value.deviation or 0.0 for _, value in there], "width": 4},
            mode="lines+markers",
            name=literal(name),
            line={"color": colour, "width": 2, "dash": dash},
            marker={"size": 8},
            hovertemplate=f"{literal(name)}, rate %{{x:g}}: %{{y:.4g}}<extra></extra>",
        )
    rates = sorted({row.rate for row in result.rows})
    figure.update_xaxes(
        title="learning rate (logarithmic)", type="log", tickvals=rates, ticktext=[f"{r:g}" for r in rates]
    )
    if result.target is None:
        _measure(figure, result)
    else:
        what = "virtual seconds" if result.timed else "rounds"
        figure.update_yaxes(title=f"{what} to the target", rangemode="tozero")
    return figure


def style(place: int) -> tuple[str, str]:
    """The colour and the dashes of the algorithm at this place."""
    return COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]


def literal(name: str) -> str:
    """The name as Plotly shows it unchanged: it reads a few HTML tags, and `%{…}` in hover texts.

    >>> literal("<b> & %{y}")
    '&lt;b&gt; &amp; %&#123;y&#125;'
    """
    return html.escape(name, quote=False).replace("{", "&#123;").replace("}", "&#125;")


def _target(figure: go.Figure, result: Result) -> None:
    if result.target is not None:
        figure.add_hline(y=result.target, line={"color": look.CENTRAL, "width": 1.5, "dash": "dash"})


def _measure(figure: go.Figure, result: Result) -> None:
    if result.figure == "accuracy":
        figure.update_yaxes(title="accuracy on the test rows", tickformat=".0%")
    else:
        figure.update_yaxes(title="RMSE on the test rows", rangemode="tozero")
