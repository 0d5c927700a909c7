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

import json
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

from fedge.privacy.charges import (
    Charge,
    Charged,
    Declared,
    History,
    Position,
    Reason,
    Refusal,
    Release,
    Witness,
    digest_of,
)

__all__ = [
    "Charge",
    "Charged",
    "Declared",
    "History",
    "Position",
    "Reason",
    "Refusal",
    "Release",
    "Witness",
    "begin",
    "charge",
    "read",
    "resume",
]


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


def resume(
    history: History | Refusal, declared: Declared, witness: Witness | None, *, room: bool = True
) -> History | Refusal:
    """Whether a program that starts may go on with a history; it is asked before a round is announced.

    Args:
        history: as `begin` or `read` returned it.
        declared: as configured now.
        witness: as in `charge`.
        room: whether at least one release must be left.
    """
    if isinstance(history, Refusal):
        return history
    refusal = _witnessed(history, witness) or _changed(history, declared)
    if refusal is None and room and len(history.charges) >= declared.releases:
        refusal = _spent("a further round", declared)
    return refusal or history


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
    if spent >= declared.releases:
        return _spent(str(release.position), declared)
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
    if (refusal := _changed(history, declared)) is not None:
        return refusal
    if release.devices > declared.cohort:
        return Refusal(
            Reason.COHORT,
            f"{release.position}: {release.devices} devices, and a cohort of {declared.cohort} is declared",
        )
    return None


def _changed(history: History, declared: Declared) -> Refusal | None:
    if history.declared == declared.key:
        return None
    return Refusal(
        Reason.CHANGED,
        "the privacy settings are not those that the history was begun with: set them back; what devices "
        "were told cannot change",
    )


def _spent(what: str, declared: Declared) -> Refusal:
    return Refusal(
        Reason.SPENT,
        f"{what}: all {declared.releases} declared releases have been charged "
        f"(ε = {declared.epsilon:g} at δ = {declared.delta:g}): learning ends here",
    )


def _with(history: History, position: Position, inputs: str) -> History:
    before = history.charges[-1].digest if history.charges else history.declared
    digest = digest_of([before, asdict(position), inputs])
    return replace(history, charges=(*history.charges, Charge(position, inputs, digest)))


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
