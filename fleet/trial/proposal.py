"""Propose features, classes, a network and a plan for a fleet's data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from fedge.algorithms.plan import Plan
from fedge.data.disclosure import listing
from fedge.errors import DataError
from fleet.demo.provision import Value
from fleet.trial import skew
from fleet.trial.column_proposal import NothingToLearnFrom
from fleet.trial.column_proposal import propose as propose_task
from fleet.trial.columns import nearest, require
from fleet.trial.joined import apart, joined
from fleet.trial.table import Table
from fleet.trial.usage import UsageError

WIDTHS = (64, 32, 16, 8)
"""Widths of the hidden layer: the widest one is taken for which the rows suffice."""
WEIGHTS_PER_ROW, WEIGHTS_PER_NUMBER = 2.0, 0.5
"""The most weights per row of the fleet, for a classification and for a regression, whose answers are
noisier; with more the model would overfit."""
BATCHES = ((20_000, 64), (5_000, 32), (0, 16))
"""From this many rows per device on, the batch size: steps cost more than rows."""
EPOCHS, EPOCHS_SKEWED = 5, 1
"""Epochs in a round; where devices hold other classes, many epochs let their models drift apart."""
ROUNDS = 60


@dataclass(frozen=True)
class Wish:
    """The caller's choices; None: to be proposed."""

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
    """A task and its plan."""

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
    """How rows are held out, as in `[data] holdout`."""
    missing: str
    hints: tuple[str, ...] = ()
    """Warnings about labels that may be misspelt."""

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
        wish: the caller's choices, with either a label or a target.

    Raises:
        UsageError: neither a label nor a target was chosen, or both.
        DataError: a column is missing, or there is nothing to learn; the text says which and where.
    """
    if (wish.label is None) == (wish.target is None):
        names = listing(tables[0].columns)
        raise UsageError(
            "say what is to be learnt: --label COLUMN for classes, or --regression COLUMN for a number; "
            f"the columns are {names}"
        )
    roles = (("label", wish.label), ("target", wish.target), ("series", wish.series))
    for table in tables:
        for role, name in roles:
            if name is not None:
                require(table.name, table.columns, role, name)
    wanted = None if wish.features is None else _wanted(tables, wish)
    whole, reasons = joined(tables, wish.label), apart(tables, wish.series)
    try:
        task = propose_task(whole, wish.label, wish.target, reasons, wanted)
    except NothingToLearnFrom as error:
        raise DataError(f"{error}; choose with --features A,B,…") from None
    elsewhere = {name: why for name, why in reasons.items() if name not in (whole.columns or ())}
    features, classes = task.features, task.classes
    rows = sum(map(len, tables))
    by_device = {table.device: skew.counts(table.labels, classes) for table in tables} if classes else {}
    skewed = bool(by_device) and skew.label_skew(by_device) is not None
    size = next(size for fewest, size in BATCHES if rows / len(tables) >= fewest)
    counts = {
        name: sum(int(of_device[k]) for of_device in by_device.values())
        for k, name in enumerate(classes or ())
    }
    # With momentum the models of devices with different classes drift apart fastest.
    plan = Plan(
        epochs=EPOCHS_SKEWED if skewed else EPOCHS,
        batch_size=size,
        learning_rate=0.05 if classes else 0.01,
        momentum=0.9,
    )
    by = wish.by or ("every" if classes and skew.sorted_by_class(tables, classes, wish.holdout) else "time")
    return Proposal(
        features=features,
        left_out=dict(task.left_out) | elsewhere,
        classes=classes,
        counts=counts,
        target=wish.target,
        hidden=hidden_units(
            rows * (WEIGHTS_PER_ROW if classes else WEIGHTS_PER_NUMBER),
            len(features),
            len(classes) if classes else 1,
        ),
        plan=plan,
        rounds=wish.rounds or ROUNDS,
        holdout=wish.holdout,
        by=by,
        missing=wish.missing or ("fill" if task.incomplete else "refuse"),
        hints=_hints(counts),
    )


def holdout_setting(part: float, by: str) -> Value:
    """`[data] holdout`; the last rows by time need only their part."""
    return part if by == "time" else {"part": part, "by": by}


def hidden_units(weights: float, inputs: int, outputs: int) -> int:
    """The width of the hidden layer for at most this many weights; 0: too few for a hidden layer.

    >>> hidden_units(4_000, 48, 7), hidden_units(300, 4, 3), hidden_units(120, 50, 7)
    (64, 32, 0)
    """
    for units in WIDTHS:
        if (inputs + 1) * units + (units + 1) * outputs <= weights:
            return units
    return 0


def _wanted(tables: Sequence[Table], wish: Wish) -> tuple[str, ...]:
    """The requested features, after a check of each.

    Raises:
        DataError: one cannot be a feature.
    """
    wanted, first = wish.features or (), tables[0]
    for name in wanted:
        if name in (wish.label, wish.target, wish.series):
            raise DataError(f"--features: {name!r} is what is to be learnt or the series; leave it out")
        if not any(name in table.columns for table in tables):
            why = f"there is no such column{nearest(name, first.columns)}"
            raise DataError(f"{first.name}: --features: {name!r}: {why}")
        for table in tables:
            if name not in table.columns:
                raise DataError(f"{table.name}: --features: {name!r}: this device lacks it")
            if name in table.faults:
                raise DataError(f"--features: {name!r}: {table.faults[name].text}")
    return wanted


def _hints(counts: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(
        f"classes {one!r} ({counts[one]} rows) and {other!r} ({counts[other]}) differ in case or spaces "
        "only: if they are one, spell them alike on all devices"
        for one, other in combinations(counts, 2)
        if "".join(one.casefold().split()) == "".join(other.casefold().split())
    )
