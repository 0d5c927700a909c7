"""The takeover as a machine: every row of its table, and that nothing else changes anything."""

from dataclasses import replace

import pytest

from aggregator.core import takeover as on
from aggregator.core.claims import HEARING_S, Known
from aggregator.core.presence import PATIENCE_S, QUIET_S, RETAINED_S, LeaderCheck
from aggregator.core.takeover import (
    Abort,
    Effect,
    Event,
    GiveWay,
    Log,
    Subscribe,
    Takeover,
    TakeUp,
    due_s,
    step,
)
from fedge.wire.freshness import RoundId
from tests.aggregator.stories import LARGER, SMALLER, service, status
from tests.aggregator.test_presence import manifest
from tests.wording import assert_tells

AWAY = Takeover("lab", "mqtt://here")


def after(*events: Event, state: Takeover = AWAY) -> tuple[Takeover, list[Effect]]:
    effects: list[Effect] = []
    for event in events:
        state, more = step(state, event)
        effects += more
    return state, effects


UP, SUBSCRIBED = on.LinkUp(10.0), on.Subscribed(10.2)


def once_more(now_s: float, *retained: Event) -> tuple[Event, ...]:
    """The end of a wait in which nothing has come: the broker is asked again, and sends what is retained."""
    return on.Tick(now_s), on.Subscribed(now_s), *retained, on.Tick(now_s + 1.0)


def test_it_subscribes_and_takes_up_after_a_silence_that_begins_with_the_brokers_answer() -> None:
    state, effects = after(UP)
    assert (effects, due_s(state)) == ([Subscribe()], None)
    state, effects = after(on.Tick(99.0), state=state)
    assert effects == [], "the broker has not answered"
    state, effects = after(SUBSCRIBED, state=state)
    assert (effects, due_s(state)) == ([], 10.2 + QUIET_S)
    assert after(on.Tick(10.5), state=state) == (state, [])
    state, effects = after(on.Tick(10.2 + QUIET_S), state=state)
    assert effects == [TakeUp(LeaderCheck(10.2))]
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
        state=replace(AWAY, known=Known(RoundId(1, 4))),
    )
    assert effects == [Subscribe()]
    assert due_s(state) == 10.6 + QUIET_S
    _, (end,) = after(on.Tick(11.0), state=state)
    assert isinstance(end, TakeUp)
    assert (end.watch.announced, set(end.watch.devices), end.watch.online) == ((1, 4), {"a", "b"}, {"a"})


def test_who_never_stops_talking_holds_nobody_up() -> None:
    for devices, seconds in ((1, QUIET_S), (10**6, RETAINED_S)):
        state, _ = after(UP, SUBSCRIBED)
        now_s, said = 10.2, 0
        while not state.over and now_s < 10.2 + 2 * RETAINED_S:
            now_s, said = now_s + QUIET_S / 2, said + 1
            status_seen = on.StatusSeen(now_s, f"d{said % devices}", status())
            state, _ = after(status_seen, on.Tick(now_s), state=state)
        assert now_s == pytest.approx(10.2 + seconds, abs=QUIET_S)


def test_an_aggregator_that_says_it_is_online_is_watched_and_told_of_once() -> None:
    state, effects = after(UP, SUBSCRIBED, on.ServiceSeen(10.3, service(SMALLER, beat=3), age_s=2.0))
    (_, said) = effects
    assert isinstance(said, Log)
    assert (said.level, "another aggregator" in said.text) == ("info", True)
    assert due_s(state) == pytest.approx(8.3 + PATIENCE_S)
    again, effects = after(
        on.ServiceSeen(10.4, service(SMALLER, beat=3)),
        on.LinkDown("reset"),
        UP,
        SUBSCRIBED,
        on.ServiceSeen(12.0, service(LARGER)),
        state=state,
    )
    assert [type(effect) for effect in effects] == [Log, Subscribe]
    assert due_s(again) == 12.0 + PATIENCE_S
    _, (_, end) = after(
        *once_more(12.0 + PATIENCE_S, on.ServiceSeen(27.1, service(LARGER), age_s=15.1)), state=again
    )
    assert isinstance(end, TakeUp)


def test_a_beat_that_moves_is_given_way_to_and_who_left_is_not() -> None:
    seen = after(UP, on.ServiceSeen(10.3, service(SMALLER, beat=3)))[0]
    _, effects = after(on.ServiceSeen(11.0, service(SMALLER, beat=4)), state=seen)
    (gives_way,) = effects
    assert isinstance(gives_way, GiveWay)
    assert_tells(gives_way.text, "'lab'", "mqtt://here", SMALLER.hex()[:8])
    left, effects = after(on.ServiceSeen(11.0, service(SMALLER, beat=4, online=False)), state=seen)
    assert effects == []
    assert due_s(replace(left, subscribed_s=10.2)) == 11.0 + QUIET_S


def test_a_lost_connection_begins_the_watching_anew() -> None:
    state, _ = after(UP, SUBSCRIBED, on.StatusSeen(10.3, "a", status()))
    state, effects = after(on.LinkDown("reset"), state=state)
    (said,) = effects
    assert isinstance(said, Log)
    assert (said.level, "reset" in said.text) == ("warning", True)
    assert (state.watch, state.subscribed_s, due_s(state)) == (None, None, None)
    state, _ = after(on.LinkUp(20.0), state=state)
    assert (state.watch, due_s(state)) == (LeaderCheck(20.0), None), "its broker has not answered yet"


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
    state, _ = after(UP, SUBSCRIBED, on.Tick(11.0))
    assert state.over
    assert step(state, event) == (state, [])


# ── who has seen what ──────────────────────────────────────────────────────────────────────────────

OLD = Takeover("lab", "mqtt://here", known=Known(RoundId(1, 3), frozenset("abcdef"), young=False))
NEW_GENERATION = replace(OLD, new_generation=True)


NEWER = RoundId(1, 5)


def claim(now_s: float, device: str, round_id: RoundId = NEWER) -> on.StatusSeen:
    return on.StatusSeen(now_s, device, status(seen=round_id))


def test_a_lone_claim_is_waited_with_until_half_of_the_devices_have_spoken() -> None:
    state, effects = after(UP, SUBSCRIBED, claim(10.3, "a"), on.Tick(10.3 + QUIET_S), state=OLD)
    (_, said) = effects
    assert isinstance(said, Log)
    for words in ("1 of the 6 devices", "a (1.5)", " 60 s "):
        assert words in said.text
    assert due_s(state) == 10.2 + HEARING_S
    honest = [claim(30.0 + i, name, RoundId(1, 3)) for i, name in enumerate("bc")]
    state, effects = after(*honest, on.Tick(31.0 + QUIET_S), state=state)
    (end,) = effects
    assert isinstance(end, TakeUp)
    assert (end.generation, set(end.watch.devices)) == (None, {"a", "b", "c"})


def test_they_are_waited_for_no_longer_than_60_s_however_often_the_line_breaks() -> None:
    state, _ = after(UP, SUBSCRIBED, claim(10.3, "a"), on.Tick(11.0), state=OLD)
    for now_s in range(20, 70, 10):
        again = [on.LinkDown("reset"), on.LinkUp(now_s), on.Subscribed(now_s), claim(now_s, "a")]
        state, effects = after(*again, on.Tick(now_s + 1.0), state=state)
        assert [type(effect) for effect in effects] == [Log, Subscribe], "who is waited for is said once"
    _, (asked, end) = after(*once_more(10.2 + HEARING_S, claim(70.3, "a")), state=state)
    assert asked == Subscribe()
    assert isinstance(end, TakeUp)


def test_what_is_announced_while_the_line_is_dark_is_seen_before_the_end() -> None:
    """It waited for other devices, and heard nothing: no packet came through."""
    state, _ = after(UP, SUBSCRIBED, claim(10.3, "a"), on.Tick(11.0), state=OLD)
    state, effects = after(on.Tick(10.2 + HEARING_S), on.Tick(99.0), state=state)
    assert (effects, due_s(state)) == ([Subscribe()], None), "the broker has not answered"
    answer = on.Subscribed(100.0), claim(100.1, "a"), on.ManifestSeen(100.1, manifest(RoundId(1, 4)))
    _, (end,) = after(*answer, on.Tick(120.0), state=state)
    assert isinstance(end, Abort)
    assert_tells(end.text, "round 1.4 ")


def test_a_connection_is_asked_again_once() -> None:
    """A machine on which each turn takes long comes to an end too."""
    state, effects = after(UP, SUBSCRIBED, on.Tick(20.0), on.Subscribed(21.0), on.Tick(30.0))
    assert [type(effect) for effect in effects] == [Subscribe, Subscribe, TakeUp]
    state, _ = after(
        UP, SUBSCRIBED, on.Tick(20.0), on.LinkDown("reset"), on.LinkUp(30.0), on.Subscribed(31.0)
    )
    _, (effect,) = after(on.Tick(40.0), state=state)
    assert effect == Subscribe()


def test_where_nobody_claims_more_nobody_is_waited_for() -> None:
    seen = (UP, SUBSCRIBED, claim(10.3, "a", RoundId(1, 3)))
    _, (_, end) = after(*seen, on.Tick(10.3 + QUIET_S), state=OLD)
    assert isinstance(end, TakeUp)
    _, (_, said, end) = after(
        UP, SUBSCRIBED, claim(10.3, "a", RoundId(2**31 - 2, 0)), on.Tick(11.0), state=OLD
    )
    assert isinstance(said, Log)
    assert "a (2147483646.0)" in said.text
    assert isinstance(end, TakeUp)
    assert end.incredible == {"a"}


def test_more_than_half_end_it_at_once_and_too_few_let_it_look_again_later() -> None:
    seen = [claim(10.3, name) for name in "abcd"]
    _, (_, end) = after(UP, SUBSCRIBED, *seen, on.Tick(11.0), state=OLD)
    assert isinstance(end, Abort)
    assert not end.later
    assert_tells(end.text, "4 of the 6 devices", "1.3")
    state, _ = after(UP, SUBSCRIBED, *seen[:2], on.Tick(11.0), state=OLD)
    _, (_, end) = after(*once_more(10.2 + HEARING_S, *(claim(70.3, name) for name in "ab")), state=state)
    assert isinstance(end, Abort)
    assert end.later
    assert_tells(end.text, "c, d, e, f")


def test_an_announcement_decides_at_once() -> None:
    seen = on.ManifestSeen(10.3, manifest(RoundId(1, 4)))
    _, (_, end) = after(UP, SUBSCRIBED, claim(10.3, "a"), seen, on.Tick(11.0), state=OLD)
    assert isinstance(end, Abort)
    assert not end.later
    assert_tells(end.text, "round 1.4 ")
    assert "signature" not in end.text


@pytest.mark.parametrize("key", [None, b"k" * 32])
def test_only_an_unsigned_announcement_that_is_far_is_suspected(key: bytes | None) -> None:
    far = on.ManifestSeen(10.3, manifest(RoundId(2**31 - 2, 0)))
    _, (_, end) = after(UP, SUBSCRIBED, far, on.Tick(11.0), state=replace(OLD, key=key))
    assert isinstance(end, Abort)
    assert ("'fedge/v1/lab/round'" in end.text) == (key is None)
    _, (_, *said, end) = after(UP, SUBSCRIBED, far, on.Tick(11.0), state=replace(NEW_GENERATION, key=key))
    assert isinstance(end, TakeUp)
    assert end.generation == (2 if key is None else 2**31 - 1)
    assert len(said) == (key is None)


def test_a_new_generation_waits_for_nobody_but_where_a_new_ledger_heard_one_device_only() -> None:
    lie = claim(10.3, "a", RoundId(9, 9))
    _, (_, _, end) = after(UP, SUBSCRIBED, lie, on.Tick(11.0), state=NEW_GENERATION)
    assert isinstance(end, TakeUp)
    assert end.generation == 2
    new = replace(AWAY, new_generation=True)
    state, (_, said) = after(UP, SUBSCRIBED, lie, on.Tick(11.0), state=new)
    assert isinstance(said, Log)
    _, (end,) = after(claim(12.0, "b", RoundId(9, 9)), on.Tick(12.0 + QUIET_S), state=state)
    assert isinstance(end, TakeUp)
    assert end.generation == 10
    _, (_, said, end) = after(*once_more(10.2 + HEARING_S, lie), state=state)
    assert isinstance(end, TakeUp)
    assert (end.generation, end.incredible) == (1, {"a"})
