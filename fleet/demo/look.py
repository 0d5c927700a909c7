"""The look of a report's parts: colours, figures, sections, tables."""

import html
from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

TOGETHER = "#0f766e"
ALONE = "#d97706"
CENTRAL = "#64748b"
DOWN = "#7dd3c8"
INK = "#1e293b"
GRID = "#e7ecf1"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def figure(height: int, *, legend: bool = False) -> go.Figure:
    """An empty figure, `height` pixels high."""
    made = go.Figure()
    style(made, height, legend=legend)
    return made


def style(one: go.Figure, height: int, *, legend: bool) -> None:
    """Give a figure the style of the report."""
    one.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 10, "r": 10, "t": 40 if legend else 14, "b": 10},
        font={"family": FONT, "size": 13, "color": INK},
        showlegend=legend,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        hoverlabel={"font": {"family": FONT}},
    )
    one.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True, linecolor="#cbd5e1")
    one.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True)


def drawn(one: go.Figure, *, first: bool = False) -> str:
    """HTML of a figure; the first one of a page includes plotly's code."""
    return str(
        one.to_html(
            full_html=False,
            include_plotlyjs=first,
            config={"displayModeBar": False, "responsive": True},
        )
    )


def section(title: str, note: str, body: str) -> str:
    """HTML of a section; `body` is HTML, the others are text."""
    return f'<section><h2>{html.escape(title)}</h2><p class="note">{html.escape(note)}</p>{body}</section>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """HTML of a table of texts."""
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<table class="grid"><tr>{top}</tr>{body}</table>'


def part(value: float | None) -> str:
    """A share of rows in per cent, or a dash if there is none.

    >>> part(0.25), part(None)
    ('25%', '–')
    """
    return "–" if value is None else f"{value:.0%}"
