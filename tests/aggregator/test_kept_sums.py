"""What the core keeps of all devices together is what counting them anew gives, whatever has happened."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.ability import may_count
from aggregator.core.claim_counts import counted
from aggregator.core.claims import Known, assess, outdated_hint, outdated_text
from aggregator.core.federation import Federation, Stage
from aggregator.core.patience import is_given_up
from aggregator.core.per_device import Devices
from aggregator.core.quorum import updates_needed
from aggregator.core.statuses import status_seen
from fedge.wire.capabilities import can
from fedge.wire.frames import cost
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.status import Decline
from fedge.wire.reasons import Reason
from fedge.wire.selection import chosen
from tests.aggregator.stories import Story, federation, rules, status
from tests.aggregator.test_rounds_at_random import FLEET, devices, happen, happenings

more = st.one_of(
    happenings,
    st.tuples(st.just("aside"), st.frozensets(devices, max_size=2)),
    st.tuples(st.just("fails"), devices, st.integers(0, 1)),
    st.tuples(st.just("can"), devices, st.booleans()),
    st.tuples(st.just("refused"), devices),
)


def happens(story: Story, what: tuple[object, ...]) -> None:
    match what:
        case ("aside", frozenset() as aside):
            story.tell(on.Quarantined(story.now_s, aside))
        case ("fails", str(device), int(attempt)):
            here = story.state.round
            no = Decline(
                generation=here.generation, round=here.round, attempt=attempt, reason=Reason.TRAINING_DIVERGED
            )
            story.sees(device, status(declined=no))
        case ("can", str(device), bool(able)):
            told = tuple(sorted(can())) if able else ("phase:survey",)
            story.sees(device, status().model_copy(update={"can": told}))
        case ("refused", str(device)):
            story.answers(device, samples=0)
        case _:
            happen(story, what)


def check(state: Federation) -> None:
    """Count everything anew, by what the fields promise."""
    answers = dict(state.answers)
    counted = {device for device, answer in answers.items() if answer.verdict == "admitted"}
    assert state.admitted == len(counted)
    assert state.untried == (len(counted - state.insufficient) if state.insufficient else 0)
    assert state.spooled == sum(cost(partial.size, partial.n) for partial in state.partials.values())
    assert state.fleet <= state.voters
    assert state.waited_s.keys() <= state.awaited
    assert state.awaited.isdisjoint(state.left_s)
    if state.stage is not Stage.COLLECTING:
        return
    declining = {
        device: no
        for device, no in state.declined.items()
        if (round_of(no), no.attempt) == (state.round, state.attempt)
    }
    asks = {
        device
        for device in FLEET
        if (device in state.online or device in answers)
        and may_count(state, device)
        and chosen(state.cohorts[-1], *state.round, state.attempt, device)
    }
    trusted = {device for device in FLEET if not is_given_up(state, device)}
    failing = {
        device
        for device in asks - answers.keys()
        if device in declining and declining[device].reason in (Reason.TRAINING_DIVERGED, Reason.FAILED)
    }
    assert state.failing == failing
    assert state.asked == failing | (asks & trusted)
    assert state.awaited == ((asks & trusted) & set(state.online)) - answers.keys() - declining.keys()


@settings(max_examples=200)
@given(st.lists(more, max_size=50), st.booleans(), st.sampled_from([2, 4]))
def test_sums_that_are_kept_are_those_counted_anew(
    what: list[tuple[object, ...]], surveying: bool, quorum: int
) -> None:
    first = {"round": RoundId(1, 0), "kind": "survey", "model": None} if surveying else {}
    story = Story(federation(rules=rules(0.7, None, quorum), **first))
    story.announce(*FLEET[:4])
    for happening in what:
        happens(story, happening)
        check(story.state)


def test_after_a_failure_only_others_make_enough() -> None:
    """Whose updates did not make a model is remembered, also while some of them are set aside."""
    story = Story(federation(rules=rules(1.0, None, 2)))
    story.announce("a", "b", "c", "d")
    for device in ("a", "b"):
        story.answers(device)
    story.later(61.0)
    story.tell(on.CloseFailed(story.now_s, story.state.round, "no model"))
    assert (story.state.untried, updates_needed(story.state)) == (0, 3)
    story.tell(on.Quarantined(story.now_s, frozenset({"a"})))
    assert (story.state.untried, updates_needed(story.state)) == (0, 2), "one of them alone was not tried"
    check(story.state)
    story.answers("c")
    assert (story.state.untried, story.state.admitted) == (1, 2)
    check(story.state)
    story.tell(on.Quarantined(story.now_s, frozenset({"a", "c"})))
    assert (story.state.untried, story.state.admitted) == (0, 1)


def test_what_was_waited_for_who_goes_comes_back_and_goes_is_added_up() -> None:
    story = Story(federation(rules=rules(1.0, None, 4)))
    story.announce(*"abcd")
    for waited_s in (5.0, 10.0):
        story.later(5.0)
        story.sees("a", status(online=False))
        check(story.state)
        assert story.state.waited_s == {}
        assert story.state.left_s == {"a": waited_s}
        story.later(1.0)
        story.sees("a")
        check(story.state)
        assert story.state.left_s == {}
        assert "a" in story.state.waited_s
    story.sees("b", status(online=False))
    story.answers("c")
    assert story.state.left_s == {}, "the round waited for that one, too"
    story.answers("a", samples=0)
    check(story.state)
    assert story.state.left_s == {"a": 10.0}, "it is no longer waited for"


claims = st.tuples(
    st.sampled_from("abcdefgh"),
    st.one_of(st.none(), st.builds(RoundId, st.integers(1, 4), st.integers(0, 1_500))),
)
some = st.frozensets(st.sampled_from("abcdefgh"))


@given(some, st.one_of(st.none(), some), st.lists(claims, max_size=20), st.booleans(), st.data())
def test_claims_are_counted_as_if_all_devices_were_looked_at(
    known: frozenset[str],
    roster: frozenset[str] | None,
    claimed: list[tuple[str, RoundId | None]],
    young: bool,
    data: st.DataObject,
) -> None:
    here = RoundId(2, 0 if young else 7)
    state = federation(round=here, voters=Devices(known), young=young, roster=roster)
    for device, claim in claimed:
        if data.draw(st.integers(0, 5)) == 0:
            state = replace(state, round=state.round._replace(round=state.round.round + 1))
        seen = claim if claim is not None and claim > state.round else None
        before = state.devices_ahead.get(device)
        state, effects = status_seen(state, on.StatusSeen(0.0, device, status(seen=claim or RoundId(1, 0))))
        gave_up = [each for each in effects if isinstance(each, do.Abort)]
        if state.claims is not None and state.claims.round == state.round:
            assert state.claims == counted(state)
        if seen is None or seen == before:
            assert gave_up == []
            continue
        all_known = Known(
            state.round, frozenset(state.voters), young and state.round.round == 0, state.roster
        )
        verdict = assess(all_known, state.fleet, state.devices_ahead)
        assert bool(gave_up) == (verdict.outcome == "behind")
        if not gave_up:
            assert (device in verdict.incredible) <= (device in state.incredible)
            assert state.claims is not None
            hint = outdated_hint(state.claims.distant, state.claims.voters)
            assert hint == outdated_text(verdict.incredible, all_known)
