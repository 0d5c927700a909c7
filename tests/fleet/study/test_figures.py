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
