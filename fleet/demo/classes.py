"""The part of a report on classes: which ones the shared model recognises, and since which round."""

from collections.abc import Sequence

import plotly.graph_objects as go

from fedge.data.scores import Classification
from fleet.demo import look
from fleet.demo.history import RoundScores
from fleet.demo.scoring import ClassRow

ROW_PX, AROUND_PX = 26, 90
"""The height in pixels of a class in the figure of rounds, and of the figure's margins."""


def by_class(rows: Sequence[ClassRow], devices: int, central: Classification | None = None) -> str:
    """HTML of the table by class.

    Args:
        rows: the scores of the shared model.
        devices: the number of devices.
        central: those of a model that was trained on all data in one place, on the same rows; None: not
            shown.
    """
    head = ["class", "training", "on devices", "held out", "recall"]
    head += ["in one place"] if central is not None else []
    head += ["precision", "most often mistaken for"]
    cells = []
    for k, row in enumerate(rows):
        line = [
            row.name,
            str(row.training),
            f"{row.trained} of {devices}",
            str(row.rows),
            look.part(row.recall),
        ]
        line += [look.part(central.recall[k])] if central is not None else []
        line += [
            look.part(row.precision),
            "" if row.mistaken_for is None else f"{row.mistaken_for} ({row.mistaken})",
        ]
        cells.append(line)
    note = (
        "The shared model on the held-out rows. Recall: the share of a class's rows that it recognises. "
        "Precision: the share of the rows it assigns to a class that belong to the class."
    )
    return look.section("Class by class", note, look.table(head, cells))


def by_round(history: Sequence[RoundScores]) -> str:
    """HTML of the figure of recall after each round; "" without rounds, or without classes."""
    told = [(one.round, one.scores) for one in history if isinstance(one.scores, Classification)]
    if len(told) < 2:
        return ""
    first = told[0][0]
    note = "The share of each class's held-out rows that the shared model recognises after each round" + (
        "; round 0 is before any training."
        if not first
        else f"; the ledger keeps the rounds from {first} on."
    )
    return look.section("Class by class, round by round", note, look.drawn(_rounds(told)))


def _rounds(told: Sequence[tuple[int, Classification]]) -> go.Figure:
    classes = told[0][1].classes
    figure = look.figure(AROUND_PX + ROW_PX * len(classes))
    figure.add_heatmap(
        x=[number for number, _ in told],
        y=list(range(len(classes))),
        z=[[scores.recall[k] for _, scores in told] for k in range(len(classes))],
        customdata=[[name] * len(told) for name in classes],
        zmin=0,
        zmax=1,
        colorscale=[[0, "#f4f6f8"], [0.5, look.DOWN], [1, look.TOGETHER]],
        xgap=0 if len(told) > 120 else 1,
        ygap=2,
        colorbar={"tickformat": ".0%", "thickness": 12, "outlinewidth": 0, "dtick": 0.25},
        hovertemplate="%{customdata}, after round %{x}: %{z:.0%}<extra></extra>",
    )
    figure.update_yaxes(
        tickvals=list(range(len(classes))), ticktext=list(classes), autorange="reversed", showgrid=False
    )
    figure.update_xaxes(title="round", showgrid=False)
    return figure
