"""Who took part in a round, of those who were there, and why the others did not. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fedge.freshness import round_of

if TYPE_CHECKING:  # `--check` works without the extra, which its maps are of
    from aggregator.federation import Federation


@dataclass(frozen=True)
class Participation:
    """How many took part in a round, of whom, and what the others declined it for."""

    admitted: int
    online: int
    """Those who are online, and those who went after they had taken part."""
    declined: Mapping[str, int] = field(default_factory=dict)
    """How many declined this round, by reason."""

    @classmethod
    def of(cls, state: "Federation") -> "Participation":
        """As it stands in the open round."""
        counted = state.counted
        there = {*state.online, *counted}
        reasons = Counter(
            str(decline.reason)
            for device, decline in state.declined.items()
            if device in state.online and device not in counted and round_of(decline) == state.round
        )
        return cls(len(counted), len(there), reasons)

    @classmethod
    def read(cls, summary: Mapping[str, Any]) -> "Participation | None":
        """As a closed round's summary tells it; None: a program before this one closed it.

        Raises:
            ValueError: it makes no sense.
        """
        found = summary.get("participation")
        if found is None:
            return None
        try:
            return cls(**found)
        except TypeError as error:
            raise ValueError(f"participation: {error}") from None

    def summary(self) -> dict[str, Any]:
        """For the summary of the round: what `read` takes."""
        return {"participation": vars(self) | {"declined": dict(self.declined)}}

    def __str__(self) -> str:
        return f"{self.admitted} of {self.online} online took part{self._why()}"

    def _why(self) -> str:
        if not self.declined:
            return ""
        ranked = sorted(self.declined.items(), key=lambda one: (-one[1], one[0]))
        reasons = ranked[0][0] if len(ranked) == 1 else ", ".join(f"{reason} {n}" for reason, n in ranked)
        return f" ({sum(self.declined.values())} declined: {reasons})"


def last_of(summaries: Sequence[Mapping[str, Any]]) -> str:
    """What is added to the word that learning is done: who took part in the last of its rounds.

    >>> last_of([Participation(15, 36, {"bad_data": 21}).summary()])
    '; in the last round 15 of 36 online took part (21 declined: bad_data)'
    """
    found = Participation.read(summaries[-1]) if summaries else None
    return f"; in the last round {found}" if found is not None else ""
