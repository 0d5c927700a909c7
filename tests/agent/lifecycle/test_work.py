"""From a connection to saved work, told as stories: an event, then the state and the effects."""

import os
from dataclasses import replace

from agent.core import effects as do
from agent.core import events as on
from agent.core import lifecycle
from agent.core.device import Fetching, Idle, Reporting, Saved, Working
from agent.core.lifecycle import due_s, step
from agent.core.lifecycle.download import FETCH_RETRY_S
from agent.core.lifecycle.report import REPORT_RETRY_S
from fedge.data.disclosure import Public, withheld
from fedge.wire.capabilities import can
from fedge.wire.freshness import RoundId
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason
from tests.agent.lifecycle.stories import (
    BOOT,
    CONNECTED,
    FRESH,
    HOLDS,
    TASK,
    UPDATE,
    announced,
    answered,
    attempt,
    done,
    manifest,
    model_of,
    online,
    reporting,
    story,
    working,
)
from tests.wording import assert_tells

# ── the link ───────────────────────────────────────────────────────────────────────────────────────


def test_a_new_connection_greets_first_and_then_says_who_is_there() -> None:
    state, effects = step(FRESH, on.LinkUp(0.0, 1))
    assert effects == [do.Subscribe(), online(state)]
    assert isinstance(effects[1], do.PublishStatus)
    assert effects[1].status == Status(
        online=True, boot=BOOT, connection=1, version="0", can=tuple(sorted(can()))
    )
    assert (state.link_up, state.returned) == (True, False)
    state, effects = story(state, on.LinkDown(), on.LinkUp(1.0, 2))
    assert effects == [do.Subscribe(), online(state)]
    assert state.returned


def test_a_dead_wifi_changes_only_the_link() -> None:
    for before in (HOLDS, working(), reporting(), answered()):
        after, effects = step(before, on.LinkDown())
        assert (after, effects) == (replace(before, link_up=False), [])
        assert due_s(after) is None, "nothing can be said while it is down"
    state, effects = story(working(), on.LinkDown(), done())
    assert state.work == reporting().work, "training goes on, and its result is saved"
    assert isinstance(effects[0], do.SaveUpdate)


def test_fetching_goes_on_after_a_reconnect() -> None:
    state, first = step(CONNECTED, announced(manifest()))
    state, effects = story(state, on.LinkDown(), on.LinkUp(9.0, 2))
    assert effects == [do.Subscribe(), online(state), *first]
    assert state.work == Fetching(to_work=True, due_s=9.0 + FETCH_RETRY_S)


def test_reporting_goes_on_with_frame_0_after_a_reconnect() -> None:
    state, effects = story(reporting(), on.LinkDown(), on.LinkUp(9.0, 2))
    assert effects == [do.Subscribe(), online(state), do.PublishUpdate(UPDATE, (0,))]
    assert due_s(state) == 9.0 + REPORT_RETRY_S


# ── a round ────────────────────────────────────────────────────────────────────────────────────────


def test_a_chosen_device_fetches_what_it_lacks_then_works() -> None:
    said = manifest()
    state, effects = step(CONNECTED, announced(said))
    assert effects == [do.Fetch(said, task=True, model=True)]
    assert state.work == Fetching(to_work=True, due_s=FETCH_RETRY_S)
    state, effects = step(state, on.Fetched(1.0, "model", model_of(1)))
    assert effects == []
    state, effects = step(state, on.Fetched(2.0, "task", TASK))
    assert effects == [do.StopFetching(), do.StartWork(said)]
    assert state.work == Working(RoundId(1, 1))
    assert due_s(state) is None


def test_a_chosen_device_that_holds_both_works_at_once() -> None:
    state, effects = step(HOLDS, announced(manifest()))
    assert effects == [do.StartWork(manifest())]
    assert state.work == Working(RoundId(1, 1))
    _, effects = step(HOLDS, announced(manifest(2)))
    assert effects == [do.Fetch(manifest(2), task=False, model=True)]


def test_a_survey_needs_the_task_alone() -> None:
    state, effects = step(CONNECTED, announced(manifest(0)))
    assert effects == [do.Fetch(manifest(0), task=True, model=False)]
    state, effects = step(state, on.Fetched(0.0, "task", TASK))
    assert effects == [do.StopFetching(), do.StartWork(manifest(0))]
    state, effects = step(state, done(0))
    assert effects == [
        do.SaveUpdate(attempt(1, 0), UPDATE, b"payload"),
        do.PublishUpdate(UPDATE, None),
    ], "there is no model to keep"


def test_law_4_the_update_is_saved_before_it_is_published_and_then_the_model_kept() -> None:
    fetched = replace(HOLDS, kept=None)
    state, effects = story(fetched, announced(manifest()), done())
    assert effects == [
        do.SaveUpdate(attempt(1, 1), UPDATE, b"payload"),
        do.PublishUpdate(UPDATE, None),
        do.KeepModel(manifest()),
    ]
    assert state.work == Reporting((0,), REPORT_RETRY_S)
    assert state.saved == Saved(RoundId(1, 1), UPDATE)
    assert (state.kept, state.samples) == (model_of(1), 100)


def test_work_that_fails_is_declined() -> None:
    event = on.Failed(RoundId(1, 1), Reason.TOO_FEW_SAMPLES, "a.csv: line 4", Public("x" * 600))
    state, effects = step(working(), event)
    assert state.work == Idle()
    assert state.declined is not None
    assert (state.declined.reason, state.declined.attempt) == (Reason.TOO_FEW_SAMPLES, 0)
    assert state.declined.detail == "x" * 500
    assert [type(effect) for effect in effects] == [do.Log, do.SaveSeen, do.PublishStatus]
    assert isinstance(effects[0], do.Log)
    assert effects[0].level == "warning"
    assert_tells(effects[0].text, "round 1.1: ", "too_few_samples", "a.csv: line 4")
    assert effects[2] == online(state)
    again, effects = step(state, announced(manifest()))
    assert (again.work, effects) == (Idle(), []), "what was declined is not tried again"
    again, effects = step(state, announced(manifest(attempt=1)))
    assert effects == [do.StartWork(manifest(attempt=1))], "but in another attempt it is"
    assert again.declined is None


def test_what_only_the_device_knows_is_not_told_in_a_decline() -> None:
    name = os.fsdecode(b"caf\xe9.csv")
    state, effects = step(working(), on.Failed(RoundId(1, 1), Reason.BAD_DATA, f"{name}: line 2"))
    assert state.declined is not None
    assert state.declined.detail == withheld(Reason.BAD_DATA)
    assert isinstance(effects[0], do.Log)
    assert_tells(effects[0].text, "round 1.1: ", "bad_data", f"{name}: line 2")
    assert unpack(pack(lifecycle.status(state)), Status).declined == state.declined


def test_an_update_that_cannot_be_saved_is_declined_and_forgotten() -> None:
    state, effects = step(reporting(), on.Failed(RoundId(1, 1), Reason.FAILED, "disk full"))
    assert (state.work, state.saved) == (Idle(), None)
    assert state.kept is None, "what comes after the update was not performed either"
    assert effects[-1] == online(state)
    assert state.declined is not None
