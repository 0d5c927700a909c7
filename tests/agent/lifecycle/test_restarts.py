"""What a device does after a restart, and when it meets its own name, told as stories."""

from dataclasses import replace

import pytest

from agent.core import effects as do
from agent.core import events as on
from agent.core.device import Device, Idle, Reporting, Saved
from agent.core.lifecycle import step
from agent.core.lifecycle.link import CLONE_PAUSE_S
from agent.core.lifecycle.report import REPORT_RETRY_S
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason
from tests.agent.lifecycle.stories import (
    BOOT,
    CONNECTED,
    HOLDS,
    OTHER_BOOT,
    TASK,
    UPDATE,
    announced,
    answered,
    attempt,
    digest,
    done,
    manifest,
    model_of,
    online,
    receipt,
    reporting,
    status,
    story,
    working,
)
from tests.wording import assert_tells

# ── restarts ───────────────────────────────────────────────────────────────────────────────────────


def restarted(verdict: str | None) -> Device:
    """A device that saved an update of round 1 before its power was cut."""
    return replace(HOLDS, seen=attempt(1, 1), saved=Saved(RoundId(1, 1), UPDATE, verdict))


@pytest.mark.parametrize("left_s", [60.0, 0.0])
def test_after_a_restart_in_the_same_round_it_reports_again(left_s: float) -> None:
    state, effects = step(restarted(None), announced(manifest(), left_s=left_s))
    assert effects == [do.PublishUpdate(UPDATE, None), do.SaveSeen(attempt(1, 1))][::-1]
    assert state.work == Reporting((0,), REPORT_RETRY_S)


@pytest.mark.parametrize("verdict", ["admitted", "refused"])
def test_after_a_restart_an_answered_round_is_over(verdict: str) -> None:
    state, effects = step(restarted(verdict), announced(manifest()))
    assert (state.work, effects) == (Idle(), [do.SaveSeen(attempt(1, 1))])


def test_a_new_attempt_is_asked_whether_it_still_knows_the_admitted_update() -> None:
    """An aggregator that was restored from a backup of this very round would wait for ever."""
    state, effects = step(restarted("admitted"), announced(manifest(attempt=1)))
    assert effects == [do.SaveSeen(attempt(1, 1, 1)), do.PublishUpdate(UPDATE, (0,))]
    assert isinstance(state.work, Reporting)
    known, effects = step(state, receipt("admitted"))
    assert (known.work, effects) == (Idle(), []), "it does: once is enough"
    _, effects = step(state, receipt("retry", missing=(0, 1)))
    assert effects == [do.PublishUpdate(UPDATE, (0, 1))], "it does not: it gets the whole"
    state, effects = step(restarted("refused"), announced(manifest(attempt=1)))
    assert (state.work, effects) == (Idle(), [do.SaveSeen(attempt(1, 1, 1))])


def test_after_a_restart_an_old_update_never_answers_a_new_round() -> None:
    state, effects = step(replace(restarted(None), model=model_of(2)), announced(manifest(2)))
    assert effects == [do.StartWork(manifest(2))]
    state, effects = story(state, on.LinkDown(), on.LinkUp(1.0, 2))
    assert not any(isinstance(effect, do.PublishUpdate) for effect in effects)


def test_fault_17_a_late_will_of_its_own_is_corrected() -> None:
    state = replace(CONNECTED, connection=2, returned=True)
    assert step(state, status(BOOT, online=False)) == (state, [online(state)])
    assert step(state, status(BOOT, connection=2)) == (state, [])
    assert step(state, status(BOOT, online=False, live=False)) == (state, []), "it is replaced anyway"


def test_fault_17_a_late_will_of_an_earlier_boot_is_corrected() -> None:
    state = replace(CONNECTED, own_boots=frozenset({OTHER_BOOT}))
    for was_online in (True, False):
        assert step(state, status(OTHER_BOOT, online=was_online)) == (state, [online(state)])
        assert step(state, status(OTHER_BOOT, online=was_online, live=False)) == (state, [])


def test_fault_10_two_devices_of_one_identity() -> None:
    state, effects = step(CONNECTED, status(OTHER_BOOT))
    assert state == replace(CONNECTED, link_up=False)
    assert isinstance(effects[0], do.Log)
    assert_tells(effects[0].text, "identity 'pi'")
    assert isinstance(effects[1], do.Disconnect)
    assert CLONE_PAUSE_S <= effects[1].seconds <= 2 * CLONE_PAUSE_S
    _, later = step(replace(CONNECTED, returned=True), status(OTHER_BOOT, live=False))
    assert isinstance(later[1], do.Disconnect), "it took our place while we were away"


@pytest.mark.parametrize("returned", [False, True])
def test_fault_17_a_late_will_from_before_its_state_was_lost_is_corrected(*, returned: bool) -> None:
    """Its own boots of then are unknown to it: a wiped state folder, or an older copy of one."""
    state = replace(CONNECTED, returned=returned, own_boots=frozenset())
    assert step(state, status(OTHER_BOOT, online=False)) == (state, [online(state)])


def test_a_stranger_left_over_from_before_is_no_clone() -> None:
    assert step(CONNECTED, status(OTHER_BOOT, live=False)) == (CONNECTED, [])
    assert step(CONNECTED, status(OTHER_BOOT, online=False, live=False)) == (CONNECTED, [])
    down = replace(CONNECTED, link_up=False, returned=True)
    assert step(down, status(OTHER_BOOT)) == (down, [])


def test_what_does_not_fit_changes_nothing() -> None:
    strangers: list[on.Event] = [
        on.Fetched(0.0, "task", TASK),
        on.Fetched(0.0, "model", model_of(1)),
        done(7),
        on.Failed(RoundId(1, 7), Reason.FAILED, ""),
        receipt("admitted", digest("foreign")),
        receipt("retry", digest("foreign"), missing=(1,)),
        on.Tick(0.0),
        announced(manifest(0)),
    ]
    for state in (working(), reporting(), answered()):
        for event in strangers[:-1]:
            assert step(state, event) == (state, []), event
        assert step(state, strangers[-1])[0] == replace(state, passed_over=state.seen)
    assert step(answered(), receipt("retry", missing=(1,))) == (answered(), [])
    assert step(answered(), done()) == (answered(), [])
    fetching, _ = step(CONNECTED, announced(manifest()))
    for kind, found in (("model", digest("x")), ("task", model_of(1)), ("export", TASK)):
        assert step(fetching, on.Fetched(0.0, kind, found)) == (fetching, [])
