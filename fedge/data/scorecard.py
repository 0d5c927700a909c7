"""Show scores as text for people and as JSON for programs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedge.data.scores import Classification, Regression
from fedge.service.escapes import printable

WIDEST_MATRIX = 12
"""With more classes than this the text lists the commonest mistakes instead of the whole matrix."""
MOST_MISTAKES = 10


@dataclass(frozen=True)
class LeftOut:
    """Rows of the file that do not count, by reason."""

    unlabelled: int = 0
    """Without a true answer."""
    incomplete: int = 0
    """Dropped for a missing value, as the owner has set it."""


def as_json(scores: Classification | Regression, left_out: LeftOut) -> dict[str, Any]:
    """The figures by stable names for scripts; null if a figure is undefined.

    `rows` is the number of counted rows. `unlabelled` and `incomplete` rows are not counted, and in a
    regression neither are `unanswered` ones.
    """
    common = {
        "unanswered": scores.unanswered,
        "unlabelled": left_out.unlabelled,
        "incomplete": left_out.incomplete,
    }
    if isinstance(scores, Regression):
        figures = zip(scores.targets, scores.rmse, scores.mae, scores.rmse_mean, strict=True)
        return {
            "rows": scores.rows,
            **common,
            "targets": [
                {"target": name, "rmse": rmse, "mae": mae, "rmse_mean": rmse_mean}
                for name, rmse, mae, rmse_mean in figures
            ],
        }
    by_class = zip(scores.classes, scores.counts, scores.precision, scores.recall, strict=True)
    return {
        "rows": sum(scores.counts),
        **common,
        "accuracy": scores.accuracy,
        "accuracy_commonest": max(scores.counts) / sum(scores.counts),
        "classes": [
            {"class": name, "rows": rows, "precision": precision, "recall": recall}
            for name, rows, precision, recall in by_class
        ],
        "confusion": scores.confusion.tolist(),
    }


def as_text(scores: Classification | Regression, left_out: LeftOut) -> str:
    """The figures as lines of text; control characters in names are escaped."""
    lines = _regression(scores) if isinstance(scores, Regression) else _classification(scores)
    counted = "counted as wrong" if isinstance(scores, Classification) else "not counted"
    for what, count in (
        (f"{counted}, as a value is missing or too large for the model", scores.unanswered),
        ("not counted, as the file does not say their answer", left_out.unlabelled),
        ("not counted, as [data] missing drops them", left_out.incomplete),
    ):
        if count:
            lines.append(f"rows {what}: {count}")
    return "".join(f"{line}\n" for line in lines)


def _regression(scores: Regression) -> list[str]:
    figures = zip(scores.targets, scores.rmse, scores.mae, scores.rmse_mean, strict=True)
    table: list[tuple[str, ...]] = [("target", "RMSE", "MAE", "RMSE of always the mean")]
    table += [(printable(name), *(f"{value:.4g}" for value in values)) for name, *values in figures]
    return [f"{scores.rows} rows, each target in its own unit", "", *_aligned(table)]


def _classification(scores: Classification) -> list[str]:
    names = [printable(name) for name in scores.classes]
    rows, commonest = sum(scores.counts), int(np.argmax(scores.counts))
    table = [("class", "rows", "precision", "recall")]
    table += [
        (name, str(count), _shown(precision), _shown(recall))
        for name, count, precision, recall in zip(
            names, scores.counts, scores.precision, scores.recall, strict=True
        )
    ]
    return [
        f"accuracy {scores.accuracy:.3f} on {rows} rows; always answering {names[commonest]!r} has "
        f"{scores.counts[commonest] / rows:.3f}",
        "",
        *_aligned(table),
        "",
        *(_matrix(names, scores) if len(names) <= WIDEST_MATRIX else _mistakes(names, scores)),
    ]


def _matrix(names: Sequence[str], scores: Classification) -> Iterable[str]:
    yield "how often a class (line) was taken for another (column)"
    counts = scores.confusion.tolist()
    table = [("", *names)]
    table += [(name, *map(str, line)) for name, line in zip(names, counts, strict=True)]
    yield from _aligned(table)


def _mistakes(names: Sequence[str], scores: Classification) -> Iterable[str]:
    wrong = scores.confusion.copy()
    np.fill_diagonal(wrong, 0)
    yield "the commonest mistakes"
    for at in np.argsort(-wrong, axis=None, kind="stable")[:MOST_MISTAKES].tolist():
        i, j = divmod(at, len(names))
        if wrong[i, j]:
            yield f"{wrong[i, j]:>6}  {names[i]} taken for {names[j]}"


def _aligned(table: Sequence[Sequence[str]]) -> Iterable[str]:
    """Align a table: the first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for first, *others in table:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join((first.ljust(widths[0]), *cells))


def _shown(part: float | None) -> str:
    return "-" if part is None else f"{part:.3f}"
