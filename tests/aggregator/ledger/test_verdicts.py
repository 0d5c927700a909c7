"""What the ledger still knows of updates that were judged."""

import pytest

from aggregator.core.verdicts import KeptVerdict, Verdict
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.writing import Ledger
from fedge.errors import DamagedState
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason
from tests.aggregator.ledger.ledgers import COHORTS, LIFE, admit, close
from tests.aggregator.stories import blob, frames, update
from tests.wording import telling

# ── verdicts and the updates behind them ───────────────────────────────────────────────────────────


def test_the_verdict_of_every_kept_round_is_found_by_its_update(ledger: Ledger) -> None:
    with ledger.transaction():
        digests = [admit(ledger, "pi-1", RoundId(1, number)) for number in range(5)]
        refused = Verdict(b"r" * 32, "refused", Reason.BAD_SAMPLE_COUNT, "n_k = 0")
        ledger.save_answer(RoundId(1, 3), "pi-2", refused)
        ledger.forget_rounds_before(RoundId(1, 2))
    for number, digest in enumerate(digests):
        found = ledger.verdict("pi-1", digest)
        kept = number >= 2
        assert (found is not None, ledger.remembers(RoundId(1, number))) == (kept, kept)
        if found is not None:
            assert (found.round, found.answer.verdict, found.answer.samples) == ((1, number), "admitted", 10)
    assert ledger.verdict("pi-2", b"r" * 32) == KeptVerdict(RoundId(1, 3), refused)
    assert ledger.verdict("pi-2", digests[4]) is None, "another device's"


def test_updates_that_are_not_what_was_admitted_are_named(ledger: Ledger) -> None:
    with ledger.transaction():
        digests = [admit(ledger, f"pi-{number % 3}", RoundId(1, number // 3)) for number in range(27)]
        ledger.spool("pi-9", frames(update("pi-9"), 2)[0])  # one that has only begun is no damage
        ledger.save_answer(RoundId(1, 2), "pi-8", Verdict(b"r" * 32, "refused", Reason.STALE_ROUND))
    ledger.check_updates()
    with ledger.transaction():
        ledger._run("DELETE FROM frames WHERE device = 'pi-1' AND digest = ? AND i = 1", digests[4])
        ledger._run("INSERT INTO frames VALUES ('pi-2', ?, 2, 3, 9, x'00', NULL, NULL, NULL)", digests[8])
    with pytest.raises(DamagedState, match=telling("pi-1 in round 1.1, pi-2 in round 1.2 ")):
        ledger.check_updates()
    with ledger.transaction():
        ledger._run("DELETE FROM frames WHERE i = 0")
    with pytest.raises(DamagedState, match=telling("pi-1 in round 1.1 and 22 more ")):
        ledger.check_updates()


def test_the_rounds_that_one_may_go_back_to_are_looked_through_too(ledger: Ledger) -> None:
    """Those of a generation that a program before layout 7 ended are not: it had freed their updates."""
    with ledger.transaction():
        digest = admit(ledger, "pi-1", RoundId(1, 1))
        ledger.save_content("task", RoundId(1, 0), blob("task"), b"task")
        close(ledger, RoundId(1, 1))
        ledger.begin_generation(LedgerMeta(LIFE.ledger, 2, "{}"))
    ledger.check_updates()
    with ledger.transaction():
        ledger._run("UPDATE frames SET data = x'00' WHERE digest = ? AND i = 0", digest)
    with pytest.raises(DamagedState, match=telling("pi-1 in round 1.1 ")):
        ledger.check_updates()
    with ledger.transaction():
        ledger._run("UPDATE rounds SET task = NULL")
    ledger.check_updates()


def test_a_new_generation_has_no_verdict_on_what_waited_in_the_open_round(ledger: Ledger) -> None:
    with ledger.transaction():
        counted = admit(ledger, "pi-1", RoundId(1, 1))
        close(ledger, RoundId(1, 1))
        ledger.save_round(RoundId(1, 2), "train", 0, COHORTS, 0.0)
        waiting = admit(ledger, "pi-1", RoundId(1, 2))
        ledger.begin_generation(LedgerMeta(LIFE.ledger, 2, "{}"))
    found = ledger.verdict("pi-1", counted)
    assert found is not None
    assert found.answer.verdict == "admitted"
    assert ledger.verdict("pi-1", waiting) is None, "it never counted"
    assert (ledger.remembers(RoundId(1, 1)), ledger.remembers(RoundId(1, 2))) == (True, False)
    assert (b"".join(ledger.pieces("pi-1", waiting)), ledger.answered_by("pi-1")[1]) == (b"", None)
    ledger.check_updates()


def test_a_refused_update_makes_room_for_one_of_a_newer_version_while_its_round_is_open(
    ledger: Ledger,
) -> None:
    here = RoundId(1, 5)
    refused = Verdict(b"r" * 32, "refused", Reason.SET_ASIDE, "why", began=3)
    newer = Verdict(b"n" * 32, "admitted", samples=10, began=4)
    fresh = Verdict(b"f" * 32, "admitted", samples=20)
    with ledger.transaction():
        ledger.save_answer(here, "pi-1", refused)
        ledger.save_answer(here, "pi-1", Verdict(b"o" * 32, "admitted", samples=9, began=3))
        assert ledger.answers(here) == {"pi-1": refused}, "of the same version"
        ledger.save_answer(here, "pi-1", newer)
        assert ledger.answers(here) == {"pi-1": newer}
        ledger.save_answer(here, "pi-1", fresh)
        assert ledger.answers(here) == {"pi-1": newer}, "an admitted one stays"
    assert ledger.newest_begun(1) == {}, "the round is not known"
    with ledger.transaction():
        ledger.save_answer(RoundId(1, 4), "pi-2", refused)
        close(ledger, RoundId(1, 4))
        close(ledger, here)
        ledger.save_answer(RoundId(1, 4), "pi-2", Verdict(b"n" * 32, "admitted", samples=10))
        assert ledger.answers(RoundId(1, 4)) == {"pi-2": refused}, "a closed round stays as it is"
        ledger.save_answer(here, "pi-3", fresh)
    assert ledger.newest_begun(1) == {"pi-1": 4, "pi-2": 3, "pi-3": 5}
