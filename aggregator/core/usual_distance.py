"""The usual distance of an update from its base, from the closed rounds of a generation. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MEDIAN = "median_norm"
"""The key in a round's summary of its updates' median distance; `median_norm.NAME` for a further vector."""

KEPT = 1_000
"""The largest number of rounds before the last whose distances are kept: the largest `max_staleness`."""


@dataclass(frozen=True)
class UsualDistance:
    """The usual distance, from the summaries of the closed training rounds.

    It is the longest of their medians and not the last one: the updates of a fleet that has finished learning
    are short, and it must still be able to learn something new. It must also be able to undo the last round,
    however far that moved the model.
    """

    longest: float = 0.0
    """The longest median distance of a round of two updates or more; 0: there was none."""
    moved: float = 0.0
    """How far the last round moved the model."""
    before: tuple[float, ...] = ()
    """How far the rounds before that moved it, the newest first; at most `KEPT`."""
    vectors: Mapping[str, float] = field(default_factory=dict)
    """The longest median length of each further vector; a vector that is missing here has none yet."""

    def after(self, summary: Mapping[str, float]) -> "UsualDistance":
        """The usual distance after one more closed round."""
        begin = f"{MEDIAN}."
        lengths = {key.removeprefix(begin): summary[key] for key in summary if key.startswith(begin)}
        vectors = {name: max(length, self.vectors.get(name, 0.0)) for name, length in lengths.items()}
        return UsualDistance(
            max(self.longest, summary.get(MEDIAN, 0.0)),
            summary.get("moved", 0.0),
            (self.moved, *self.before)[:KEPT],
            {**self.vectors, **vectors},
        )

    def back(self, rounds: int) -> float:
        """The usual distance where updates may begin this many rounds further back; 0: none is known.

        A buffer may be full of updates from before a round that moved the model far, and those that undo it
        come later. So each of these rounds counts like the last one.
        """
        return max((self.distance, *self.before[:rounds])) if self.longest else 0.0

    @property
    def distance(self) -> float:
        """The usual distance; 0: none is known."""
        return max(self.longest, self.moved) if self.longest else 0.0
