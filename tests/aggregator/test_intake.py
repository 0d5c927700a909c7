"""What is worked on of an honest device that is late, and of one that only sends in vain."""

from dataclasses import replace

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.buckets import MESSAGE_COST, TOP_UP_AGAIN_S, needed, updates
from aggregator.core.patience import MISSES
from aggregator.core.update_limits import max_bytes
from aggregator.core.verdicts import Missed
from aggregator.shell.intake import Intake
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.update import Update
from tests.aggregator.stories import Story, federation, frames, having, of, rules, running, update

DEADLINE_S, OTHERS_S, TRAINING_S, UPLOAD_S = 150.0, 50.0, 1.0, 70.0
PIECES = 5
WEIGHTS = 1_000_000


class Slow:
    """A device that trains and uploads longer than the others, and begins anew with each round."""

    def __init__(self, story: Story) -> None:
        self.story, self.intake = story, Intake()
        self.admitted: list[RoundId] = []
        self._message: Update | None = None
        self._round: RoundId | None = None
        self._left: list[Frame] = []
        self._due_s = 0.0

    def lives(self) -> None:
        """It does what it would do at this second."""
        state = self.story.state
        if state.round != self._round and state.model is not None:
            self._round, self._message = state.round, update("slow", state.round, state.model.digest)
            self._left, self._due_s = frames(self._message, PIECES), self.story.now_s + TRAINING_S
        while self._left and self._message is not None and self.story.now_s >= self._due_s:
            frame = self._left.pop(0)
            self._due_s += UPLOAD_S / PIECES
            self._sends(frame, self._message)

    def _sends(self, frame: Frame, message: Update) -> None:
        # On the wire each frame is a fifth of the largest update.
        state = having(self.story.state, weights=WEIGHTS, fleet={"slow"})
        if not self.intake.takes_update(state, "slow", max_bytes(state) // PIECES, self.story.now_s):
            self._left.insert(0, frame)  # as if it were lost: it is sent again
            return
        effects = self.story.frame("slow", frame)
        if of(do.ReadUpdate, effects):
            effects += self.story.tell(on.UpdateRead(self.story.now_s, "slow", frame.id, message))
        for saved in of(do.SaveAnswer, effects):
            self.intake.answered(self.story.state, "slow")
            if saved.answer.verdict == "admitted":
                self.admitted.append(saved.round)


def lived(story: Story, number: int) -> list[RoundId]:
    """In which of so many rounds the slow one is admitted, where the others answer after 20 s."""
    slow, began_s = Slow(story), story.now_s
    while story.state.round.round <= number:
        story.later(1.0)
        slow.lives()
        if story.now_s >= began_s + OTHERS_S and story.stage() == "collecting":
            for device in {"a", "b"} - story.state.answers.keys():
                story.answers(device)
        if story.stage() == "closing":
            story.closed()
            story.published()
            began_s = story.now_s
        story.log.clear()
    return slow.admitted


def test_who_is_slow_is_admitted_whenever_a_round_waits_for_it() -> None:
    stopping = replace(federation().stopping, rounds=10**6)
    story = running(
        "a",
        "b",
        "slow",
        rules=replace(rules(target=None), deadline_s=DEADLINE_S),
        stopping=stopping,
        missed={"slow": Missed(MISSES, Attempt(RoundId(1, 0), 0))},
    )
    assert [found.round for found in lived(story, 15)] == [10, 11, 12, 13, 14, 15]


def test_who_has_sent_all_in_vain_can_answer_a_round_that_waits_for_it() -> None:
    intake, state = Intake(), replace(running("late", "b").state, weights=WEIGHTS)
    others = having(state, awaited=state.awaited - {"late"})
    size = max_bytes(state)
    while intake.takes_update(others, "late", size, 0.0):
        pass
    while intake.takes_update(others, "late", 0, 0.0):
        pass
    assert intake.takes_update(state, "late", size, 1.0)
    assert all(intake.takes_update(state, "late", 0, 1.0) for _ in range(60)), "and asks until it is told"
    while intake.takes_update(state, "late", 0, 1.0):
        pass
    assert not intake.takes_update(state, "late", size, TOP_UP_AGAIN_S), "not again so soon"
    assert intake.takes_update(state, "late", size, 1.0 + TOP_UP_AGAIN_S)


def test_what_is_worked_on_of_one_that_sends_in_vain_is_bounded() -> None:
    """Though rounds open every second, and each waits for it: it declines in time."""
    intake, state = Intake(), running("liar", "b").state
    rate, size, hours = updates(max_bytes(state)), max_bytes(state), 6
    worked = 0.0
    for second in range(hours * 3_600):
        while intake.takes_update(state, "liar", size, float(second)):
            worked += size + MESSAGE_COST
        while intake.takes_update(state, "liar", 0, float(second)):
            worked += MESSAGE_COST
    in_vain = rate.burst + hours * 3_600 * rate.per_s
    topped_up = hours * 3_600 / TOP_UP_AGAIN_S * needed(size)
    assert 0.9 * (in_vain + topped_up) < worked < in_vain + topped_up + needed(size)
    assert hours * 3_600 / TOP_UP_AGAIN_S * 4 == 288, "whole updates a day"
