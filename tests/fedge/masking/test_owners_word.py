"""What a device's owner asks for, and what a device no longer has once its update is masked."""

import pytest

from benchmarks.masked_cohort import PHASES, Cohort, paper_identities, terms_of
from fedge.masking import device
from fedge.masking.device_state import Announced, Device, Effect, Mark, Refuse, Stage, UnmaskedAsked, Wanted
from fedge.masking.keys import secrets_of
from fedge.masking.messages import Terms
from fedge.masking.refusals import Why
from fedge.masking.server_state import Phase, Summed

NAME = "d0001"


def answer(wanted: Wanted, terms: Terms) -> list[Effect]:
    return device.step(Device(NAME, wanted), Announced(terms, bytes(32)), paper_identities(NAME))[1]


def refused(wanted: Wanted, terms: Terms) -> Why | None:
    last = answer(wanted, terms)[-1]
    return last.refusal.why if isinstance(last, Refuse) else None


def test_a_cohort_that_is_too_small_for_the_owner() -> None:
    """Three devices, two of them the server's, would hide nothing."""
    assert refused(Wanted(least_devices=6), terms_of(5)) is Why.SMALL_COHORT
    assert refused(Wanted(least_devices=6), terms_of(6)) is None


def test_a_cohort_with_devices_that_the_server_has_enrolled_itself() -> None:
    known = frozenset(terms_of(5).cohort)
    assert refused(Wanted(known=known), terms_of(5)) is None
    assert refused(Wanted(known=known), terms_of(6)) is Why.STRANGER
    assert refused(Wanted(), terms_of(6)) is None


def test_no_unmasked_update_of_the_masked_round_nor_of_one_before_it() -> None:
    """Unmasked later, the update of a masked round would be known after all."""
    state = Device(NAME, mark=Mark(2, 5, 0, Stage.SIGNED))
    for asked in ((2, 5), (2, 4), (1, 9)):
        (effect,) = device.step(state, UnmaskedAsked(*asked), paper_identities(NAME))[1]
        assert isinstance(effect, Refuse), asked
        assert effect.refusal.why is Why.SWITCHED_OFF
    for asked in ((2, 6), (3, 0)):
        (effect,) = device.step(state, UnmaskedAsked(*asked), paper_identities(NAME))[1]
        assert not isinstance(effect, Refuse), asked


@pytest.mark.parametrize("lost", PHASES[3:])
def test_secrets_are_gone_with_the_masked_update_and_shares_with_the_last_message(lost: Phase) -> None:
    """Who gets hold of the device afterwards, and has recorded its messages, cannot take the masks off."""
    cohort = Cohort(terms_of(6))
    assert isinstance(cohort.run({lost: frozenset({0})}), Summed)
    for name in cohort.terms.cohort:
        attempt = cohort.states[name].attempt
        assert attempt is not None
        assert attempt.stage >= Stage.MASKED
        assert attempt.entropy == b""
        assert (attempt.held == {}) == (attempt.stage == Stage.REVEALED)
    with pytest.raises(ValueError, match="0 random bytes"):
        secrets_of(b"", cohort.terms)
