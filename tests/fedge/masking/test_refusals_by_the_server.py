"""What one device may send the server: it is refused with its reason, and the sum of the others is exact."""

from collections.abc import Callable

import pytest

from benchmarks.masked_cohort import Cohort, paper_identities, terms_of
from fedge.masking import server, statements
from fedge.masking.messages import (
    Advertise,
    Consistency,
    MaskedInput,
    MaskingMessage,
    Roster,
    Share,
    Unmask,
)
from fedge.masking.refusals import Why
from fedge.masking.server_state import Arrived, Failed, Phase, RefuseDevice, Server, Summed

LIAR = "d0003"
Change = Callable[[MaskingMessage], MaskingMessage]


class Lying(Cohort):
    """One device sends something else."""

    kind: type[MaskingMessage] = MaskingMessage
    change: Change | None = None

    def receive(self, name: str, message: MaskingMessage) -> None:
        if name == LIAR and isinstance(message, self.kind):
            assert self.change is not None
            message = self.change(message)
        super().receive(name, message)


def set_to(**changes: object) -> Change:
    return lambda message: message.model_copy(update=changes)


def signed_keys(**changes: bytes) -> Change:
    """Other keys, which the device signs."""

    def change(message: MaskingMessage) -> MaskingMessage:
        assert isinstance(message, Advertise)
        made = message.model_copy(update=changes)
        keys = statements.advertised(made)
        said = statements.advertisement(message.terms, LIAR, keys)
        return made.model_copy(update={"signature": paper_identities(LIAR).sign(said)})

    return change


def of_another(cohort: Cohort, field: str) -> bytes:
    found: bytes = getattr(cohort.seen["d0000", Advertise.TYPE], field)
    return found


def outcome(kind: type[MaskingMessage], change: Change) -> tuple[list[Why], Summed | Failed]:
    cohort = Lying(terms_of(7))
    cohort.kind, cohort.change = kind, change
    found = cohort.run()
    assert {name for name, _ in cohort.refused} == {LIAR}
    if isinstance(found, Summed):
        assert (found.levels == cohort.expected(found.devices)).all()
    return [refusal.why for _, refusal in cohort.refused], found


ZERO, ONE = bytes(32), b"\1" + bytes(31)
"""Points of small order: every secret gives the same with them."""


@pytest.mark.parametrize(
    ("kind", "change", "why"),
    [
        (Advertise, set_to(signature=bytes(64)), Why.BAD_SIGNATURE),
        (Advertise, set_to(sealing_key=b"k" * 32), Why.BAD_SIGNATURE),
        (Advertise, signed_keys(sealing_key=ZERO), Why.WEAK_KEY),
        (Advertise, signed_keys(masking_key=ONE), Why.WEAK_KEY),
        (Advertise, signed_keys(sealing_key=b"\t" * 32, masking_key=b"\t" * 32), Why.DUPLICATE_KEY),
        (Advertise, set_to(device="d0004"), Why.FOREIGN_DEVICE),
        (Advertise, set_to(terms=bytes(32)), Why.OTHER_ATTEMPT),
        (Share, set_to(roster=bytes(32)), Why.OTHER_ROSTER),
        (Share, set_to(sealed=b""), Why.MALFORMED),
        (MaskedInput, set_to(signature=bytes(64)), Why.BAD_SIGNATURE),
        (MaskedInput, set_to(values=bytes(31)), Why.BAD_UPDATE),
        (Consistency, set_to(signature=bytes(64)), Why.BAD_SIGNATURE),
        (Unmask, set_to(shares=bytes(33)), Why.MALFORMED),
    ],
)
def test_what_cannot_be_is_refused_and_the_others_go_on(
    kind: type[MaskingMessage], change: Change, why: Why
) -> None:
    whys, found = outcome(kind, change)
    assert whys == [why]
    assert isinstance(found, Summed)
    assert (LIAR in found.devices) == (kind in (Consistency, Unmask)), "its masked update had come"


@pytest.mark.parametrize("field", ["sealing_key", "masking_key", "commitment"])
def test_the_key_or_commitment_of_another_device(field: str) -> None:
    cohort = Lying(terms_of(7))
    cohort.kind = Advertise
    cohort.change = lambda message: signed_keys(**{field: of_another(cohort, field)})(message)
    found = cohort.run()
    assert isinstance(found, Summed)
    assert [refusal.why for _, refusal in cohort.refused] == [Why.DUPLICATE_KEY]
    assert LIAR not in found.devices


def test_a_second_message_and_one_before_its_time_change_nothing() -> None:
    cohort = Cohort(terms_of(7))
    cohort.answer(cohort.announcements(), ())
    mail = cohort.end_phase()
    assert isinstance(mail, list)
    cohort.answer(mail, {"d0006"})
    for device, kind, why in ((LIAR, Share, Why.TWICE), (LIAR, Advertise, Why.WRONG_PHASE)):
        message = cohort.seen[device, kind.TYPE]
        after, effects = server.step(cohort.server, Arrived(device, message), cohort.verify)
        assert after is cohort.server
        assert [each.refusal.why for each in effects if isinstance(each, RefuseDevice)] == [why]
    roster = next(event.message for _, event in mail if hasattr(event, "message"))
    assert isinstance(roster, Roster)
    for device, message in ((LIAR, roster), ("d0099", cohort.seen[LIAR, Share.TYPE])):
        _, effects = server.step(cohort.server, Arrived(device, message), cohort.verify)
        assert isinstance(effects[0], RefuseDevice)
        assert effects[0].refusal.why is Why.FOREIGN_DEVICE


@pytest.mark.parametrize("phase", [Phase.INPUT, Phase.CONSISTENCY, Phase.UNMASK])
def test_nothing_of_a_failed_attempt_is_kept(phase: Phase) -> None:
    """What it holds of it could only serve to find out more than a sum."""
    cohort = Cohort(terms_of(5))
    assert isinstance(cohort.run({phase: frozenset({0, 1})}), Failed)
    assert cohort.server == Server(cohort.terms, cohort.server.digest, cohort.server.ring, Phase.ENDED)
    assert cohort.server.missing == frozenset()
