"""The sum is exact with every number of lost devices up to the threshold, and there is none beyond it."""

import pytest

from benchmarks.masked_cohort import PHASES, Cohort, terms_of
from fedge.masking.messages import Unmask
from fedge.masking.refusals import Why
from fedge.masking.server_state import Failed, Phase, Summed
from fedge.masking.sharing import SHARE_BYTES
from fedge.masking.thresholds import neighbourhood


def summed(cohort: Cohort, lost: dict[Phase, frozenset[int]]) -> Summed:
    found = cohort.run(lost)
    assert isinstance(found, Summed), found
    assert (found.levels == cohort.expected(found.devices)).all()
    assert found.weight == sum(cohort.weights[name] for name in found.devices)
    assert not cohort.refused
    return found


@pytest.mark.parametrize("devices", [3, 4, 5, 7, 10])
@pytest.mark.parametrize("phase", PHASES)
def test_fault_74_devices_are_lost_in_each_phase(devices: int, phase: Phase) -> None:
    """t = ⌊2n/3⌋ + 1. Who is lost after its masked update has come still counts."""
    most = devices - terms_of(devices).threshold
    for count in range(most + 1):
        found = summed(Cohort(terms_of(devices), count), {phase: frozenset(range(count))})
        counted = devices if phase in (Phase.CONSISTENCY, Phase.UNMASK) else devices - count
        assert len(found.devices) == counted
    failed = Cohort(terms_of(devices)).run({phase: frozenset(range(most + 1))})
    assert isinstance(failed, Failed)
    assert (failed.refusal.why, failed.phase) == (Why.TOO_FEW, phase)
    assert failed.spent == (phase in (Phase.CONSISTENCY, Phase.UNMASK))


def test_devices_are_lost_in_all_phases_and_weights_differ() -> None:
    lost = {phase: frozenset({3 * at}) for at, phase in enumerate(PHASES)}
    found = summed(Cohort(terms_of(16, size=33, max_weight=500)), lost)
    assert len(found.devices) == 13


@pytest.mark.parametrize("devices", [65, 90])
def test_above_64_devices_neighbours_share(devices: int) -> None:
    """A tenth is lost: some before their masked update, some after it."""
    cohort = Cohort(terms_of(devices), seed=devices)
    most = devices // 10
    lost = {Phase.INPUT: frozenset(range(most // 2)), Phase.UNMASK: frozenset(range(most // 2, most))}
    assert len(summed(cohort, lost).devices) == devices - most // 2
    size = neighbourhood(devices, devices // 10, devices // 10)
    assert size is not None
    assert cohort.server.roster is not None
    assert len(cohort.server.roster.graph.neighbours(0)) == size.degree < devices - 1


class WrongShares(Cohort):
    """Some devices reveal a wrong share of each secret."""

    liars: frozenset[str] = frozenset()

    def receive(self, name: str, message: object) -> None:
        if isinstance(message, Unmask) and name in self.liars:
            wrong = bytes(SHARE_BYTES - 1) + b"\7"
            message = message.model_copy(update={"shares": wrong * (len(message.shares) // SHARE_BYTES)})
        super().receive(name, message)  # type: ignore[arg-type]  # what a cohort sends is a message


def test_one_wrong_share_is_left_out_and_too_many_are_seen() -> None:
    cohort = WrongShares(terms_of(10))
    cohort.liars = frozenset({"d0004"})
    assert len(summed(cohort, {}).devices) == 10
    cohort = WrongShares(terms_of(10))
    cohort.liars = frozenset({"d0002", "d0003"})
    failed = cohort.run()
    assert isinstance(failed, Failed)
    assert failed.refusal.why is Why.WRONG_SHARES, "the roster's commitments tell: no wrong sum is given"


def test_the_next_attempt_has_new_keys_and_a_spent_round_has_none() -> None:
    first = Cohort(terms_of(5))
    assert isinstance(first.run({Phase.INPUT: frozenset({0, 1})}), Failed)
    second = Cohort(terms_of(5, attempt=1))
    second.states = first.states
    second.entropy = first.entropy  # even with the same random bytes
    assert isinstance(second.run(), Summed)
    for name in first.terms.cohort:
        kind = "masking_advertise"
        assert (
            first.seen[name, kind].model_dump()["masking_key"]
            != second.seen[name, kind].model_dump()["masking_key"]
        )
    third = Cohort(terms_of(5, attempt=2))
    third.states = second.states
    failed = third.run()
    assert isinstance(failed, Failed)
    assert {refusal.why for _, refusal in third.refused} == {Why.ROUND_SPENT}
    fourth = Cohort(terms_of(5, round=2))
    fourth.states = third.states
    assert isinstance(fourth.run(), Summed)


def test_a_round_is_spent_once_survivors_are_signed_also_if_nothing_was_revealed() -> None:
    """A second sum of the same updates, of one device less, would tell that device's update."""
    first = Cohort(terms_of(5))
    failed = first.run({Phase.CONSISTENCY: frozenset({0, 1})})
    assert isinstance(failed, Failed)
    assert failed.spent
    second = Cohort(terms_of(5, attempt=1))
    second.states = first.states
    assert isinstance(second.run(), Failed)
    spent = {name for name, refusal in second.refused if refusal.why is Why.ROUND_SPENT}
    assert spent == {"d0002", "d0003", "d0004"}, "the other two have signed nothing"
