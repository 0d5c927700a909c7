"""The figures of a study's report."""

import html
import re
from typing import Any

import pytest

pytest.importorskip("plotly")

from fleet.library.results import Point
from fleet.study.figures import curves, grid
from fleet.study.runs import Cell, Run
from fleet.study.table import result

ODD = "A<b>&%{y}{x}"


def test_names_show_as_they_are() -> None:
    """Plotly reads `%{…}`, tags and character references; what it then shows is the name."""
    curve = (Point(0, 0, 0, 0.1, 0.0, None), Point(1, 1, 1, 0.9, 0.0, None))
    run = Run(Cell(ODD, 0.1, 1), curve, "rounds", 1.0)
    told = result([run], [ODD], "accuracy", None)
    figures = curves(told, {ODD: [run]}, "round"), grid(told)
    for figure in figures:
        trace: Any = figure.data[-1]
        for text in (trace.name, trace.hovertemplate.removesuffix("<extra></extra>")):
            assert set(re.findall(r"%{([^\s%{}:]*)([:|][^}]*)?}", text)) <= {
                ("x", ":.4g"),
                ("y", ":.4g"),
                ("x", ":g"),
            }
            assert "<" not in text
            assert html.unescape(text).startswith(ODD)


def test_where_devices_train_for_a_time_the_grid_shows_seconds() -> None:
    """As the best rate is chosen. The target is reached in round 1, after 40 s."""
    curve = (Point(0, 0, 0, 0.1, 0.0, None, 0.0), Point(1, 1, 1, 0.9, 0.0, None, 40.0))
    drawn = grid(result([Run(Cell("A", 0.1, 1), curve, "rounds", 1.0)], ["A"], "accuracy", 0.9))
    trace: Any = drawn.data[-1]
    assert list(trace.y) == [40.0]
    assert "seconds" in drawn.layout.yaxis.title.text
