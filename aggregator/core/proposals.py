"""The rules for the data of the whole fleet that an operator proposes; they are sent with the task."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from fedge.data.rules import MAX_GAP, Proposal
from fedge.nn.spec import clip_of
from fedge.service.settings import Section, number_of
from fedge.wire.messages.task import Task


class HoldoutSection(Section):
    """`[data] holdout`: which rows are kept for evaluation, and never trained on."""

    part: float | None = Field(default=None, ge=0, lt=0.9, allow_inf_nan=False)
    """The share of the rows; 0: none."""
    by: Literal["time", "every", "random", "series"] | None = None
    """Which rows: `time`, the last of each series; `every`, one in so many; `random`; or whole `series`."""


def _holdout(value: object) -> object:
    """`holdout = 0.2` is short for `{ part = 0.2 }`."""
    return value if value is None or isinstance(value, dict | HoldoutSection) else {"part": number_of(value)}


class DataSection(Section):
    """`[data]`: the rules for the data of the whole fleet that are proposed to the devices' owners.

    An owner's own setting has precedence. Rules that are not set here are not proposed.
    """

    missing: Literal["refuse", "drop", "fill"] | None = None
    """What happens to a row with a missing value: `refuse` the data, `drop` the row, or `fill` a feature with
    the survey's mean, on the devices and in the exported ONNX file."""
    holdout: Annotated[HoldoutSection | None, BeforeValidator(_holdout)] = None
    """The part of each series that is kept for evaluation; or a table of `part` and `by`."""
    gap: int | None = Field(default=None, ge=0, le=MAX_GAP)
    """Rows dropped between the training and the held-out part, where windows of a recording overlap."""
    unknown_labels: Literal["refuse", "drop"] | None = None
    """What happens to a row whose class is none of the task's: `refuse` the data, or `drop` the row."""
    require: bool = False
    """Only devices that know the rules proposed here may take part; those of 0.2.0 know none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.require and self.proposal() is None:
            raise ValueError("require: no rule is proposed; set missing, holdout, gap or unknown_labels")
        return self

    def proposal(self) -> Proposal | None:
        """The rules for the task; None: nothing is proposed."""
        rules = self.model_dump(exclude={"require"}, exclude_none=True)
        rules = {name: rule for name, rule in rules.items() if rule != {}}
        return Proposal(**rules, required=True if self.require else None) if rules else None


def kept(announced: Task, configured: Task, clip: float) -> str | None:
    """The log line if a generation goes on with other rules than those configured now; else None.

    Args:
        announced: the task that the generation learns.
        configured: the task that a new generation would begin with.
        clip: the bound on standardized inputs that it would be given, 0: none.
    """
    bound = clip_of(announced.network)
    changed = ["[data]"] if announced.rules != configured.rules else []
    changed += ["[model] clip"] if bound is not None and bound != clip else []
    if not changed:
        return None
    return (
        f"{' and '.join(changed)} changed since this generation began, which keeps the old values; run "
        "`fedge-aggregator new-generation` to use the new ones"
    )
