"""The curves of `benchmarks.bytes_to_accuracy` as an SVG file: for each fleet, accuracy over bytes, and bars.

Left: the accuracy of the models over the bytes that a device has sent for them, the mean of the seeds. Right:
the bytes that a device sends and receives until the target, and the rounds. A codec has one colour in both.
Bytes are on a logarithmic scale.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate
from math import ceil, floor, log10
from statistics import fmean

from benchmarks.bytes_runs import Run

WIDTH, LEFT, TOP, FOOT, BAR = 340, 52, 34, 44, 11
NAMES = 150
"""The width of the names beside the bars."""
BELOW = 0.12
"""What the left side shows of the accuracies, below the target."""
COLOURS = (
    *("#000000", "#888888", "#8a5a00", "#e69f00", "#004d99", "#56b4e9", "#cc79a7"),
    *("#00563f", "#009e73", "#d55e00", "#9467bd", "#c5b000"),
)
"""Told apart also by who sees colours otherwise, after Okabe and Ito 2008, "Color Universal Design"."""
DOWN = "#cccccc"


@dataclass(frozen=True)
class Line:
    """The models of one composition: the bytes sent up to each, and its accuracy."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Bar:
    """What one composition needs until the target; None: it does not reach it."""

    name: str
    up_bytes: float | None
    down_bytes: float | None
    rounds: float | None


@dataclass(frozen=True)
class Panel:
    """A fleet."""

    name: str
    target: float
    lines: Sequence[Line]
    bars: Sequence[Bar]


def line(runs: Sequence[Run]) -> Line:
    """The mean of runs that differ in their seed."""
    sent = [[total / run.devices for total in accumulate(run.up)] for run in runs]
    points = zip(
        map(fmean, zip(*sent, strict=True)),
        map(fmean, zip(*(run.accuracy for run in runs), strict=True)),
        strict=True,
    )
    return Line(runs[0].composition, tuple(points))


def drawn(panels: Sequence[Panel]) -> str:
    """An SVG document, a row of two panels for each fleet."""
    high = max((len(panel.bars) for panel in panels), default=0) * (2 * BAR + 6)
    row, wide = high + TOP + FOOT, 2 * (LEFT + WIDTH) + NAMES + 50
    names = [bar.name for panel in panels for bar in panel.bars]
    names += [line.name for panel in panels for line in panel.lines]
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(dict.fromkeys(names))}
    found = []
    for number, panel in enumerate(panels):
        y = number * row + TOP
        found.append(f'<g transform="translate({LEFT},{y})">{"".join(_curves(panel, high, colours))}</g>')
        x = 2 * LEFT + WIDTH + NAMES + 16
        found.append(f'<g transform="translate({x},{y})">{"".join(_bars(panel, high, colours))}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {len(panels) * row}" '
        f'font-family="sans-serif" font-size="11"><rect width="{wide}" height="{len(panels) * row}" '
        f'fill="white"/>{"".join(found)}</svg>\n'
    )


class _Scale:
    """Bytes on a logarithmic scale, from one power of ten to another."""

    def __init__(self, values: Sequence[float], width: float = WIDTH) -> None:
        self._low = floor(log10(min(values, default=1)))
        self._high = max(ceil(log10(max(values, default=10))), self._low + 1)
        self._width = width

    def __call__(self, count: float) -> float:
        return self._width * (log10(count) - self._low) / (self._high - self._low)

    def ticks(self, high: float) -> Iterator[str]:
        for power in range(self._low, self._high + 1):
            x = self(10.0**power)
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{high}" stroke="#ddd"/>'
            yield f'<text x="{x:.1f}" y="{high + 14}" text-anchor="middle">{_told(10**power)}</text>'


def _told(count: int) -> str:
    for unit, factor in (("MB", 10**6), ("KB", 10**3)):
        if count >= factor:
            return f"{count // factor} {unit}"
    return f"{count} B"


def _curves(panel: Panel, high: float, colours: Mapping[str, str]) -> Iterator[str]:
    lowest = panel.target - BELOW
    highest = max(panel.target, *(accuracy for each in panel.lines for _, accuracy in each.points)) + 0.005

    def height(accuracy: float) -> float:
        return high * (highest - accuracy) / (highest - lowest)

    yield f'<text x="0" y="-12" font-weight="bold">{escape(panel.name)}</text>'
    across = _Scale([sent for each in panel.lines for sent, _ in each.points])
    yield from across.ticks(high)
    yield (
        f'<text x="{WIDTH / 2}" y="{high + 30}" text-anchor="middle">sent by a device; accuracy of the '
        "models, dashed: the target</text>"
    )
    for percent in range(ceil(100 * lowest), floor(100 * highest) + 1, 2):
        y = height(percent / 100)
        yield f'<line x1="0" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>'
    y = height(panel.target)
    yield f'<line x1="0" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#444" stroke-dasharray="4 3"/>'
    for each in panel.lines:
        colour = colours[each.name]
        shown = [(sent, accuracy) for sent, accuracy in each.points if accuracy >= lowest]
        points = " ".join(f"{across(sent):.1f},{height(accuracy):.1f}" for sent, accuracy in shown)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>'


def _bars(panel: Panel, high: float, colours: Mapping[str, str]) -> Iterator[str]:
    counts = [n for each in panel.bars for n in (each.up_bytes, each.down_bytes) if n]
    across = _Scale(counts, WIDTH - 80)
    yield from across.ticks(high)
    yield (
        f'<text x="0" y="{high + 30}">until the target: sent (coloured) and received (grey) by a device'
        "</text>"
    )
    for number, each in enumerate(panel.bars):
        y, colour = number * (2 * BAR + 6) + 3, colours[each.name]
        yield f'<rect x="-16" y="{y + BAR - 5}" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="-21" y="{y + BAR + 4}" text-anchor="end">{escape(each.name)}</text>'
        if each.up_bytes is None or each.down_bytes is None:
            yield f'<text x="4" y="{y + BAR + 4}">not with each seed</text>'
            continue
        yield f'<rect y="{y}" width="{across(each.up_bytes):.1f}" height="{BAR}" fill="{colour}"/>'
        yield f'<rect y="{y + BAR}" width="{across(each.down_bytes):.1f}" height="{BAR}" fill="{DOWN}"/>'
        if each.rounds is not None:
            x = max(across(each.up_bytes), across(each.down_bytes)) + 5
            yield f'<text x="{x:.1f}" y="{y + BAR + 4}">{each.rounds:.3g} rounds</text>'
