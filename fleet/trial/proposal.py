"""What is proposed for a fleet's data: features, classes, a network, a plan."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from fedge.disclosure import listing
from fedge.errors import DataError
from fedge.plan import Plan
from fleet.provision import Value
from fleet.trial import skew
from fleet.trial.columns import usable
from fleet.trial.files import nearest
from fleet.trial.table import Table
from fleet.trial.usage import UsageError

WIDTHS = (64, 32, 16, 8)
"""Of the hidden layer: the widest one is taken that the rows can fill."""
WEIGHTS_PER_ROW, WEIGHTS_PER_NUMBER = 2.0, 0.5
"""So many weights at most a row of the fleet has, of a classification and of a regression, whose answers are
noisier: more would be learnt by heart."""
MOST_CLASSES = 100
"""A label with more different values is hardly one of classes."""
BATCHES = ((20_000, 64), (5_000, 32), (0, 16))
"""From so many rows a device on, the batch size: steps cost more than rows."""
EPOCHS, EPOCHS_SKEWED = 5, 1
"""In a round; where devices hold other classes, many epochs lead each of them to its own."""
ROUNDS = 60


@dataclass(frozen=True)
class Wish:
    """What the caller chose; None: it is proposed."""

    label: str | None = None
    target: str | None = None
    series: str | None = None
    features: tuple[str, ...] | None = None
    holdout: float = 0.2
    by: str | None = None
    missing: str | None = None
    rounds: int | None = None


@dataclass(frozen=True)
class Proposal:
    """A task and how it is learnt."""

    features: tuple[str, ...]
    left_out: Mapping[str, str]
    """Columns that are no features, and why."""
    classes: tuple[str, ...] | None
    counts: Mapping[str, int]
    """Rows of each class, over the fleet; empty for a regression."""
    target: str | None
    hidden: int
    """Units of the hidden layer; 0: there is none."""
    plan: Plan
    rounds: int
    holdout: float
    by: str
    """How rows are held out, as `[data] holdout` calls it."""
    missing: str
    hints: tuple[str, ...] = ()
    """What looks odd in the labels."""

    def model(self) -> dict[str, Value]:
        """The section `[model]`."""
        answers: dict[str, Value] = (
            {"classes": self.classes} if self.classes else {"targets": (self.target or "",)}
        )
        layers: list[Value] = [{"type": "dense", "units": self.hidden}, {"type": "relu"}]
        return {"features": self.features, **answers, "layers": layers if self.hidden else []}


def propose(tables: Sequence[Table], wish: Wish) -> Proposal:
    """Propose what the caller did not choose.

    Args:
        tables: of all devices, at least two.
        wish: what is to be learnt, either a label or a target.

    Raises:
        UsageError: neither a label nor a target was chosen, or both.
        DataError: a column is not there, or there is nothing to learn: it says which and where.
    """
    if (wish.label is None) == (wish.target is None):
        names = listing(tables[0].columns)
        raise UsageError(
            "say what is to be learnt: --label COLUMN for classes, or --regression COLUMN for a number; "
            f"the columns are {names}"
        )
    answer = wish.label or wish.target or ""
    for table in tables:
        for option, name in (
            ("--label" if wish.label else "--regression", answer),
            ("--series", wish.series),
        ):
            if name is not None and name not in table.columns:
                raise DataError(
                    f"{table.name}: line 1: there is no column {name!r}, which {option} names"
                    f"{nearest(name, table.columns)}; the columns are {listing(table.columns)}"
                )
    told = [name for name in (answer, wish.series) if name]
    features, left_out = usable(tables, told)
    features, left_out = _chosen(tables[0], wish.features, told, features, left_out)
    classes, counts, hints = _classes(tables, answer) if wish.label else (None, {}, ())
    if wish.target:
        _check_target(tables, wish.target)
    rows = sum(map(len, tables))
    outputs = len(classes) if classes else 1
    by_device = {table.device: skew.counts(table.labels, classes) for table in tables} if classes else {}
    skewed = bool(by_device) and skew.label_skew(by_device) is not None
    size = next(size for fewest, size in BATCHES if rows / len(tables) >= fewest)
    # Momentum is what makes skewed devices run apart fastest.
    plan = Plan(
        epochs=EPOCHS_SKEWED if skewed else EPOCHS,
        batch_size=size,
        learning_rate=0.05 if classes else 0.01,
        momentum=0.9,
    )
    by = wish.by or ("every" if classes and skew.sorted_by_class(tables, classes, wish.holdout) else "time")
    return Proposal(
        features=features,
        left_out=left_out,
        classes=classes,
        counts=counts,
        target=wish.target,
        hidden=hidden_units(
            rows * (WEIGHTS_PER_ROW if classes else WEIGHTS_PER_NUMBER), len(features), outputs
        ),
        plan=plan,
        rounds=wish.rounds or ROUNDS,
        holdout=wish.holdout,
        by=by,
        missing=wish.missing or ("fill" if skew.has_gaps(tables, features, answer) else "refuse"),
        hints=hints,
    )


def holdout_setting(part: float, by: str) -> Value:
    """`[data] holdout`; the last rows by time need only their part."""
    return part if by == "time" else {"part": part, "by": by}


def hidden_units(weights: float, inputs: int, outputs: int) -> int:
    """The width of the hidden layer with so many weights at most; 0: they do not suffice for one.

    >>> hidden_units(4_000, 48, 7), hidden_units(300, 4, 3), hidden_units(120, 50, 7)
    (64, 32, 0)
    """
    for units in WIDTHS:
        if (inputs + 1) * units + (units + 1) * outputs <= weights:
            return units
    return 0


def _chosen(
    table: Table,
    wanted: tuple[str, ...] | None,
    told: Sequence[str],
    features: tuple[str, ...],
    left_out: dict[str, str],
) -> tuple[tuple[str, ...], dict[str, str]]:
    if wanted is not None:
        for name in wanted:
            if name in told:
                raise DataError(f"--features: {name!r} is what is to be learnt or the series; leave it out")
            reason = left_out.get(name, "")
            if name not in table.columns or reason.startswith(("only ", "holds ")):
                why = reason or f"there is no such column{nearest(name, table.columns)}"
                raise DataError(f"{table.name}: --features: {name!r}: {why}")
        others = {name: "was not asked for" for name in features if name not in wanted}
        return wanted, {n: why for n, why in (left_out | others).items() if n not in wanted}
    if not features:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise DataError(
            f"{table.name}: no column is left to learn from ({why}); choose with --features A,B,…"
        )
    return features, left_out


def _classes(tables: Sequence[Table], label: str) -> tuple[tuple[str, ...], dict[str, int], tuple[str, ...]]:
    counted: Counter[str] = Counter()
    for table in tables:
        if table.labels is not None:
            counted.update(table.labels[table.labels != ""].tolist())
    if not counted:
        raise DataError(f"{tables[0].name}: column {label!r} is empty in every row of all devices")
    if len(counted) == 1:
        name, rows = counted.most_common(1)[0]
        raise DataError(
            f"{tables[0].name}: column {label!r} is {name!r} in all {rows} rows of all devices: there is "
            "nothing to tell apart; add rows of another class, or choose another column"
        )
    if len(counted) > MOST_CLASSES or (len(counted) > 20 and len(counted) > counted.total() / 3):
        raise DataError(
            f"{tables[0].name}: column {label!r} has {len(counted)} different values in {counted.total()} "
            f"rows, which are hardly classes; for a number: --regression {label}"
        )
    names = sorted(counted, key=lambda name: (0, int(name), name) if _is_whole(name) else (1, 0, name))
    hints = [
        f"classes {one!r} ({counted[one]} rows) and {other!r} ({counted[other]}) differ in case or spaces "
        "only: if they are one, spell them alike on all devices"
        for one, other in combinations(names, 2)
        if "".join(one.casefold().split()) == "".join(other.casefold().split())
    ]
    return tuple(names), {name: counted[name] for name in names}, tuple(hints)


def _is_whole(name: str) -> bool:
    return name.lstrip("-").isdecimal() and name.isascii()


def _check_target(tables: Sequence[Table], target: str) -> None:
    for table in tables:
        if target in table.faults:
            raise DataError(f"{table.faults[target]}; for classes: --label {target}")
    values = np.concatenate([table.column(target) for table in tables])
    values = values[~np.isnan(values)]
    if not len(values):
        raise DataError(f"{tables[0].name}: column {target!r} is empty in every row of all devices")
    if values.min() == values.max():
        raise DataError(
            f"{tables[0].name}: column {target!r} is {values[0]:g} in every row of all devices: there is "
            "nothing to predict; choose another column"
        )
