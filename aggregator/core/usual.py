"""How far from its base an update usually is, by the closed rounds of a generation."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Usual:
    """The usual distance, from the summaries of the closed training rounds.

    It is the longest of their medians and not the last one: a fleet that has finished learning hardly moves,
    and must still be able to learn something new. It must also be able to undo the last round, however far
    that moved the model.
    """

    longest: float = 0.0
    """The longest median distance of a round of two updates or more; 0: there was none."""
    moved: float = 0.0
    """How far the last round moved the model."""

    def after(self, summary: Mapping[str, float]) -> "Usual":
        """The usual distance after one more closed round."""
        return Usual(max(self.longest, summary.get("median_norm", 0.0)), summary.get("moved", 0.0))

    @property
    def distance(self) -> float:
        """The usual distance; 0: none is known."""
        return max(self.longest, self.moved) if self.longest else 0.0
