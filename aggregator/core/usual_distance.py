"""The usual distance of an update from its base, from the closed rounds of a generation. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MEDIAN = "median_norm"
"""The key in a round's summary of its updates' median distance; `median_norm.NAME` for a further vector."""
MEAN = "mean_norm"
"""The key, in the summary of a round of two updates, of the distance of what the rule made of them;
`mean_norm.NAME` for a further vector."""

KEPT = 1_000
"""The largest number of rounds before the last whose distances are kept: the largest `max_staleness`."""


@dataclass(frozen=True)
class UsualDistance:
    """The usual distance, from the summaries of the closed training rounds.

    It is the longest of their medians and not the last one: the updates of a fleet that has finished learning
    are short, and it must still be able to learn something new. It must also be able to undo the last round,
    however far that moved the model.

    The median of two updates is the shorter one, and a liar makes it as short as it likes. So after a round
    of two the distance of their mean counts too, however short the step is that the server optimizer makes
    of it. With an honest update of length d and weight a, another of length x and weight b ≤ m a, where m is
    `max_weight`, the usual distance is then at least

        max(min(d, x), (a d - b x) / (a + b)) ≥ d / (1 + 2 m),    equal where b = m a and x = d / (1 + 2 m).

    So d is at most 1 + 2 m times the usual distance of the next round. A round of one update says nothing of
    what is usual. After it the last round's distance still counts, or its own if the model was moved farther.
    """

    longest: float = 0.0
    """The longest median distance of a round of two updates or more; 0: there was none."""
    moved: float = 0.0
    """How far the last round moved the model, or how far from it the mean of two updates was, if farther."""
    before: tuple[float, ...] = ()
    """The same of the rounds before, the newest first; at most `KEPT`."""
    vectors: Mapping[str, float] = field(default_factory=dict)
    """The longest median length of each further vector; a vector that is missing here has none yet."""
    means: Mapping[str, float] = field(default_factory=dict)
    """The length of the mean of each further vector, if the last round but those of one update had two."""

    def after(self, summary: Mapping[str, float]) -> "UsualDistance":
        """The usual distance after one more closed round."""
        medians = _of_vectors(MEDIAN, summary)
        vectors = {name: max(length, self.vectors.get(name, 0.0)) for name, length in medians.items()}
        moved = max(summary.get("moved", 0.0), summary.get(MEAN, 0.0))
        several = MEDIAN in summary
        return UsualDistance(
            max(self.longest, summary.get(MEDIAN, 0.0)),
            moved if several else max(moved, self.moved),
            (self.moved, *self.before)[:KEPT],
            {**self.vectors, **vectors},
            _of_vectors(MEAN, summary) if several else self.means,
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

    @property
    def lengths(self) -> dict[str, float]:
        """The usual length of each further vector that one is known of."""
        return {
            name: max(length, self.means.get(name, 0.0)) for name, length in self.vectors.items() if length
        }


def _of_vectors(key: str, summary: Mapping[str, float]) -> dict[str, float]:
    """The figures with this key, by the name of the further vector."""
    begin = f"{key}."
    return {each.removeprefix(begin): summary[each] for each in summary if each.startswith(begin)}
