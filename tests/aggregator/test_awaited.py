"""After each update the sets of devices are those that judging all devices anew gives."""

import pytest

from aggregator.core.awaited import counted_anew
from aggregator.core.patience import MISSES
from aggregator.core.verdicts import Missed
from fedge.wire.freshness import Attempt
from fedge.wire.messages.status import Decline
from fedge.wire.reasons import Reason
from tests.aggregator.stories import OPEN, Story, having, rules, running, status

WHO = ("awaited", "offline", "unknown", "declines", "fails", "given up", "refused")


def no(reason: Reason) -> Decline:
    return Decline(generation=OPEN.generation, round=OPEN.round, attempt=0, reason=reason)


def fleet(device: str) -> Story:
    """Round 1.1 with a device of this standing, and enough others that it stays open."""
    story = running("a", "b", *([] if device == "unknown" else ["device"]), rules=rules(target=None))
    if device == "offline":
        story.sees("device", status(online=False))
    elif device == "declines":
        story.sees("device", status(declined=no(Reason.TOO_FEW_SAMPLES)))
    elif device == "fails":
        story.sees("device", status(declined=no(Reason.FAILED)))
    elif device == "given up":
        missed = {"device": Missed(MISSES, Attempt(OPEN, 0))}
        story.state = counted_anew(having(story.state, missed=missed))
    return story


@pytest.mark.parametrize("device", WHO)
def test_the_sets_after_an_update_are_those_counted_anew(device: str) -> None:
    story = fleet(device)
    before = story.state
    story.answers("device", **({"samples": 0} if device == "refused" else {}))
    assert story.state.answers["device"].verdict == ("refused" if device == "refused" else "admitted")
    after, anew = story.state, counted_anew(story.state)
    assert after.stage == "collecting"
    assert "device" not in after.awaited
    assert (device == "awaited" or device == "refused") == ("device" in before.awaited)
    assert (after.awaited, after.asked, after.failing) == (anew.awaited, anew.asked, anew.failing)
