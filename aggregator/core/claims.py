"""Compare the rounds that devices claim to have seen with the ledger; no single device decides. Pure.

A claim is the round in a device's status. A device says it of itself, so its influence is bounded:

* **How far.** Claims of at most one generation, or `MORE_ROUNDS` rounds, beyond the ledger are believed. A
  claim beyond that is no evidence at all, and its device is named in the log.
* **By how many.** More than half of the devices that the ledger knows must claim it, whether they have sent a
  status or not. If a claim is open and fewer than half of them have, the aggregator waits for the others, for
  `HEARING_S`.
* **A young ledger**, in which no round is closed, knows no devices and no bounds, but it must not start a
  federation anew that has learnt something. Here two devices are believed if they are at least half of those
  heard.

Claims move the number of the next generation at most one beyond what is believed. An announcement is no
claim: only the aggregator may write its topic, so it stops an older ledger by itself. It proves a number only
if it is signed. Without a signature it moves the number by at most `MORE_GENERATIONS`, so that a forger
cannot use up the numbers.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from fedge.wire.freshness import RoundId

MORE_ROUNDS = 1_000
MORE_GENERATIONS = 1_000
HEARING_S = 60.0
"""How long to wait for silent devices, from when retained messages began to arrive."""
NOTHING = RoundId(0, 0)
"""No round has been seen."""
OTHERS_MAY_COME = (
    "No round is closed in this ledger, so nobody is known who is to be heard: looking again, and listening "
    "for others before that is final"
)
"""Added to the message when an aggregator stops that began with an empty ledger."""
SHOWN = 5
"""The largest number of devices named in one line."""


@dataclass(frozen=True)
class Known:
    """What a ledger knows."""

    round: RoundId | None = None
    """The one that is open or would be next; None: the ledger is new."""
    devices: frozenset[str] = frozenset()
    """The devices that have sent it a status."""
    young: bool = True
    """No round is closed in it."""
    roster: frozenset[str] | None = None
    """The devices whose claims count; None: all."""

    @property
    def voters(self) -> frozenset[str]:
        """The devices to hear."""
        if self.roster is None:
            return self.devices
        return self.roster if self.young else self.devices & self.roster


@dataclass(frozen=True)
class Assessment:
    """Whether the claims so far fit the ledger, and what to believe of them."""

    outcome: Literal["fits", "behind", "undecided"]
    """`undecided`: so many claim that the ledger is old that the silent devices could make it certain."""
    open: bool = False
    """Whether it is worth waiting for the silent devices."""
    believed: RoundId | None = None
    """The newest round that enough devices claim, if the ledger does not know it."""
    newer: Mapping[str, RoundId] = field(default_factory=dict)
    """The devices that claim to have seen more than the ledger knows, as far as claims count."""
    incredible: Mapping[str, RoundId] = field(default_factory=dict)
    """The devices with impossible claims."""
    text: str = ""
    """Who said what, in words."""


def is_near(claim: RoundId, known: RoundId) -> bool:
    """Whether a fleet can have advanced from one round to another while a ledger was away."""
    if claim.generation == known.generation:
        return claim.round <= known.round + MORE_ROUNDS
    return claim.generation == known.generation + 1 and claim.round <= MORE_ROUNDS


def is_far(announced: RoundId, known: RoundId | None) -> bool:
    """Whether probably no aggregator has ever announced a round, given the ledger's round."""
    if known is None:  # of a folder that was wiped
        return announced.generation > MORE_GENERATIONS
    return not is_near(announced, known)


def assess(known: Known, spoken: Collection[str], claims: Mapping[str, RoundId]) -> Assessment:
    """Whether a ledger is older than what its fleet has seen.

    Args:
        known: what the ledger knows.
        spoken: the devices that have told their status.
        claims: the newest round that each of them has seen; those without one claim nothing.
    """
    here = known.round or NOTHING
    newer = {
        device: claim
        for device, claim in sorted(claims.items())
        if claim > here and (known.roster is None or device in known.roster)
    }
    far = {device: claim for device, claim in newer.items() if not is_near(claim, here)}
    if not known.young:
        newer = {
            device: claim for device, claim in newer.items() if device in known.voters and device not in far
        }
    if not newer:
        return Assessment("fits", incredible=far)

    voters = known.voters
    heard = len(voters.intersection(spoken))
    silent = sorted(voters.difference(spoken))
    halfway = bool(voters) and 2 * heard >= len(voters)
    text, enough = _testimony(known, spoken, newer)
    believed = sorted(newer.values(), reverse=True)[enough - 1] if len(newer) >= enough else None
    if known.young:
        if believed is None:
            return Assessment("fits", not halfway, None, newer, far, text)
        # Where nobody is known, others may still come, and say that there is nothing.
        if halfway or not voters:
            return Assessment("behind", not halfway, believed, newer, {}, text)
    else:
        if believed is not None:
            return Assessment("behind", False, believed, newer, far, text)
        if halfway:
            return Assessment("fits", False, None, newer, far, text)
        if len(newer) == 1 or 2 * len(newer) < heard:
            return Assessment("fits", True, None, newer, far, text)
    return Assessment("undecided", True, None, newer, far, f"{text}; not heard yet: {listing(silent)}")


def _testimony(known: Known, spoken: Collection[str], newer: Mapping[str, RoundId]) -> tuple[str, int]:
    """A text on who claims what, and how many are needed to be believed."""
    if known.young:
        listed = len(spoken if known.roster is None else known.roster.intersection(spoken))
        enough, of = max(2, (listed + 1) // 2), f"{listed} devices heard"
    else:
        enough, of = len(known.voters) // 2 + 1, f"{len(known.voters)} devices that this ledger knows"
    who = f"{len(newer)} of the {of}"
    if known.round is None:
        return f"{who} say that they have seen rounds: {named(newer)}; and this ledger is new", enough
    return f"{who} say that they have seen rounds after {known.round}: {named(newer)}", enough


def next_generation(
    known: Known, claims: Mapping[str, RoundId], found: Assessment, announced: RoundId, *, signed: bool
) -> int:
    """The generation after everything that is believed; it may be too large a number.

    Args:
        known: what the ledger knows.
        claims: what devices claim to have seen.
        found: what `assess` made of them.
        announced: the round of the retained announcement.
        signed: its signature was verified, and is ours.
    """
    own = (known.round or NOTHING).generation
    sworn = [own, announced.generation] if signed else [own]
    told = [announced.generation, (found.believed or NOTHING).generation]
    base = max([*sworn, *(number for number in told if number <= own + MORE_GENERATIONS)])
    near = (claim.generation for claim in claims.values() if claim.generation <= base + 1)
    return max([base, *near]) + 1


def named(claims: Mapping[str, RoundId]) -> str:
    """Who said what, in words."""
    return listing([f"{device} ({claim})" for device, claim in claims.items()])


def listing(words: Collection[str]) -> str:
    """The first of them, and whether there are more."""
    first = list(words)[:SHOWN]
    more = len(words) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


def incredible_text(claims: Mapping[str, RoundId], known: RoundId | None) -> str:
    """The message for the operator on devices with impossible claims."""
    here = "is new" if known is None else f"knows {known}"
    return (
        f"not believed, as the newest round seen: {named(claims)}. This ledger {here}, and at most one "
        f"generation or {MORE_ROUNDS} rounds more can be. A device that really holds such a number, because "
        "somebody announced it, takes part again after `fedge-agent forget-rounds` there; where models are "
        "signed, `fedge rotate-key` reaches all"
    )


def outdated_text(incredible: Mapping[str, RoundId], known: Known) -> str:
    """Added for the operator if most devices have impossible claims: this may be a very old copy.

    It is only a hint: as many liars could claim rounds that none can follow.
    """
    own = (known.round or NOTHING).generation
    reached = [device for device, claim in incredible.items() if claim.generation <= own + 1]
    return outdated_hint(len(known.voters.intersection(reached)), len(known.voters))


def outdated_hint(distant: int, voters: int) -> str:
    """As `outdated_text`, of devices that are counted already."""
    if 2 * distant <= voters:
        return ""
    return (
        f". So say {distant} of the {voters} devices that this ledger knows: if it is an old copy, restore "
        "the newest one, or run once with --new-generation"
    )


def behind_text(who: str) -> str:
    """The message for an operator whose ledger is older than the fleet, with the ways on."""
    return (
        f"this ledger is older than what the fleet has seen: {who}. Was the state folder wiped, or restored "
        "from an old backup? Either restore the newest copy of it, or run once with --new-generation to "
        "begin anew with the devices following (to go on with the model of this ledger instead: "
        "`fedge-aggregator new-generation --keep-model`)"
    )


def forged_text(announced: RoundId, topic: str) -> str:
    """The message for the operator on an unsigned announcement that is far from what the ledger knows."""
    return (
        f"round {announced} was announced, without a signature, and is far from what this ledger knows. If "
        f"nobody here has announced it, clear the retained {topic!r} and look who may write there"
    )


def undecided_text(who: str) -> str:
    """The message for the operator if too few devices have sent a status."""
    return (
        f"this ledger may be older than what the fleet has seen: {who}. Looking again later, when more "
        "devices have spoken; to go on now, restore the newest copy of the state folder, or run once with "
        "--new-generation"
    )
