"""A device asks what became of its update in an earlier round: the ledger answers, and at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.stopping_rule import StoppingRule
from fedge.transport import MessageArrived
from fedge.wire.frames import asking
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Asked, Frame
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.receipt import Receipt
from fedge.wire.reasons import Reason
from fedge.wire.topics import Topics
from tests.aggregator.stories import (
    DEADLINE_S,
    OPEN,
    Story,
    digest_of,
    frames,
    kinds,
    of,
    only_receipt,
    receipts,
    running,
    status,
    survey,
    update,
)
from tests.aggregator.test_runtime import Served

TOPICS = Topics("lab")


def question(frame: Frame, round_id: RoundId) -> Frame:
    asked = Asked(generation=round_id.generation, round=round_id.round)
    return frame.model_copy(update={"asks": asked})


def asked(
    story: Story, device: str, frame: Frame, round_id: RoundId, *, kept: bool = True
) -> list[do.Effect]:
    """The question comes, with what the ledger tells of it."""
    verdict = story.verdicts.get((device, frame.id))
    return story.tell(on.FrameArrived(story.now_s, device, question(frame, round_id), verdict, kept))


def next_round(story: Story) -> None:
    for device in ("a", "b"):
        story.answers(device)
    story.later(DEADLINE_S)
    story.closed()
    story.published()


@pytest.fixture
def story() -> Story:
    """Round 1.3, of which 1.1 and 1.2 were closed with a and b; c was online and silent."""
    story = running("a", "b", "c", stopping=StoppingRule(rounds=99))
    next_round(story)
    next_round(story)
    assert story.state.round == (1, 3)
    return story


# ── kept, not kept, open, unknown ──────────────────────────────────────────────────────────────────


def test_the_stored_verdict_of_a_kept_round_is_the_answer(story: Story) -> None:
    (frame,) = frames(update("a"))
    effects = asked(story, "a", frame, OPEN)
    assert kinds(effects) == [do.SendReceipt]
    receipt = only_receipt(effects)
    assert (receipt.verdict, receipt.round) == ("admitted", 1)


@pytest.mark.parametrize("pieces", [1, 3])
def test_who_was_not_answered_in_a_closed_round_hears_so_and_nothing_is_spooled(
    story: Story, pieces: int
) -> None:
    before = story.state
    for frame in frames(update("c"), pieces):
        effects = asked(story, "c", frame, OPEN)
        assert receipts(effects) == [("c", "refused", Reason.STALE_ROUND)]
        assert not of(do.SpoolFrame, effects)
        assert not of(do.SaveAnswer, effects)
    assert story.state == before
    assert receipts(story.answers("c")) == [("c", "admitted", None)], "its answer in this round is not spent"


def test_of_a_round_that_is_not_kept_it_is_forgotten(story: Story) -> None:
    (frame,) = frames(update("c"))
    effects = asked(story, "c", frame, OPEN, kept=False)
    assert receipts(effects) == [("c", "refused", Reason.FORGOTTEN)]
    assert not of(do.SpoolFrame, effects)


def test_a_kept_round_of_an_earlier_generation_is_answered_too(story: Story) -> None:
    late = running("a", "b", "c", round=RoundId(3, 2))
    for kept, reason in ((True, Reason.STALE_ROUND), (False, Reason.FORGOTTEN)):
        effects = asked(late, "c", frames(update("c"))[0], RoundId(2, 9), kept=kept)
        assert receipts(effects) == [("c", "refused", reason)]


def test_a_question_about_the_open_round_is_the_update_itself(story: Story) -> None:
    assert story.state.model is not None
    own = update("c", story.state.round, story.state.model.digest)
    (first, *rest) = frames(own, 2)
    assert of(do.SpoolFrame, asked(story, "c", first, story.state.round))
    assert receipts(asked(story, "c", first, story.state.round)) == [("c", "retry", None)]
    assert of(do.ReadUpdate, story.frame("c", rest[0]))


def test_while_the_round_closes_one_about_it_is_told_to_come_again() -> None:
    story = running("a", "b", "c")
    for device in ("a", "b"):
        story.answers(device)
    story.later(DEADLINE_S)
    assert story.stage() == "closing"
    (frame,) = frames(update("c"))
    assert receipts(asked(story, "c", frame, OPEN)) == [("c", "retry", None)]


def test_a_question_about_a_later_round_goes_the_usual_way(story: Story) -> None:
    """This ledger is an older copy: it knows nothing, and a refusal names the round that it knows."""
    later = update("c", RoundId(1, 7))
    (frame,) = frames(later)
    assert of(do.ReadUpdate, asked(story, "c", frame, RoundId(1, 7)))
    effects = story.tell(on.UpdateRead(story.now_s, "c", digest_of(later), later))
    receipt = only_receipt(effects)
    assert (receipt.verdict, receipt.round) == ("refused", 3)


# ── who asks ───────────────────────────────────────────────────────────────────────────────────────


def test_who_is_set_aside_since_is_answered_from_the_ledger_all_the_same(story: Story) -> None:
    story.tell(on.Quarantined(story.now_s, frozenset({"a", "c"})))
    assert receipts(asked(story, "a", frames(update("a"))[0], OPEN)) == [("a", "admitted", None)]
    assert receipts(asked(story, "c", frames(update("c"))[0], OPEN)) == [("c", "refused", Reason.STALE_ROUND)]


def test_who_is_not_on_the_roster_is_told_nothing_of_rounds() -> None:
    story = running("a", "b", roster=frozenset({"a", "b"}), stopping=StoppingRule(rounds=99))
    next_round(story)
    effects = asked(story, "stranger", frames(update("stranger"))[0], OPEN)
    assert receipts(effects) == [("stranger", "refused", Reason.UNKNOWN_DEVICE)]


def test_a_question_in_another_devices_name_learns_nothing_of_it(story: Story) -> None:
    effects = asked(story, "c", frames(update("a"))[0], OPEN)
    assert receipts(effects) == [("c", "refused", Reason.STALE_ROUND)]


def test_after_the_end_of_learning_questions_are_answered() -> None:
    story = running("a", "b", "c", stopping=StoppingRule(rounds=2))
    next_round(story)
    next_round(story)
    assert story.stage() == "done"
    assert receipts(asked(story, "a", frames(update("a"))[0], OPEN)) == [("a", "admitted", None)]
    assert receipts(asked(story, "c", frames(update("c"))[0], OPEN)) == [("c", "refused", Reason.STALE_ROUND)]


# ── with a real ledger ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.ledger.close()


def says(served: Served, device: str, payload: bytes) -> None:
    served.runtime.turn([MessageArrived(TOPICS.update(device), payload, False, None, 1, 1)])


def closed(served: Served) -> None:
    """The survey is closed with pi-1 and pi-2, and a round of training is open."""
    served.closing()
    served.runtime.turn([served.closed()])
    state = served.runtime.now().state
    assert state.round == (1, 1)
    served.runtime.turn([on.BlobsPublished(served.now_s, state.round, None)])


def last(served: Served) -> Receipt:
    return unpack(served.said[-1].payload, Receipt)


def test_the_ledger_tells_a_kept_round_from_one_that_is_not(served: Served) -> None:
    closed(served)
    (frame,) = frames(survey("pi-3"))
    says(served, "pi-3", asking(pack(frame), RoundId(1, 0)))
    assert (last(served).verdict, last(served).reason) == ("refused", Reason.STALE_ROUND)
    served.ledger._db.execute("DELETE FROM answers")
    says(served, "pi-3", asking(pack(frame), RoundId(1, 0)))
    assert (last(served).verdict, last(served).reason) == ("refused", Reason.FORGOTTEN)
    assert "pi-3" not in served.ledger.partials()


def test_a_flood_of_questions_is_metered_as_any_flood_and_writes_nothing(served: Served) -> None:
    closed(served)
    served.runtime.turn([MessageArrived(TOPICS.status("pi-3"), pack(status()), False, None, 1, 1)])
    writes, said = served.ledger._db.total_changes, len(served.said)
    for number in range(3_000):
        (frame,) = frames(survey("pi-3", samples=100 + number))
        says(served, "pi-3", asking(pack(frame), RoundId(1, 0)))
    assert len(served.said) - said < 300
    assert served.ledger._db.total_changes == writes
    assert served.ledger.partials() == {}
