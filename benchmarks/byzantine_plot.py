"""The finished runs of `benchmarks.byzantine` without bounds as an SVG file: each rule's error by attack.

A panel for each number of attackers and similarity of which a rule is finished. The share of wrong answers is
on a logarithmic scale; a dot is an attack, a ring and its name the worst one, the dashed line the fleet
without attackers.
"""

from collections.abc import Iterator
from html import escape
from math import log10

from benchmarks.byzantine_case import Case, Cell, alone, worst
from benchmarks.byzantine_runs import Part, Run
from benchmarks.kept_runs import KeptRuns

WIDTH, NAMES, MORE, LINE, TOP, FOOT = 420, 150, 90, 20, 30, 46
LOWEST = 0.04
"""The error at the left side."""
TICKS = (0.05, 0.1, 0.2, 0.5, 1.0)
DOT, WORST = "#56b4e9", "#d55e00"


def drawn(case: Case, kept: KeptRuns[Run]) -> str:
    """An SVG document, with two panels in a row."""
    panels = [(cell, rules) for cell in case.cells if (rules := _finished(case, kept, cell))]
    parts, y, width = [], 0, NAMES + WIDTH + MORE
    for first in range(0, len(panels), 2):
        row = panels[first : first + 2]
        for number, (cell, rules) in enumerate(row):
            inner = "".join(_panel(case, kept, cell, rules))
            parts.append(f'<g transform="translate({number * width + NAMES},{y + TOP})">{inner}</g>')
        y += TOP + max(len(rules) for _, rules in row) * LINE + FOOT
    wide = width * min(2, len(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {y}" font-family="sans-serif" '
        f'font-size="11"><rect width="{wide}" height="{y}" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _finished(case: Case, kept: KeptRuns[Run], cell: Cell) -> list[Part]:
    return [rule for rule in case.rules(cell.attackers) if worst(case, kept, cell, rule, False) is not None]


def _across(accuracy: float) -> float:
    """The place of an accuracy."""
    error = min(1.0, max(LOWEST, 1.0 - accuracy))
    return WIDTH * (1 - log10(error) / log10(LOWEST))


def _panel(case: Case, kept: KeptRuns[Run], cell: Cell, rules: list[Part]) -> Iterator[str]:
    high = len(rules) * LINE
    yield f'<text x="0" y="-12" font-weight="bold">{escape(cell.title)}</text>'
    for error in TICKS:
        x = _across(1 - error)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{high}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{high + 14}" text-anchor="middle">{error:.0%}</text>'
    yield f'<text x="{WIDTH / 2}" y="{high + 30}" text-anchor="middle">wrong answers, by attack</text>'
    if (own := alone(case, kept, cell.similarity)) is not None:
        x = _across(own)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{high}" stroke="#444" stroke-dasharray="4 3"/>'
    for number, rule in enumerate(rules):
        y = number * LINE + LINE / 2
        yield f'<text x="-8" y="{y + 4}" text-anchor="end">{escape(rule.name)}</text>'
        for job in case.attacked(cell, rule, False):
            x = _across(kept.runs[job.key].accuracy)
            yield f'<circle cx="{x:.1f}" cy="{y}" r="3.5" fill="{DOT}" fill-opacity=".7"/>'
        lowest = worst(case, kept, cell, rule, False)
        if lowest is not None:
            x = _across(lowest.accuracy)
            yield f'<circle cx="{x:.1f}" cy="{y}" r="5" fill="none" stroke="{WORST}" stroke-width="1.6"/>'
            yield f'<text x="{x + 9:.1f}" y="{y + 4}">{escape(lowest.attack)}</text>'
