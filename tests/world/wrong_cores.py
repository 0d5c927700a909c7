"""Cores that decide wrongly."""

from dataclasses import replace
from typing import Any

from agent.core import events as agent_on
from agent.core import lifecycle
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import rounds, takeover
from aggregator.core.federation import Stage
from aggregator.core.per_device import PerDevice
from fedge.wire.freshness import round_of
from fleet.simulator.disks import WatchedMemory
from fleet.simulator.invariants import Invariant
from tests.world.streams import Step, over_core, without
from tests.world.variant import Patch, Stepped, Variants, noted_in

VARIANTS: Variants = {}
variant = noted_in(VARIANTS)


@variant(
    "the aggregator judges an update again that it has already answered",
    Invariant.RECEIPT_WHEN_DURABLE,
    Invariant.QUORUM,
    within=100,
)
def no_deduplication(patch: Patch) -> None:
    def forgetful(step: Step, state: Any, event: Any) -> Stepped:
        if not isinstance(event, on.FrameArrived | on.UpdateRead):
            return step(state, event)
        if isinstance(event, on.FrameArrived):
            event = replace(event, verdict=None)
        after, effects = step(replace(state, answers=PerDevice()), event)
        return replace(after, answers=state.answers.put_all(after.answers)), effects

    over_core(patch, rounds, forgetful)


@variant(
    "the aggregator writes each new model over the retained frames of the one before",
    Invariant.ANNOUNCED_IS_READABLE,
    within=20,
)
def new_model_written_over_the_old_slot(patch: Patch) -> None:
    def one_slot(step: Step, state: Any, event: Any) -> Stepped:
        if isinstance(event, on.RoundClosed):
            event = replace(event, model=event.model.model_copy(update={"slot": 0}))
        return step(state, event)

    over_core(patch, rounds, one_slot)


@variant(
    "a device does not subtract a retained manifest's age from the remaining time",
    Invariant.WORK_IN_TIME,
    within=150,
    needs=["a short deadline"],
)
def stale_manifests_seconds_believed(patch: Patch) -> None:
    def believe(step: Step, state: Any, event: Any) -> Stepped:
        if isinstance(event, agent_on.RoundAnnounced):
            event = replace(event, left_s=event.manifest.seconds_left)
        return step(state, event)

    over_core(patch, lifecycle, believe)


@variant(
    'a connected device does not correct the "offline" of a late will',
    Invariant.PRESENCE,
    within=100,
    needs=["late wills"],
)
def late_wills_offline_believed(patch: Patch) -> None:
    def silent(step: Step, state: Any, event: Any) -> Stepped:
        return (state, []) if isinstance(event, agent_on.StatusSeen) else step(state, event)

    over_core(patch, lifecycle, silent)


@variant(
    "the aggregator keeps partial messages when their round closes", Invariant.PARTIALS_DROPPED, within=200
)
def partial_message_kept_over_rounds(patch: Patch) -> None:
    def keep(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        if isinstance(event, on.RoundClosed) and after.round != state.round:
            after = replace(after, partials=state.partials, spooled=state.spooled)
            effects = without(effects, do.DropSpool)
        return after, effects

    over_core(patch, rounds, keep)


@variant(
    "a restarted device sends the update of an earlier round for a new one",
    Invariant.ANSWERS_THE_NEWEST_ROUND,
    within=100,
)
def old_outbox_answers_a_new_round(patch: Patch) -> None:
    def any_round(step: Step, state: Any, event: Any) -> Stepped:
        announced = isinstance(event, agent_on.RoundAnnounced)
        if (
            announced and state.saved is not None and state.manifest is None
        ):  # the first manifest since it started
            state = replace(state, saved=replace(state.saved, round=round_of(event.manifest), verdict=None))
        return step(state, event)

    over_core(patch, lifecycle, any_round)


@variant(
    "the aggregator does not publish task and model again when it reconnects",
    Invariant.ANNOUNCED_IS_READABLE,
    within=100,
    needs=["a broker that forgets", "fast devices"],
)
def a_kept_session_taken_for_kept_frames(patch: Patch) -> None:
    def trusting(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        if not isinstance(event, on.LinkUp) or state.stage is not Stage.COLLECTING:
            return after, effects
        after, announced = step(after, on.BlobsPublished(event.now_s, after.round, None))
        return after, without(effects, do.PublishBlobs) + announced

    over_core(patch, rounds, trusting)


@variant(
    "the aggregator writes finer frames of a content over those that are announced",
    Invariant.ANNOUNCED_IS_READABLE,
    within=20,
    needs=["broker restart", "limits that change"],
)
def finer_frames_over_the_announced_ones(patch: Patch) -> None:
    def in_place(step: Step, state: Any, event: Any) -> Stepped:
        return step(state, replace(event, finer=frozenset()) if isinstance(event, on.LinkUp) else event)

    over_core(patch, rounds, in_place)


@variant(
    "the aggregator admits an update while the round closes",
    Invariant.MEAN,
    within=300,
    needs=["a long deadline", "a low target", "a slow device"],
)
def an_update_admitted_while_the_round_closes(patch: Patch) -> None:
    def admit(step: Step, state: Any, event: Any) -> Stepped:
        if not isinstance(event, on.UpdateRead) or state.stage is not Stage.CLOSING:
            return step(state, event)
        after, effects = step(replace(state, stage=Stage.COLLECTING), event)
        return replace(after, stage=Stage.CLOSING), without(effects, do.CloseRound)

    over_core(patch, rounds, admit)


@variant(
    'a starting aggregator ignores the age of another one\'s status "online"',
    Invariant.TAKEOVER_IN_TIME,
    within=100,
    needs=["crash loop"],
)
def a_stale_online_watched_anew(patch: Patch) -> None:
    def ageless(step: Step, state: Any, event: Any) -> Stepped:
        if isinstance(event, takeover.ServiceSeen):
            event = replace(event, age_s=0.0)
        return step(state, event)

    over_core(patch, takeover, ageless)


@variant(
    "an aggregator serves although its ledger is older than the fleet",
    Invariant.NEWEST_ROUND_TAKEN_UP,
    Invariant.SEEN_WHEN_DURABLE,
    within=100,
    needs=["ledger restored"],
)
def an_older_ledger_taken_up(patch: Patch) -> None:
    def trusting(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        return after, [
            takeover.TakeUp(state.watch) if isinstance(effect, takeover.Abort) else effect
            for effect in effects
        ]

    over_core(patch, takeover, trusting)


@variant(
    "an aggregator stops although its ledger is not older than the fleet",
    Invariant.GIVES_UP_WITH_REASON,
    within=20,
)
def a_ledger_given_up_that_is_not_older(patch: Patch) -> None:
    def timid(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        for effect in effects:
            if isinstance(effect, takeover.TakeUp) and effect.watch.announced == state.known.round:
                return after, [takeover.Abort("the round that is open here was announced")]
        return after, effects

    over_core(patch, takeover, timid)


@variant(
    "neither of two aggregators gives way", Invariant.ONE_AGGREGATOR, within=100, needs=["second aggregator"]
)
def nobody_gives_way(patch: Patch) -> None:
    def stubborn(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        return after, without(effects, do.Abort)

    def bold(step: Step, state: Any, event: Any) -> Stepped:
        return (state, []) if isinstance(event, takeover.ServiceSeen) else step(state, event)

    over_core(patch, rounds, stubborn)
    over_core(patch, takeover, bold)


@variant("a device does not save which round it has seen", Invariant.SEEN_WHEN_DURABLE, within=20)
def what_was_seen_is_not_saved(patch: Patch) -> None:
    patch.setattr(WatchedMemory, "save_seen", lambda _memory, _attempt: None)


@variant("every round waits for a device that never answers", Invariant.NO_WAIT_IN_VAIN, within=100)
def who_never_answers_awaited_for_ever(patch: Patch) -> None:
    def patient(step: Step, state: Any, event: Any) -> Stepped:
        return step(replace(state, missed=PerDevice()), event)

    over_core(patch, rounds, patient)


@variant(
    "the deadline also counts time without a connection",
    Invariant.DEADLINE_WITH_A_LINK,
    within=100,
    needs=["a short deadline"],
)
def deadlines_that_run_without_a_link(patch: Patch) -> None:
    def hurried(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        if isinstance(event, on.LinkDown):
            after = replace(after, elapsed_s=state.elapsed_s, since_s=state.since_s)
        return after, effects

    over_core(patch, rounds, hurried)


@variant(
    "the aggregator counts a device that is in quarantine",
    Invariant.NONE_THAT_IS_SET_ASIDE,
    within=100,
    needs=["a bad model"],
)
def a_device_that_is_set_aside_counted(patch: Patch) -> None:
    def blind(step: Step, state: Any, event: Any) -> Stepped:
        return (
            (state, [])
            if isinstance(event, on.Quarantined)
            else step(replace(state, quarantined=frozenset()), event)
        )

    over_core(patch, rounds, blind)
