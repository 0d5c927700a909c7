"""The takeover as a machine: every row of its table, and that nothing else changes anything."""

from dataclasses import replace

import pytest

from aggregator import takeover as on
from aggregator.presence import PATIENCE_S, QUIET_S, Watch
from aggregator.takeover import Effect, Event, GiveWay, Say, Subscribe, Takeover, TakeUp, due_s, step
from fedge.freshness import RoundId
from tests.aggregator.stories import LARGER, SMALLER, service, status
from tests.aggregator.test_presence import manifest

AWAY = Takeover("lab", "mqtt://here")


def after(*events: Event, state: Takeover = AWAY) -> tuple[Takeover, list[Effect]]:
    effects: list[Effect] = []
    for event in events:
        state, more = step(state, event)
        effects += more
    return state, effects


UP, SUBSCRIBED = on.LinkUp(10.0), on.Subscribed(10.2)


def test_it_subscribes_and_takes_up_after_a_silence_that_begins_with_the_brokers_answer() -> None:
    state, effects = after(UP)
    assert (effects, due_s(state)) == ([Subscribe()], None)
    state, effects = after(on.Tick(99.0), state=state)
    assert effects == [], "the broker has not answered"
    state, effects = after(SUBSCRIBED, state=state)
    assert (effects, due_s(state)) == ([], 10.2 + QUIET_S)
    assert after(on.Tick(10.5), state=state) == (state, [])
    state, effects = after(on.Tick(10.2 + QUIET_S), state=state)
    assert effects == [TakeUp(Watch(10.2))]
    assert due_s(state) is None


def test_each_message_begins_the_silence_anew_and_is_in_what_was_seen() -> None:
    state, effects = after(
        UP,
        on.StatusSeen(10.1, "a", status(seen=RoundId(1, 3))),
        SUBSCRIBED,
        on.ManifestSeen(10.3, manifest(RoundId(1, 4))),
        on.Tick(10.3 + QUIET_S - 0.01),
        on.StatusSeen(10.6, "b", status(online=False)),
        on.Tick(10.3 + QUIET_S),
    )
    assert effects == [Subscribe()]
    assert due_s(state) == 10.6 + QUIET_S
    _, (end,) = after(on.Tick(11.0), state=state)
    assert isinstance(end, TakeUp)
    assert (end.watch.announced, set(end.watch.devices), end.watch.online) == ((1, 4), {"a", "b"}, {"a"})


def test_an_aggregator_that_says_it_is_online_is_watched_and_told_of_once() -> None:
    state, effects = after(UP, SUBSCRIBED, on.ServiceSeen(10.3, service(SMALLER, beat=3), age_s=2.0))
    (_, said) = effects
    assert isinstance(said, Say)
    assert "watching whether it is alive" in said.text
    assert due_s(state) == pytest.approx(8.3 + PATIENCE_S)
    again, effects = after(
        on.ServiceSeen(10.4, service(SMALLER, beat=3)),
        on.LinkDown("reset"),
        UP,
        SUBSCRIBED,
        on.ServiceSeen(12.0, service(LARGER)),
        state=state,
    )
    assert [type(effect) for effect in effects] == [Say, Subscribe]
    assert due_s(again) == 12.0 + PATIENCE_S
    _, (end,) = after(on.Tick(12.0 + PATIENCE_S), state=again)
    assert isinstance(end, TakeUp)


def test_a_beat_that_moves_is_given_way_to_and_who_left_is_not() -> None:
    seen = after(UP, on.ServiceSeen(10.3, service(SMALLER, beat=3)))[0]
    _, effects = after(on.ServiceSeen(11.0, service(SMALLER, beat=4)), state=seen)
    assert effects == [
        GiveWay(
            "another aggregator serves federation 'lab' at mqtt://here "
            f"(instance {SMALLER.hex()[:8]}): giving way to it"
        )
    ]
    left, effects = after(on.ServiceSeen(11.0, service(SMALLER, beat=4, online=False)), state=seen)
    assert effects == []
    assert due_s(replace(left, subscribed_s=10.2)) == 11.0 + QUIET_S


def test_a_lost_connection_begins_the_watching_anew() -> None:
    state, _ = after(UP, SUBSCRIBED, on.StatusSeen(10.3, "a", status()))
    state, effects = after(on.LinkDown("reset"), state=state)
    assert effects == [Say("warning", "not connected: reset")]
    assert (state.watch, state.subscribed_s, due_s(state)) == (None, None, None)
    state, _ = after(on.LinkUp(20.0), state=state)
    assert (state.watch, due_s(state)) == (Watch(20.0), None), "its broker has not answered yet"


SEEN: list[Event] = [
    on.ServiceSeen(10.3, service(SMALLER)),
    on.ManifestSeen(10.3, manifest(RoundId(1, 4))),
    on.StatusSeen(10.3, "a", status()),
    SUBSCRIBED,
    on.Tick(99.0),
]


@pytest.mark.parametrize("event", SEEN)
def test_without_a_connection_nothing_counts(event: Event) -> None:
    assert step(AWAY, event) == (AWAY, [])


@pytest.mark.parametrize("event", [*SEEN, UP, on.LinkDown("reset")])
def test_after_the_end_nothing_counts(event: Event) -> None:
    state, _ = after(UP, SUBSCRIBED, on.Tick(20.0))
    assert state.over
    assert step(state, event) == (state, [])
