"""The claims of rounds, counted one device at a time while an aggregator serves. Pure.

`claims.assess` looks at every device. These counts say at once whether it would find that the ledger is
behind its fleet, so it is asked for its text only when the aggregator is about to stop.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aggregator.core.claims import is_near
from fedge.frozen import replace
from fedge.wire.freshness import RoundId

if TYPE_CHECKING:  # its state has these counts
    from aggregator.core.federation import Federation


@dataclass(frozen=True)
class ClaimCounts:
    """What `assess` would count of a state's claims, in the round that they were counted in."""

    round: RoundId
    young: bool
    """No round is closed in the ledger."""
    voters: int = 0
    """The devices to hear."""
    heard: int = 0
    """Those of them that have sent a status."""
    newer: int = 0
    """Those that claim a round after the ledger's which may be believed."""
    distant: int = 0
    """Those that claim a round which cannot be believed, but of the next generation at most."""

    @property
    def behind(self) -> bool:
        """Whether so many claim newer rounds that the ledger must be older than its fleet."""
        if not self.young:
            return self.newer >= self.voters // 2 + 1
        return self.newer >= max(2, (self.heard + 1) // 2) and 2 * self.heard >= self.voters

    def having(self, claim: RoundId | None, change: int) -> "ClaimCounts":
        """The counts with one claim more (`change` 1) or less (-1)."""
        if claim is None or claim <= self.round:
            return self
        far = not is_near(claim, self.round)
        return replace(
            self,
            newer=self.newer + (change if self.young or not far else 0),
            distant=self.distant + (change if far and claim.generation <= self.round.generation + 1 else 0),
        )


def counted(state: "Federation") -> ClaimCounts:
    """All claims of a state, counted anew: in O(n), and so only when a round has begun."""
    young, roster = state.young and state.round.round == 0, state.roster
    if roster is None:
        voters, heard = len(state.voters), len(state.fleet)
    else:
        voters = len(roster if young else roster.intersection(state.voters))
        heard = len(roster.intersection(state.fleet))
    counts = ClaimCounts(state.round, young, voters, heard)
    for device, claim in state.devices_ahead.items():
        if roster is None or device in roster:
            counts = counts.having(claim, 1)
    return counts


def claiming(state: "Federation", device: str, seen: RoundId | None) -> "Federation":
    """The state in which a device claims a round, or nothing any more.

    Its counts are those of the state before, with one claim changed; of another round they are counted anew.
    """
    before, counts = state.devices_ahead.get(device), state.claims
    ahead = state.devices_ahead
    state = replace(state, devices_ahead=ahead.drop(device) if seen is None else ahead.put(device, seen))
    if counts is None or counts.round != state.round:
        return replace(state, claims=counted(state))
    if state.roster is not None and device not in state.roster:
        return state
    return replace(state, claims=counts.having(before, -1).having(seen, 1))


def heard(before: "Federation", state: "Federation", device: str) -> "Federation":
    """The state with the counts after a device's status, which may be its first.

    Args:
        before: the state before the status.
        state: the state after it.
        device: whose status it is.
    """
    counts = state.claims
    if counts is None or (state.roster is not None and device not in state.roster):
        return state
    known = device in before.voters or (counts.young and state.roster is not None)
    if known and device in before.fleet:
        return state
    counts = replace(
        counts, voters=counts.voters + (not known), heard=counts.heard + (device not in before.fleet)
    )
    return replace(state, claims=counts)
