"""Rules for reading data, which an operator proposes to the fleet in the task, by name.

The owner of a device decides. The owner's settings win, and an owner can ignore all proposals. A rule that is
not proposed is None and is not sent, so that older devices can take part.
"""

from pydantic import BaseModel, ConfigDict, Field

from fedge.wire.names import WireName

MAX_GAP = 1_000_000

MISSING = ("refuse", "drop", "fill")
BY = ("time", "every", "random", "series")
UNKNOWN_LABELS = ("refuse", "drop")
"""The values that this program knows, of `missing`, `holdout.by` and `unknown_labels`."""


class Holdout(BaseModel):
    """Which rows are kept for evaluation."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, defer_build=True)

    part: float | None = Field(default=None, ge=0, lt=0.9, allow_inf_nan=False)
    """The share of each series, or of the series."""
    by: WireName | None = None
    """`time`: the last rows of each series; `every`: rows spread over it; `random`; `series`: whole ones."""


class Proposal(BaseModel):
    """The proposals; each rule has the name of its key in `[data]` of both configuration files."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, defer_build=True)

    missing: WireName | None = None
    """`refuse` data with a missing value, `drop` the row, or `fill` a feature with the survey's mean."""
    gap: int | None = Field(default=None, ge=0, le=MAX_GAP)
    """Rows dropped between the training and the held-out part."""
    holdout: Holdout | None = None
    """Which rows are kept for evaluation."""
    unknown_labels: WireName | None = None
    """`refuse` data with a label that is none of the task's classes, or `drop` the row."""
    required: bool | None = None
    """Whether a device that does not know a rule must not take part."""

    @property
    def proposed(self) -> tuple[str, ...]:
        """The names of the rules that are proposed, in order."""
        return tuple(name for name in NAMES if getattr(self, name) is not None)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The rules whose value this program does not know, as `missing.VALUE`; they count as not
        proposed."""
        by = self.holdout.by if self.holdout is not None else None
        said = (
            ("missing", self.missing, MISSING),
            ("holdout.by", by, BY),
            ("unknown_labels", self.unknown_labels, UNKNOWN_LABELS),
        )
        return tuple(f"{name}.{value}" for name, value, known in said if value not in (None, *known))

    @property
    def fills(self) -> bool:
        """Whether a missing feature counts as the survey's mean."""
        return self.missing == "fill"


NAMES = ("missing", "gap", "holdout", "unknown_labels")
"""All rules that can be proposed."""
