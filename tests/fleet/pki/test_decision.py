"""What the registrar decides: every case, told as facts."""

from dataclasses import replace

import pytest

from fleet.pki.decision import (
    MOST_A_DAY,
    Claim,
    EnrolmentFacts,
    GiveAgain,
    Given,
    Refuse,
    RenewalFacts,
    Shown,
    Sign,
    on_enrolment,
    on_renewal,
)

CLAIM = Claim("claim-0a1b2c3d", "greenhouse", uses=2, used=0, expires_at_s=1000.0)
ASKED = EnrolmentFacts(
    federation="greenhouse",
    device="pi-1",
    allowed=True,
    request_fault=None,
    claim=CLAIM,
    proven=True,
    given=None,
    known=False,
    revoked=False,
)
GIVEN = Given("greenhouse_pi-1", b"certificate")
RENEWAL = RenewalFacts(
    federation="greenhouse",
    device="pi-1",
    request_fault=None,
    counts=True,
    shown=Shown("greenhouse_pi-1", not_after_s=1000.0, revoked=False),
    proven=True,
    given=None,
    lately=0,
)


def test_a_claimed_request_is_signed() -> None:
    assert on_enrolment(ASKED, 999.9) == Sign("greenhouse_pi-1")
    assert on_enrolment(replace(ASKED, claim=replace(CLAIM, used=1)), 0.0) == Sign("greenhouse_pi-1")


@pytest.mark.parametrize(
    ("facts", "now_s", "reason"),
    [
        (replace(ASKED, claim=None), 0.0, "unknown_claim"),
        (replace(ASKED, claim=replace(CLAIM, revoked=True)), 0.0, "unknown_claim"),
        (replace(ASKED, claim=replace(CLAIM, federation="harbour")), 0.0, "unknown_claim"),
        (replace(ASKED, proven=False), 0.0, "wrong_proof"),
        (replace(ASKED, proven=False, known=True), 0.0, "wrong_proof"),
        (replace(ASKED, proven=False, given=GIVEN), 0.0, "wrong_proof"),
        (ASKED, 1000.0, "claim_expired"),
        (replace(ASKED, claim=replace(CLAIM, used=2)), 0.0, "claim_used_up"),
        (replace(ASKED, claim=replace(CLAIM, used=3)), 0.0, "claim_used_up"),
        (replace(ASKED, device="claim-0a1b2c3d", allowed=False), 0.0, "bad_request"),
        (replace(ASKED, request_fault="the key is weak"), 0.0, "bad_request"),
        (replace(ASKED, known=True), 0.0, "name_taken"),
        (replace(ASKED, known=True, revoked=True), 0.0, "revoked"),
        (replace(ASKED, given=replace(GIVEN, identity="greenhouse_pi-2")), 0.0, "bad_request"),
    ],
)
def test_a_claimed_request_is_refused(facts: EnrolmentFacts, now_s: float, reason: str) -> None:
    decision = on_enrolment(facts, now_s)
    assert isinstance(decision, Refuse)
    assert decision.reason == reason
    assert decision.detail


def test_who_asks_again_is_answered_again_even_when_the_claim_is_over() -> None:
    """The answer was lost: the use is counted, the name is taken, and the same certificate is still his."""
    facts = replace(ASKED, given=GIVEN, known=True, claim=replace(CLAIM, used=2))
    assert on_enrolment(facts, 5000.0) == GiveAgain(b"certificate")


def test_a_renewal_is_signed() -> None:
    assert on_renewal(RENEWAL, 999.9) == Sign("greenhouse_pi-1")
    assert on_renewal(replace(RENEWAL, lately=MOST_A_DAY - 1), 0.0) == Sign("greenhouse_pi-1")


@pytest.mark.parametrize(
    ("facts", "now_s", "reason"),
    [
        (replace(RENEWAL, shown=None), 0.0, "unknown_certificate"),
        (replace(RENEWAL, shown=Shown("greenhouse_pi-2", 1000.0, False)), 0.0, "unknown_certificate"),
        (replace(RENEWAL, counts=False), 0.0, "revoked"),
        (replace(RENEWAL, counts=False, given=GIVEN), 0.0, "revoked"),
        (replace(RENEWAL, shown=Shown("greenhouse_pi-1", 1000.0, True)), 0.0, "revoked"),
        (replace(RENEWAL, proven=False), 0.0, "wrong_proof"),
        (replace(RENEWAL, proven=False, given=GIVEN), 0.0, "wrong_proof"),
        (RENEWAL, 1000.0, "certificate_expired"),
        (replace(RENEWAL, request_fault="of another name"), 0.0, "bad_request"),
        (replace(RENEWAL, lately=MOST_A_DAY), 0.0, "too_often"),
        (replace(RENEWAL, given=replace(GIVEN, identity="greenhouse_pi-2")), 0.0, "bad_request"),
    ],
)
def test_a_renewal_is_refused(facts: RenewalFacts, now_s: float, reason: str) -> None:
    decision = on_renewal(facts, now_s)
    assert isinstance(decision, Refuse)
    assert decision.reason == reason
    assert decision.detail


def test_a_renewal_whose_answer_was_lost_is_answered_again() -> None:
    assert on_renewal(replace(RENEWAL, given=GIVEN, lately=MOST_A_DAY), 5000.0) == GiveAgain(b"certificate")
