"""The budget: which releases a federation has paid for, and whether it may make one more. Pure.

Before anything leaves that depends on devices' rows, the program asks `charge`. It makes the returned history
durable, and only then releases. So a crash in between costs a release that nobody saw, and never gives one
that nobody counted. Each charge is for one noised sum; the declared training is for so many of them.

**It fails closed.** A history that is lost, damaged, older than what was released, or another one than what
was released, gets a refusal, and learning stops. What was released is told by a `Witness` from outside of the
program's own disk: the number and digest of the newest charge are to stand in each announcement, which the
broker retains and devices keep. A program that can reach no witness is refused too. Each charge's digest
covers all charges before it, so two histories with the same digest are the same.

A closed round may be released again after a crash: the same updates and the same seed give the same bits,
which tell nothing new. With other updates, or a new attempt, it is another release.

The budget belongs to the devices, and not to a generation: a new generation goes on with the same history.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any

from fedge.privacy.accountant import Training, guarantee


class Reason(StrEnum):
    """Why a release is refused."""

    MISSING = "missing"
    """There is no history, and something was released, or nobody can say."""
    DAMAGED = "damaged"
    """The history cannot be read, or contradicts itself."""
    UNWITNESSED = "unwitnessed"
    """No witness can be reached."""
    BEHIND = "behind"
    """The history has fewer charges than were released: it is from an older backup."""
    FORKED = "forked"
    """The history has other charges than those that were released."""
    CHANGED = "changed"
    """What is declared is not what the history was begun with."""
    REPLAYED = "replayed"
    """The round has been charged before, or a later one has."""
    COHORT = "cohort"
    """More devices than declared."""
    SPENT = "spent"
    """All declared releases have been charged."""


@dataclass(frozen=True)
class Refusal:
    """Nothing may be released."""

    reason: Reason
    text: str
    """For people: what is wrong, and what to do."""


@dataclass(frozen=True)
class Declared:
    """What the owners of devices were told; it never changes for a history."""

    epsilon: float
    delta: float
    training: Training
    """The mechanism, its noise and its rounds."""
    clip: float
    """S; with a clip that adapts, that of the first round."""
    cohort: int
    """m, the most devices of a round, and the denominator."""

    @property
    def key(self) -> str:
        """A digest of all of it."""
        return _digest(asdict(self))

    def require_affordable(self) -> None:
        """Check that the declared rounds stay within (ε, δ).

        Raises:
            ConfigError: dp-accounting is not installed.
            ValueError: they do not; the text says what they cost.
        """
        cost = guarantee(self.training, self.delta)
        if not cost.epsilon <= self.epsilon:
            raise ValueError(
                f"ε = {self.epsilon:g} is declared, and the training costs {cost}: more noise or fewer rounds"
            )


@dataclass(frozen=True, order=True)
class Position:
    """Where in the federation's life a release is; positions only grow."""

    generation: int
    round: int
    attempt: int

    def __str__(self) -> str:
        return f"round {self.generation}.{self.round}, attempt {self.attempt}"


@dataclass(frozen=True)
class Release:
    """What is to be released."""

    position: Position
    inputs: str
    """A digest of all that the result follows from: the set of updates, the base, and the noise's seed."""
    devices: int
    """The number of updates."""


@dataclass(frozen=True)
class Charge:
    """A release that has been paid for."""

    position: Position
    inputs: str
    digest: str
    """Of the charge before, or of what is declared, and of this one."""


@dataclass(frozen=True)
class Witness:
    """What was released, as those know who received it."""

    charges: int
    """The number of the newest charge that was released; 0: nothing was."""
    digest: str = ""
    """Its digest."""


@dataclass(frozen=True)
class History:
    """All charges, in their order. Only this module makes one."""

    declared: str
    """The `Declared.key`."""
    charges: tuple[Charge, ...] = field(default=())

    @property
    def witness(self) -> Witness:
        """What an announcement tells when the newest charge is released."""
        return Witness(len(self.charges), self.charges[-1].digest) if self.charges else Witness(0)

    def text(self) -> str:
        """For the ledger."""
        return json.dumps({"declared": self.declared, "charges": [asdict(each) for each in self.charges]})


@dataclass(frozen=True)
class Charged:
    """The release is paid for: make the history durable, then release."""

    history: History
    again: bool
    """Whether it had been charged before, and a crash came between: the history is the same."""


def begin(declared: Declared, witness: Witness | None) -> History | Refusal:
    """The empty history of a federation that has released nothing."""
    if witness is None:
        return _unwitnessed()
    if witness.charges:
        return Refusal(
            Reason.MISSING,
            f"there is no privacy history, and {witness.charges} rounds have been released: restore the "
            "newest backup of the ledger. Devices that took part cannot begin anew",
        )
    return History(declared.key)


def read(text: str | None) -> History | Refusal:
    """The inverse of `History.text`; None: there is no text."""
    if text is None:
        return Refusal(Reason.MISSING, "there is no privacy history: restore the newest backup of the ledger")
    try:
        found: dict[str, Any] = json.loads(text)
        charges = tuple(
            Charge(Position(**each["position"]), str(each["inputs"]), str(each["digest"]))
            for each in found["charges"]
        )
        history = History(str(found["declared"]), charges)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return _damaged(repr(error))
    rebuilt = History(history.declared)
    for each in charges:
        rebuilt = _with(rebuilt, each.position, each.inputs)
        if rebuilt.charges[-1] != each:
            return _damaged(f"the digest of charge {len(rebuilt.charges)} is wrong")
    if any(later.position <= earlier.position for earlier, later in pairwise(charges)):
        return _damaged("the charges are not in order")
    return history


def charge(
    history: History, declared: Declared, release: Release, witness: Witness | None
) -> Charged | Refusal:
    """Pay for one release, before it is made.

    Args:
        history: as `begin`, `read` or the last `charge` returned it, from durable memory.
        declared: as configured now.
        release: what is to be released.
        witness: the one with the most charges that can be reached; None: none can.
    """
    spent, last = len(history.charges), history.charges[-1] if history.charges else None
    refusal = _witnessed(history, witness) or _declared(history, declared, release)
    if refusal is not None:
        return refusal
    if last is not None and (last.position, last.inputs) == (release.position, release.inputs):
        return Charged(history, True)
    if last is not None and release.position <= last.position:
        return Refusal(
            Reason.REPLAYED,
            f"{release.position}: {last.position} has been charged already. Other updates need a new "
            "attempt, with a new seed",
        )
    if spent >= declared.training.rounds:
        return Refusal(
            Reason.SPENT,
            f"{release.position}: all {declared.training.rounds} declared releases have been charged "
            f"(ε = {declared.epsilon:g} at δ = {declared.delta:g}): learning ends here",
        )
    return Charged(_with(history, release.position, release.inputs), False)


def _witnessed(history: History, witness: Witness | None) -> Refusal | None:
    """Why what was released contradicts the history; None: it does not."""
    if witness is None:
        return _unwitnessed()
    spent = len(history.charges)
    if spent < witness.charges:
        return Refusal(
            Reason.BEHIND,
            f"the privacy history has {spent} charges, and {witness.charges} rounds have been released: it "
            "is from an older backup. Restore the newest one",
        )
    if witness.charges and history.charges[witness.charges - 1].digest != witness.digest:
        return Refusal(
            Reason.FORKED,
            f"charge {witness.charges} of the privacy history is not the one that was released: the ledger "
            "is that of another federation, or went on from an older backup. Restore the newest one",
        )
    return None


def _declared(history: History, declared: Declared, release: Release) -> Refusal | None:
    """Why what is configured contradicts what was declared; None: it does not."""
    if history.declared != declared.key:
        return Refusal(
            Reason.CHANGED,
            "the privacy settings are not those that the history was begun with: set them back; what devices "
            "were told cannot change",
        )
    if release.devices > declared.cohort:
        return Refusal(
            Reason.COHORT,
            f"{release.position}: {release.devices} devices, and a cohort of {declared.cohort} is declared",
        )
    return None


def _with(history: History, position: Position, inputs: str) -> History:
    before = history.charges[-1].digest if history.charges else history.declared
    digest = _digest([before, asdict(position), inputs])
    return replace(history, charges=(*history.charges, Charge(position, inputs, digest)))


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _damaged(why: str) -> Refusal:
    return Refusal(
        Reason.DAMAGED, f"the privacy history is damaged ({why}): restore the newest backup of the ledger"
    )


def _unwitnessed() -> Refusal:
    return Refusal(
        Reason.UNWITNESSED,
        "neither the broker's announcement nor a device tells how many rounds have been released: wait until "
        "one does",
    )
