"""What broker and server may tell one device that is not true, and the reason with which it refuses.

A lie is told before the truth. A device that refuses changes nothing, so it goes on with the truth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.masked_cohort import Cohort, terms_of
from benchmarks.masked_identities import Certified
from fedge.identity.ed25519 import SIGNATURE_BYTES
from fedge.masking import statements
from fedge.masking.device_state import Announced, Event, Received, UnmaskedAsked
from fedge.masking.keys import pieces_of
from fedge.masking.messages import (
    ADVERTISED_BYTES,
    SEALED_BYTES,
    Agreement,
    Delivery,
    MaskedInput,
    MaskingMessage,
    Roster,
    Share,
    Survivors,
)
from fedge.masking.refusals import Why
from fedge.masking.server_state import Failed, Summed

DEVICES, VICTIM, PLACE = 6, "d0001", 1
Change = Callable[[Cohort, MaskingMessage], MaskingMessage]


class Lied(Cohort):
    """One device is told something else, before it is told the truth."""

    lie: Change | None = None
    kind: type[MaskingMessage] = MaskingMessage
    before: Sequence[Event] = ()
    """What it is told between its advertisement and the roster."""

    def tell(self, name: str, event: Event) -> list[MaskingMessage]:
        """Tell the lie first."""
        if name == VICTIM and isinstance(event, Received):
            if isinstance(event.message, Roster):
                for false in self.before:
                    assert not super().tell(name, false)
            if self.lie is not None and isinstance(event.message, self.kind):
                state = self.states[name]
                sent = super().tell(name, Received(self.lie(self, event.message)))
                assert not sent or self.states[name].attempt != state.attempt, "a refusal sends nothing"
        return super().tell(name, event)


@dataclass(frozen=True)
class Lie:
    """A lie, and what the device answers to it, and to the truth if it has gone on with the lie."""

    name: str
    kind: type[MaskingMessage]
    change: Change | None
    whys: tuple[Why, ...]
    before: tuple[Event, ...] = ()


def told(lie: Lie, seed: int = 0) -> tuple[tuple[Why, ...], Summed | Failed]:
    """What the victim refuses, and how the attempt ends when it is told the truth afterwards."""
    terms = terms_of(DEVICES)
    cohort = Lied(terms, seed, Certified(terms.federation, terms.cohort))
    cohort.kind, cohort.lie, cohort.before = lie.kind, lie.change, lie.before
    found = cohort.run()
    assert {name for name, _ in cohort.refused} <= {VICTIM}, "nobody else refuses"
    if isinstance(found, Summed):
        assert (found.levels == cohort.expected(found.devices)).all()
    return tuple(refusal.why for _, refusal in cohort.refused), found


def swapped(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
    """The keys of the first and third device change places."""
    assert isinstance(message, Roster)
    first, second, third, *rest = pieces_of(message.advertised, ADVERTISED_BYTES)
    return message.model_copy(update={"advertised": b"".join((third, second, first, *rest))})


def keys_at(at: int, keys: bytes | None = None) -> Change:
    """Other keys of the device at a place; None: those of the first device."""

    def change(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
        assert isinstance(message, Roster)
        pieces = pieces_of(message.advertised, ADVERTISED_BYTES)
        pieces[at] = pieces[0] if keys is None else keys
        return message.model_copy(update={"advertised": b"".join(pieces)})

    return change


def fewer_members(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
    """A roster of one device less than the threshold."""
    assert isinstance(message, Roster)
    few = cohort.terms.threshold - 1
    change = {
        "members": statements.bitmap(range(few), DEVICES),
        "advertised": message.advertised[: few * ADVERTISED_BYTES],
        "signatures": message.signatures[: few * SIGNATURE_BYTES],
    }
    return message.model_copy(update=change)


def sealed_at(at: int, by: bytes | None = None) -> Change:
    """Other bytes in the place of what a neighbour has sealed; None: one bit of them."""

    def change(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
        assert isinstance(message, Delivery)
        pieces = pieces_of(message.sealed, SEALED_BYTES)
        pieces[at] = by or bytes([pieces[at][0] ^ 1]) + pieces[at][1:]
        return message.model_copy(update={"sealed": b"".join(pieces)})

    return change


def repeated(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
    """What the first neighbour has sealed stands for the third one, too."""
    assert isinstance(message, Delivery)
    return sealed_at(2, message.sealed[:SEALED_BYTES])(cohort, message)


def of_an_earlier_attempt(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
    """What the same neighbour sealed for the same device in another attempt of the round."""
    earlier = Cohort(terms_of(DEVICES, attempt=1), seed=0)
    earlier.run()
    share = earlier.seen["d0003", Share.TYPE]
    assert isinstance(share, Share)
    return sealed_at(2, pieces_of(share.sealed, SEALED_BYTES)[PLACE])(cohort, message)


def without_a_sharer(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
    """Fewer sharers than the threshold."""
    assert isinstance(message, Delivery)
    few = cohort.terms.threshold - 1
    body = message.sealed[: (few - 1) * SEALED_BYTES]
    return message.model_copy(update={"sharers": statements.bitmap(range(few), DEVICES), "sealed": body})


def another_attempt(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
    """The same message, for other terms."""
    return message.model_copy(update={"terms": statements.digest(terms_of(DEVICES, attempt=1))})


def survivors(alive: Sequence[int], dead: Sequence[int]) -> Change:
    """Other survivors."""

    def change(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
        assert isinstance(message, Survivors)
        bits = {"alive": statements.bitmap(alive, DEVICES), "dead": statements.bitmap(dead, DEVICES)}
        return message.model_copy(update=bits)

    return change


def unasked(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
    """A signature of the sharers, which six devices do not need."""
    assert isinstance(message, Survivors)
    first = cohort.seen["d0000", MaskedInput.TYPE]
    assert isinstance(first, MaskedInput)
    return message.model_copy(update={"signatures": first.signature})


def forged(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
    """The last byte of the last signature is another one."""
    assert isinstance(message, Agreement | Roster)
    last = bytes([message.signatures[-1] ^ 1])
    return message.model_copy(update={"signatures": message.signatures[:-1] + last})


def fewer_signers(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
    """True signatures of one device less than the threshold."""
    assert isinstance(message, Agreement)
    few = cohort.terms.threshold - 1
    change = {
        "signers": statements.bitmap(range(few), DEVICES),
        "signatures": message.signatures[: few * SIGNATURE_BYTES],
    }
    return message.model_copy(update=change)


def one_signer_twice(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
    """The signature of the first device stands for the third one, too."""
    assert isinstance(message, Agreement)
    first, own, _, *rest = pieces_of(message.signatures, SIGNATURE_BYTES)
    return message.model_copy(update={"signatures": b"".join((first, own, first, *rest))})


EVERYONE = range(DEVICES)
FOREIGN = bytes(range(ADVERTISED_BYTES))
LIES = (
    Lie("keys of two devices swapped", Roster, swapped, (Why.BAD_SIGNATURE,)),
    Lie("the server's keys for another device", Roster, keys_at(3, FOREIGN), (Why.BAD_SIGNATURE,)),
    Lie(
        "the server's keys for the device itself",
        Roster,
        keys_at(1, FOREIGN),
        (Why.OWN_KEY_CHANGED,),
    ),
    Lie("one key for two devices", Roster, keys_at(3), (Why.DUPLICATE_KEY,)),
    Lie("a forged signature of keys", Roster, forged, (Why.BAD_SIGNATURE,)),
    Lie("a roster of too few", Roster, fewer_members, (Why.TOO_FEW,)),
    Lie("an altered share", Delivery, sealed_at(2), (Why.ALTERED_SHARE, Why.WRONG_PHASE)),
    Lie("a share of another device", Delivery, repeated, (Why.ALTERED_SHARE, Why.WRONG_PHASE)),
    Lie("a share of another attempt", Delivery, of_an_earlier_attempt, (Why.ALTERED_SHARE, Why.WRONG_PHASE)),
    Lie("too few sharers", Delivery, without_a_sharer, (Why.TOO_FEW,)),
    Lie("a survivor who is dead as well", Survivors, survivors(EVERYONE, [5]), (Why.ALIVE_AND_DEAD,)),
    Lie("a sharer left out", Survivors, survivors(range(5), []), (Why.NOT_A_SHARER,)),
    Lie("the device itself is dead", Survivors, survivors([0, 2, 3, 4, 5], [1]), (Why.NOT_A_SHARER,)),
    Lie("too few survivors", Survivors, survivors(range(4), [4, 5]), (Why.TOO_FEW,)),
    Lie("a signature that is not asked for", Survivors, unasked, (Why.MALFORMED,)),
    Lie(
        "two survivor sets",
        Survivors,
        survivors(range(5), [5]),
        (Why.TWO_SURVIVOR_SETS, Why.MALFORMED),
    ),
    Lie("an agreement of too few", Agreement, fewer_signers, (Why.TOO_FEW,)),
    Lie("a forged agreement", Agreement, forged, (Why.BAD_SIGNATURE,)),
    Lie("one signature for two devices", Agreement, one_signer_twice, (Why.BAD_SIGNATURE,)),
    *(
        Lie(f"a {kind.TYPE} of another attempt", kind, another_attempt, (Why.OTHER_ATTEMPT,))
        for kind in (Roster, Delivery, Survivors, Agreement)
    ),
    Lie(
        "another model for the same attempt",
        MaskingMessage,
        None,
        (Why.OTHER_TERMS,),
        (Announced(terms_of(DEVICES, base=bytes(32)), bytes(32)),),
    ),
    Lie(
        "masking switched off in the middle",
        MaskingMessage,
        None,
        (Why.SWITCHED_OFF,),
        (UnmaskedAsked(1, 1),),
    ),
)
"""After "two survivor sets" the agreement names a signer that is no survivor of the set that was signed."""
