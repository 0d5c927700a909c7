"""How far from its base an update usually is, by the closed rounds of a generation."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Usual:
    """What the closed training rounds tell, each by its summary.

    It is the longest of their medians, not the last one: a fleet that has learnt all there is hardly moves,
    and what it then sees for the first time must not be refused. Nor must it be refused to undo what the
    last round did, however far that moved the model.
    """

    longest: float = 0.0
    """The longest median distance of a round of two updates or more; 0: there was none."""
    moved: float = 0.0
    """How far the last round moved the model."""

    def after(self, summary: Mapping[str, float]) -> "Usual":
        """As it is when one more round is closed."""
        return Usual(max(self.longest, summary.get("median_norm", 0.0)), summary.get("moved", 0.0))

    @property
    def distance(self) -> float:
        """The usual distance; 0: none is known."""
        return max(self.longest, self.moved) if self.longest else 0.0
