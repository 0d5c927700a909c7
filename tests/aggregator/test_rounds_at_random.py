"""Any order of things: whatever happens to the core, its laws hold."""

from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.effects import Effect
from aggregator.core.federation import Federation, Stage
from fedge.wire.frames import cost
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason
from tests.aggregator.stories import (
    LARGER,
    OURS,
    Story,
    decline,
    federation,
    frames,
    of,
    round_closed,
    rules,
    saved_before_announced,
    service,
    status,
    survey,
    update,
)

FLEET = ("a", "b", "c", "d", "e")
devices = st.sampled_from(FLEET)
happenings = st.one_of(
    st.tuples(st.just("send"), devices, st.integers(-1, 12), st.integers(-1, 1), st.integers(1, 3)),
    st.tuples(st.just("piece"), devices, st.integers(1, 3), st.integers(0, 3)),
    st.tuples(st.just("status"), devices, st.booleans(), st.sampled_from([None, 0, 1])),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 5.0, 30.0, 61.0])),
    st.tuples(st.just("up")),
    st.tuples(st.just("down")),
    st.tuples(st.just("published"), st.sampled_from([0, 0, 0, 1])),
    st.tuples(st.just("closed"), st.sampled_from([0, 0, 0, 1])),
    st.tuples(st.just("failed")),
    st.tuples(st.just("unusable"), st.integers(1, 3)),
    st.tuples(st.just("other_leader"), st.sampled_from([OURS, LARGER]), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("garbage"), devices),
)


def happen(story: Story, what: tuple[object, ...]) -> None:
    match what:
        case ("send", str(device), int(samples), int(shift), int(pieces)):
            round_id = story.state.round._replace(round=max(0, story.state.round.round + shift))
            base = story.state.model.digest if story.state.model else story.state.task.digest
            if story.state.kind == "survey":
                story.send(device, survey(device, round_id, samples=10 * samples), pieces)
            else:
                story.send(device, update(device, round_id, base, samples=samples), pieces)
        case ("piece", str(device), int(samples), int(i)):
            story.frame(device, frames(update(device, story.state.round, samples=samples), 4)[i])
        case ("status", str(device), bool(online), attempt):
            declined = None if attempt is None else decline(story.state.round, int(str(attempt)))
            story.sees(device, status(online, declined=declined))
        case ("wait", float(seconds)):
            story.later(seconds)
        case ("up",):
            story.link_up()
        case ("down",):
            story.tell(on.LinkDown(story.now_s, ""))
        case ("published", int(shift)):
            round_id = story.state.round._replace(round=story.state.round.round + shift)
            story.tell(on.BlobsPublished(story.now_s, round_id, None))
        case ("closed", 0):
            story.closed()
        case ("closed", _):
            story.tell(round_closed(story.state.round._replace(round=77)))
        case ("failed",):
            story.tell(on.CloseFailed(story.now_s, story.state.round, "no model"))
        case ("unusable", int(number)):
            counts = [d for d, answer in story.state.answers.items() if answer.verdict == "admitted"]
            devices = tuple(sorted(counts)[:number])
            if devices:
                story.tell(on.MeanUnusable(story.now_s, story.state.round, devices, "no model"))
        case ("other_leader", bytes(instance), int(beat), bool(online)):
            story.tell(on.ServiceSeen(service(instance, beat, online=online)))
        case ("garbage", str(device)):
            story.tell(on.GarbageArrived(device, b"g" * 32, Reason.MALFORMED, ""))


def check_state(before: Federation, now: Federation) -> None:
    assert now.round >= before.round
    if now.round == before.round and now.stage is not Stage.DONE:
        for device, answer in before.answers.items():  # none is changed or taken back, but set aside
            assert now.answers[device] == answer or (
                answer.verdict == "admitted"
                and now.answers[device].reason is Reason.SET_ASIDE
                and now.answers[device].digest == answer.digest
            )
        assert now.cohorts[: len(before.cohorts)] == before.cohorts
    assert now.admitted == sum(answer.verdict == "admitted" for answer in now.answers.values())
    assert now.spooled == sum(cost(partial.size, partial.n) for partial in now.partials.values())
    assert now.link_up or now.since_s is None
    assert now.awaited <= now.online
    assert now.awaited.isdisjoint(now.answers)


def check_effects(log: list[Effect]) -> None:
    assert saved_before_announced(log)
    saved: set[tuple[str, bytes]] = set()
    for effect in log:
        match effect:
            case do.SaveAnswer(_, device, answer):
                assert (device, answer.digest) not in saved
                saved.add((device, answer.digest))
            case do.SendReceipt(device, receipt) if receipt.verdict == "admitted":
                assert (device, receipt.update) in saved  # durable before visible


@settings(max_examples=150)
@given(st.lists(happenings, max_size=60), st.booleans(), st.sampled_from([None, 2, 4]))
def test_whatever_happens_the_laws_hold(
    what: list[tuple[object, ...]], surveying: bool, target: int | None
) -> None:
    first = {"round": RoundId(1, 0), "kind": "survey", "model": None} if surveying else {}
    story = Story(federation(rules=rules(0.7, target), **first))
    story.start()
    closing_now: RoundId | None = None
    for happening in what:
        before, length = story.state, len(story.log)
        happen(story, happening)
        check_state(before, story.state)
        if of(do.SetAside, story.log[length:]):
            closing_now = None
        for effect in of(do.CloseRound, story.log[length:]):
            assert closing_now is None  # once, until it succeeds or fails
            closing_now = effect.round
        if story.state.stage is not Stage.CLOSING:
            closing_now = None
    check_effects(story.log)
