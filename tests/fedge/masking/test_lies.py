"""What broker and server may lie about: each lie is refused with its reason, and nothing else changes."""

import pytest

from benchmarks.masked_cohort import Cohort, paper_identities, terms_of
from benchmarks.masked_identities import Certified
from benchmarks.masked_lies import DEVICES, LIES, VICTIM, Lie, Lied, told
from fedge.masking import device, statements
from fedge.masking.device_state import (
    AllowUnmasked,
    Announced,
    Device,
    Event,
    Refuse,
    Stage,
    UnmaskedAsked,
    Wanted,
)
from fedge.masking.messages import MaskingMessage, Survivors
from fedge.masking.refusals import Why
from fedge.masking.server_state import Failed, Summed

N = DEVICES


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name)
def test_faults_75_and_76_a_lie_is_refused_and_the_truth_afterwards_is_not(lie: Lie) -> None:
    """With n - 1 signatures there are enough without the device that signed other survivors first."""
    whys, found = told(lie)
    assert whys == lie.whys
    assert isinstance(found, Summed)


def test_who_signed_the_first_of_two_survivor_sets_reveals_nothing_of_the_other() -> None:
    (lie,) = (each for each in LIES if each.name == "two survivor sets")
    cohort = Lied(terms_of(N), identities=Certified("pumps", terms_of(N).cohort))
    cohort.kind, cohort.lie = lie.kind, lie.change
    assert isinstance(cohort.run(), Summed)
    assert cohort.states[VICTIM].mark.stage == Stage.SIGNED


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
                return sets_for(message)
            return message

    def sets_for(message: Survivors) -> MaskingMessage:
        bits = {"alive": statements.bitmap(range(5), N), "dead": statements.bitmap([5], N)}
        return message.model_copy(update=bits)

    found = Halves(terms_of(N)).run()
    assert isinstance(found, Failed)
    assert (found.refusal.why, found.spent) == (Why.TOO_FEW, True)
