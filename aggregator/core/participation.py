"""The participation in a round: how many devices took part, and why others did not. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fedge.wire.freshness import round_of

if TYPE_CHECKING:  # so that `--check` needs no extra; its maps do
    from aggregator.core.federation import Federation


@dataclass(frozen=True)
class Participation:
    """How many devices took part in a round, of how many, and why others declined."""

    admitted: int
    online: int
    """The devices online, and those that went offline after they took part."""
    declined: Mapping[str, int] = field(default_factory=dict)
    """How many declined this round, by reason."""

    @classmethod
    def of(cls, state: "Federation") -> "Participation":
        """The participation in the open round."""
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
        """The participation from a closed round's summary; None: an older program closed it.

        Raises:
            ValueError: the entry cannot be read.
        """
        found = summary.get("participation")
        if found is None:
            return None
        try:
            return cls(**found)
        except TypeError as error:
            raise ValueError(f"participation: {error}") from None

    def summary(self) -> dict[str, Any]:
        """The entries for the round's summary, which `read` reads."""
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
    """The participation in the last training round, for the line that learning is done.

    >>> last_of([Participation(15, 36, {"bad_data": 21}).summary()])
    '; in the last round 15 of 36 online took part (21 declined: bad_data)'
    """
    found = Participation.read(summaries[-1]) if summaries else None
    return f"; in the last round {found}" if found is not None else ""
