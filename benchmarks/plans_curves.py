"""The curves of `benchmarks.plans` as an SVG file: a panel a setting, a line a plan, accuracy over rounds."""

from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, FOOT = 300, 220, 44, 30, 34
LOWEST, HIGHEST = 0.5, 1.0
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")
"""Told apart also by who sees colours otherwise: Okabe and Ito 2008, "Color Universal Design"."""


def drawn(found: dict[str, Any], rate: float = 0.1) -> str:
    """An SVG document of what was measured, of the plans with one learning rate."""
    settings = found["settings"]
    ending = f", lr = {rate:g}"
    panels = []
    for number, (name, setting) in enumerate(settings.items()):
        curves = [
            (plan.removesuffix(ending), each["curve"])
            for plan, each in setting["plans"].items()
            if plan.endswith(ending)
        ]
        x, y = (number % 2) * (WIDTH + LEFT + 16), (number // 2) * (HEIGHT + TOP + FOOT)
        panels.append(f'<g transform="translate({x + LEFT},{y + TOP})">{_panel(name, curves)}</g>')
    wide, high = 2 * (WIDTH + LEFT + 16), -(-len(settings) // 2) * (HEIGHT + TOP + FOOT)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="sans-serif" '
        f'font-size="12"><rect width="{wide}" height="{high}" fill="white"/>{"".join(panels)}</svg>\n'
    )


def _panel(name: str, curves: Sequence[tuple[str, Sequence[float]]]) -> str:
    parts = [f'<text x="0" y="-10" font-weight="bold">{escape(name)}</text>']
    for tenth in range(5, 11):
        y = _height(tenth / 10)
        parts.append(f'<line x1="0" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>')
    rounds = max((len(curve) for _, curve in curves), default=1)
    for number in (1, rounds):
        x = _across(number - 1, rounds)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT + 16}" text-anchor="middle">{number}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT + 16}" text-anchor="middle">round</text>')
    for number, (label, curve) in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{_across(k, rounds):.1f},{_height(v):.1f}" for k, v in enumerate(curve))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        y = HEIGHT - 12 - 16 * (len(curves) - 1 - number)
        parts.append(
            f'<line x1="{WIDTH - 70}" x2="{WIDTH - 50}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" '
        )
        parts.append(f'stroke-width="2"/><text x="{WIDTH - 44}" y="{y}">{escape(label)}</text>')
    return "".join(parts)


def _height(accuracy: float) -> float:
    within = min(HIGHEST, max(LOWEST, accuracy))
    return HEIGHT * (HIGHEST - within) / (HIGHEST - LOWEST)


def _across(number: int, rounds: int) -> float:
    return WIDTH * number / max(1, rounds - 1)
