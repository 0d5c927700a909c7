"""What broker and server may lie about: each lie is refused with its reason, and nothing else changes."""

from collections.abc import Callable

import pytest

from benchmarks.masked_cohort import Cohort, paper_identities, real_identities, terms_of
from fedge.identity.ed25519 import SIGNATURE_BYTES
from fedge.masking import device, statements
from fedge.masking.device_state import (
    AllowUnmasked,
    Announced,
    Device,
    Event,
    Received,
    Refuse,
    Stage,
    UnmaskedAsked,
    Wanted,
)
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
    Terms,
)
from fedge.masking.refusals import Why
from fedge.masking.server_state import Failed, Summed

N, VICTIM = 6, "d0001"
Lie = Callable[[Cohort, MaskingMessage], MaskingMessage]


class Lied(Cohort):
    """One device is told something else, before it is told the truth."""

    lie: Lie | None = None
    kind: type[MaskingMessage] = MaskingMessage

    def tell(self, name: str, event: Event) -> list[MaskingMessage]:
        if name == VICTIM and isinstance(event, Received) and isinstance(event.message, self.kind):
            assert self.lie is not None
            before = self.states[name]
            sent = super().tell(name, Received(self.lie(self, event.message)))
            if self.states[name].attempt == before.attempt:
                assert not sent
        return super().tell(name, event)


def told(kind: type[MaskingMessage], lie: Lie, terms: Terms | None = None) -> list[Why]:
    """What the victim refuses; told the truth afterwards, it goes on and the sum is exact."""
    terms = terms or terms_of(N)
    cohort = Lied(terms, identities=real_identities(terms.cohort))
    cohort.kind, cohort.lie = kind, lie
    found = cohort.run()
    assert isinstance(found, Summed)
    assert (found.levels == cohort.expected(found.devices)).all()
    assert {name for name, _ in cohort.refused} <= {VICTIM}
    return [refusal.why for _, refusal in cohort.refused]


def changed_keys(message: MaskingMessage, at: int, keys: bytes) -> MaskingMessage:
    assert isinstance(message, Roster)
    pieces = pieces_of(message.advertised, ADVERTISED_BYTES)
    pieces[at] = keys
    return message.model_copy(update={"advertised": b"".join(pieces)})


def test_swapped_keys() -> None:
    def swap(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
        assert isinstance(message, Roster)
        first, second, third, *rest = pieces_of(message.advertised, ADVERTISED_BYTES)
        return message.model_copy(update={"advertised": b"".join((third, second, first, *rest))})

    assert told(Roster, swap) == [Why.BAD_SIGNATURE]


def test_a_foreign_key_in_the_place_of_anothers_and_of_its_own() -> None:
    foreign = bytes(range(96))
    assert told(Roster, lambda _, message: changed_keys(message, 3, foreign)) == [Why.BAD_SIGNATURE]
    assert told(Roster, lambda _, message: changed_keys(message, 1, foreign)) == [Why.OWN_KEY_CHANGED]


def test_fault_76_one_key_for_two_devices() -> None:
    def double(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
        assert isinstance(message, Roster)
        return changed_keys(message, 3, message.advertised[:ADVERTISED_BYTES])

    assert told(Roster, double) == [Why.DUPLICATE_KEY]


def test_a_roster_of_too_few() -> None:
    def few(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
        assert isinstance(message, Roster)
        bits = statements.bitmap(range(4), N)
        change = {"advertised": message.advertised[: 4 * 96], "signatures": message.signatures[: 4 * 64]}
        return message.model_copy(update={"members": bits, **change})

    assert told(Roster, few) == [Why.TOO_FEW]


def altered(at: int, by: bytes | None = None) -> Lie:
    """Other bytes in the place of what a neighbour has sealed."""

    def lie(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
        assert isinstance(message, Delivery)
        pieces = pieces_of(message.sealed, SEALED_BYTES)
        pieces[at] = by or bytes([pieces[at][0] ^ 1]) + pieces[at][1:]
        return message.model_copy(update={"sealed": b"".join(pieces)})

    return lie


def told_of_shares(by: bytes | None = None) -> None:
    """The device goes on without this share, and refuses another delivery."""
    assert told(Delivery, altered(2, by)) == [Why.ALTERED_SHARE, Why.WRONG_PHASE]


def test_an_altered_ciphertext() -> None:
    told_of_shares()


def test_a_share_of_another_attempt_and_one_that_is_repeated_from_another_device() -> None:
    earlier = Cohort(terms_of(N, attempt=1), seed=0)
    earlier.run()
    share = earlier.seen["d0003", Share.TYPE]
    assert isinstance(share, Share)
    told_of_shares(pieces_of(share.sealed, SEALED_BYTES)[1])

    def repeat(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
        assert isinstance(message, Delivery)
        return altered(2, message.sealed[:SEALED_BYTES])(cohort, message)

    assert told(Delivery, repeat) == [Why.ALTERED_SHARE, Why.WRONG_PHASE]


def test_a_message_of_another_attempt() -> None:
    other = statements.digest(terms_of(N, attempt=1))
    for kind in (Roster, Delivery, Survivors, Agreement):
        found = told(kind, lambda _, message: message.model_copy(update={"terms": other}))
        assert found == [Why.OTHER_ATTEMPT], kind


def sets(alive: list[int], dead: list[int]) -> Lie:
    def lie(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
        assert isinstance(message, Survivors)
        near = [place for place in alive if place != 1]
        signatures = [cohort.seen[f"d{place:04d}", MaskedInput.TYPE] for place in near]
        body = b"".join(each.signature for each in signatures if isinstance(each, MaskedInput))
        bits = {"alive": statements.bitmap(alive, N), "dead": statements.bitmap(dead, N)}
        return message.model_copy(update={**bits, "signatures": body})

    return lie


@pytest.mark.parametrize(
    ("alive", "dead", "why"),
    [
        ([0, 1, 2, 3, 4, 5], [5], Why.ALIVE_AND_DEAD),
        ([0, 1, 2, 3, 4], [], Why.NOT_A_SHARER),
        ([0, 2, 3, 4, 5], [1], Why.NOT_A_SHARER),
        ([0, 1, 2, 3], [4, 5], Why.TOO_FEW),
    ],
)
def test_fault_75_survivors_that_cannot_be(alive: list[int], dead: list[int], why: Why) -> None:
    assert told(Survivors, sets(alive, dead)) == [why]


def test_two_survivor_sets_to_one_device() -> None:
    """It signs the first, and refuses the second; so its signature is missing, and n - 1 are enough."""
    terms = terms_of(N)
    cohort = Lied(terms, identities=real_identities(terms.cohort))
    cohort.kind, cohort.lie = Survivors, sets([0, 1, 2, 3, 4], [5])
    assert isinstance(cohort.run(), Summed)
    whys = [refusal.why for name, refusal in cohort.refused if name == VICTIM]
    assert whys == [Why.TWO_SURVIVOR_SETS, Why.MALFORMED]
    assert cohort.states[VICTIM].mark.stage == Stage.SIGNED, "it has revealed nothing"


def test_a_survivor_that_has_masked_with_others() -> None:
    """Its neighbours see that it has not signed the sharers that they mask with."""

    def forged(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
        assert isinstance(message, Survivors)
        return message.model_copy(update={"signatures": message.signatures[:-1] + b"\0"})

    assert told(Survivors, forged) == [Why.BAD_SIGNATURE]


def test_an_agreement_of_too_few_or_with_forged_signatures() -> None:
    def few(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
        assert isinstance(message, Agreement)
        bits = statements.bitmap(range(4), N)
        return message.model_copy(
            update={"signers": bits, "signatures": message.signatures[: 4 * SIGNATURE_BYTES]}
        )

    def forged(cohort: Cohort, message: MaskingMessage) -> MaskingMessage:
        assert isinstance(message, Agreement)
        return message.model_copy(update={"signatures": bytes(len(message.signatures))})

    assert told(Agreement, few) == [Why.TOO_FEW]
    assert told(Agreement, forged) == [Why.BAD_SIGNATURE]


def refused(event: Event, state: Device | None = None) -> Why | None:
    state = state or Device(VICTIM)
    after, effects = device.step(state, event, paper_identities(VICTIM))
    (effect,) = effects if after is state else effects[:1]
    assert after is state or not isinstance(effect, Refuse)
    return effect.refusal.why if isinstance(effect, Refuse) else None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"threshold": 4}, Why.LOW_THRESHOLD),
        ({"threshold": 7}, Why.LOW_THRESHOLD),
        ({"threshold": 4, "server": "honest-but-curious"}, Why.WEAK_SERVER),
        ({"cohort": ("d0000", "d0002", "d0003")}, Why.NOT_CHOSEN),
        ({"round": 0}, None),
    ],
)
def test_terms_that_a_device_does_not_accept(changes: dict[str, object], why: Why | None) -> None:
    assert refused(Announced(terms_of(N, **changes), bytes(32))) == why


def test_too_low_a_threshold_is_so_for_either_kind_of_server_and_for_neighbours() -> None:
    trusting = Device(VICTIM, Wanted(trusts_server=True))
    for threshold, why in ((3, Why.LOW_THRESHOLD), (4, None)):
        terms = terms_of(N, threshold=threshold, server="honest-but-curious")
        assert refused(Announced(terms, bytes(32)), trusting) == why
    assert refused(Announced(terms_of(100, colluders=9), bytes(32))) == Why.LOW_THRESHOLD
    assert refused(Announced(terms_of(100, value_bits=16, max_weight=2**20), bytes(32))) is None


def test_fault_77_another_model_is_another_attempt() -> None:
    """Told both, a device refuses the second; told another than the others, it is left out."""
    other = terms_of(N, base=bytes(32))
    state, _ = device.step(Device(VICTIM), Announced(terms_of(N), bytes(32)), paper_identities(VICTIM))
    assert refused(Announced(other, bytes(32)), state) == Why.OTHER_TERMS

    class Other(Cohort):
        def tell(self, name: str, event: Event) -> list[MaskingMessage]:
            if name == VICTIM and isinstance(event, Announced):
                event = Announced(other, event.entropy)
            return super().tell(name, event)

    cohort = Other(terms_of(N))
    found = cohort.run()
    assert isinstance(found, Summed)
    assert VICTIM not in found.devices
    assert cohort.refused[0][1].why is Why.OTHER_ATTEMPT


def test_masking_is_switched_off_in_the_middle() -> None:
    state, _ = device.step(Device(VICTIM), Announced(terms_of(N), bytes(32)), paper_identities(VICTIM))
    assert refused(UnmaskedAsked(1, 1), state) == Why.SWITCHED_OFF
    assert refused(UnmaskedAsked(9, 9), Device(VICTIM, Wanted(always=True))) == Why.SWITCHED_OFF
    assert device.step(state, UnmaskedAsked(1, 2), paper_identities(VICTIM))[1] == [AllowUnmasked()]


def test_two_survivor_sets_to_two_halves_end_without_a_sum() -> None:
    class Halves(Cohort):
        def changed(self, to: str, message: MaskingMessage) -> MaskingMessage:
            if isinstance(message, Survivors) and to in ("d0000", "d0001", "d0002"):
                return sets_for(self, message, to)
            return message

    def sets_for(cohort: Cohort, message: Survivors, to: str) -> MaskingMessage:
        near = [place for place in range(5) if f"d{place:04d}" != to]
        each = [cohort.seen[f"d{place:04d}", MaskedInput.TYPE] for place in near]
        body = b"".join(one.signature for one in each if isinstance(one, MaskedInput))
        bits = {"alive": statements.bitmap(range(5), N), "dead": statements.bitmap([5], N)}
        return message.model_copy(update={**bits, "signatures": body})

    found = Halves(terms_of(N)).run()
    assert isinstance(found, Failed)
    assert (found.refusal.why, found.spent) == (Why.TOO_FEW, True)
