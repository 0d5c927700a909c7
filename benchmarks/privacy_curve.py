"""Accuracy against ε as an SVG document, for `benchmarks.privacy`."""

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, TOP, FOOT = 420, 240, 48, 30, 44
LOWEST, HIGHEST = 0.8, 0.95


def drawn(private: Mapping[float, Sequence[float]], without: Sequence[float]) -> str:
    """An SVG document: a point for each seed, a line through the means, a dashed one without noise."""
    parts = ['<text x="0" y="-10" font-weight="bold">MNIST, 784-10, 10,000 devices, 60 rounds</text>']
    for tick in (0.8, 0.85, 0.9, 0.95):
        parts.append(f'<line x2="{WIDTH}" y1="{_y(tick):.1f}" y2="{_y(tick):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="-8" y="{_y(tick) + 4:.1f}" text-anchor="end">{tick:.2f}</text>')
    level = _y(sum(without) / len(without))
    parts.append(
        f'<line x2="{WIDTH}" y1="{level:.1f}" y2="{level:.1f}" stroke="#555" stroke-dasharray="5 4"/>'
    )
    parts.append(f'<text x="{WIDTH}" y="{level - 8:.1f}" text-anchor="end">without noise</text>')
    places = {epsilon: WIDTH * (k + 0.5) / len(private) for k, epsilon in enumerate(sorted(private))}
    means = [(x, _y(sum(private[e]) / len(private[e]))) for e, x in places.items()]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in means)
    parts.append(f'<polyline points="{points}" fill="none" stroke="#0072b2" stroke-width="1.6"/>')
    for epsilon, x in places.items():
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT + 16}" text-anchor="middle">{epsilon:g}</text>')
        parts += [f'<circle cx="{x:.1f}" cy="{_y(a):.1f}" r="3" fill="#0072b2"/>' for a in private[epsilon]]
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT + 34}" text-anchor="middle">ε (δ = 1e-5)</text>')
    wide, high = WIDTH + LEFT + 16, HEIGHT + TOP + FOOT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="sans-serif" '
        f'font-size="12"><rect width="{wide}" height="{high}" fill="white"/>'
        f'<g transform="translate({LEFT},{TOP})">{"".join(parts)}</g></svg>\n'
    )


def _y(accuracy: float) -> float:
    return HEIGHT * (HIGHEST - min(HIGHEST, max(LOWEST, accuracy))) / (HIGHEST - LOWEST)
