"""The programs with one deliberate mistake each: the world must find every one of them.

A mistake is described on the stream of effects (`tests.world.streams`): by what a core that is wrong makes
of a state and an event, or by what a host that is wrong does with the effects it is to perform. Beside it
stands which invariant it breaks and within how many worlds that shows; `tests.world.search` looks for it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import agent.shell.runtime
from agent.core import effects as agent_do
from agent.core import events as agent_on
from agent.core import lifecycle
from agent.core.device import Asking
from agent.core.state import AlgorithmState
from agent.shell.memory import Memory
from aggregator.aggregation import aggregate, beginnings, figures, recomputation, summary, survey, updates
from aggregator.aggregation.aggregate import Aggregate, Unusable, usable
from aggregator.aggregation.probes import Trial
from aggregator.aggregation.updates import Updates
from aggregator.core import claims, rounds, takeover, vectors
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.claims import Known
from aggregator.core.federation import Stage
from aggregator.core.per_device import PerDevice
from aggregator.core.verdicts import Verdict
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.writing import Ledger
from aggregator.phases import train
from fedge.algorithms.rules import mean
from fedge.algorithms.rules.bounds import Bounds, Factors, bounds
from fedge.algorithms.rules.columns import pooled
from fedge.algorithms.rules.mean import Contribution
from fedge.transport import MessageArrived, Publication
from fedge.wire.frames import split
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.fields import MAX_COUNTER
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import pack, unpack
from fedge.wire.reasons import Reason
from fleet.simulator.disks import WatchedMemory
from fleet.simulator.hosts import AggregatorHost, DeviceHost
from fleet.simulator.invariants import Invariant
from fleet.simulator.link import VirtualLink
from fleet.simulator.oracle import Made
from fleet.simulator.oracle.summaries import Summaries
from tests.world.streams import Step, before, over_core, over_host, say, without

Patch = pytest.MonkeyPatch
Stepped = tuple[Any, list[Any]]
Mistake = Callable[[Patch], None]


@dataclass(frozen=True)
class Variant:
    """A mistake, and what the world has to make of it."""

    title: str
    """As docs/world.md calls it."""
    make: Mistake
    breaks: frozenset[Invariant]
    """Any of these is found; another violation is none of this mistake."""
    within: int
    """Among so many of the worlds in which it can show, counted from seed 0: some ten times the distance from
    one that shows it to the next (`python -m tests.world.search` measures that)."""
    needs: frozenset[str]
    """What a world must be like for it to show, as `traits` tells: others need not be looked into."""


VARIANTS: dict[str, Variant] = {}


def variant(
    title: str, *breaks: Invariant, within: int, needs: Collection[str] = ()
) -> Callable[[Mistake], Mistake]:
    def known(make: Mistake) -> Mistake:
        VARIANTS[make.__name__] = Variant(title, make, frozenset(breaks), within, frozenset(needs))
        return make

    return known


# ── a host that performs its effects wrongly ───────────────────────────────────────────────────────


@variant("a receipt sent before the ledger's fsync", Invariant.RECEIPT_WHEN_DURABLE, within=20)
def receipt_before_the_ledgers_fsync(patch: Patch) -> None:
    def eager(host: AggregatorHost, step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        topics = host.scene.topics
        before(
            effects,
            do.SendReceipt,
            lambda one: say(host, [Publication(topics.receipt(one.device), pack(one.receipt))]),
        )
        return after, without(effects, do.SendReceipt)

    over_host(patch, rounds, eager)


@variant("an update published before it is saved", Invariant.UPDATE_WHEN_DURABLE, within=20)
def update_published_before_saved(patch: Patch) -> None:
    def eager(host: DeviceHost, step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        topic = host.scene.topics.update(host.device)

        def publish(saved: agent_do.SaveUpdate) -> None:
            frames = split(saved.payload)
            say(host, [Publication(topic, frames[i]) for i in range(len(frames))])

        before(effects, agent_do.SaveUpdate, publish)
        return after, effects

    over_host(patch, lifecycle, eager)


@variant("acknowledged before handled", Invariant.ACKNOWLEDGED_WHEN_DURABLE, within=20)
def acknowledged_before_handled(patch: Patch) -> None:
    turn = AggregatorHost.turn

    def eager(self: AggregatorHost, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, MessageArrived) and self.runtime is not None:
                assert self.link is not None
                self.link.acknowledge(event)
        turn(self, events)

    patch.setattr(AggregatorHost, "turn", eager)


@variant("acknowledgements withheld for a whole message", Invariant.PROGRESS, within=100, needs=["lies"])
def acknowledgements_withheld_for_a_whole_message(patch: Patch) -> None:
    acknowledge = VirtualLink.acknowledge

    def withhold(self: VirtualLink, message: MessageArrived) -> None:
        try:
            frame = unpack(message.payload, Frame)
        except Exception:
            return acknowledge(self, message)
        held: dict[bytes, dict[int, MessageArrived]] = vars(self).setdefault("withheld", {})
        pieces = held.setdefault(frame.id, {})
        pieces[frame.i] = message
        if len(pieces) == frame.n:
            for piece in held.pop(frame.id).values():
                acknowledge(self, piece)
        return None

    patch.setattr(VirtualLink, "acknowledge", withhold)


@variant("a model announced before it is saved", Invariant.MODEL_WHEN_DURABLE, within=20)
def model_announced_before_saved(patch: Patch) -> None:
    close_round, summary = Ledger.close_round, Ledger.summary
    unsaved: dict[Ledger, tuple[Any, ...]] = {}

    def later(self: Ledger, *values: Any) -> None:
        unsaved.clear()
        unsaved[self] = values

    def known(self: Ledger, round_id: Any) -> Any:
        return unsaved[self][4] if self in unsaved else summary(self, round_id)

    def announced_first(host: AggregatorHost, step: Step, state: Any, event: Any) -> Stepped:
        announced = state.stage in (Stage.COLLECTING, Stage.DONE) and not isinstance(event, on.Tick)
        assert host.ledger is not None
        if announced and host.ledger in unsaved:
            close_round(host.ledger, *unsaved.pop(host.ledger))
        return step(state, event)

    patch.setattr(Ledger, "close_round", later)
    patch.setattr(Ledger, "summary", known)
    over_host(patch, rounds, announced_first)


@variant('the mark "answered" saved too early', Invariant.VERDICT_WAS_GIVEN, within=20)
def answered_mark_saved_too_early(patch: Patch) -> None:
    def mark(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        marks = [
            agent_do.SaveVerdict(one.digest, "admitted")
            for one in effects
            if isinstance(one, agent_do.PublishUpdate)
        ]
        return after, effects + marks

    over_core(patch, lifecycle, mark)


@variant("admitted updates dropped after a missed quorum", Invariant.PROMISE_KEPT, within=1000)
def admitted_updates_dropped_after_a_missed_quorum(patch: Patch) -> None:
    def afresh(host: AggregatorHost, step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        if after.round != state.round or after.attempt == state.attempt:
            return after, effects
        db = vars(host.ledger)["_db"]
        db.execute("DELETE FROM answers WHERE generation = ? AND round = ?", tuple(after.round))
        return replace(after, answers=PerDevice(), admitted=0), effects

    over_host(patch, rounds, afresh)


# ── a core that decides wrongly ────────────────────────────────────────────────────────────────────


@variant("no de-duplication", Invariant.RECEIPT_WHEN_DURABLE, Invariant.QUORUM, within=100)
def no_deduplication(patch: Patch) -> None:
    def forgetful(step: Step, state: Any, event: Any) -> Stepped:
        if not isinstance(event, on.FrameArrived | on.UpdateRead):
            return step(state, event)
        if isinstance(event, on.FrameArrived):
            event = replace(event, verdict=None)
        after, effects = step(replace(state, answers=PerDevice()), event)
        return replace(after, answers=state.answers.put_all(after.answers)), effects

    over_core(patch, rounds, forgetful)


@variant("frames of a new model written over the old slot", Invariant.ANNOUNCED_IS_READABLE, within=20)
def new_model_written_over_the_old_slot(patch: Patch) -> None:
    def one_slot(step: Step, state: Any, event: Any) -> Stepped:
        if isinstance(event, on.RoundClosed):
            event = replace(event, model=event.model.model_copy(update={"slot": 0}))
        return step(state, event)

    over_core(patch, rounds, one_slot)


@variant(
    "a stale retained manifest's seconds believed",
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
    'a will\'s "offline" believed after a newer "online"',
    Invariant.PRESENCE,
    within=100,
    needs=["late wills"],
)
def late_wills_offline_believed(patch: Patch) -> None:
    def silent(step: Step, state: Any, event: Any) -> Stepped:
        return (state, []) if isinstance(event, agent_on.StatusSeen) else step(state, event)

    over_core(patch, lifecycle, silent)


@variant("a partial message kept over rounds", Invariant.PARTIALS_DROPPED, within=200)
def partial_message_kept_over_rounds(patch: Patch) -> None:
    def keep(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        if isinstance(event, on.RoundClosed) and after.round != state.round:
            after = replace(after, partials=state.partials, spooled=state.spooled)
            effects = without(effects, do.DropSpool)
        return after, effects

    over_core(patch, rounds, keep)


@variant(
    "a device restarted with an old outbox answers a new round",
    Invariant.ANSWERS_THE_NEWEST_ROUND,
    within=100,
)
def old_outbox_answers_a_new_round(patch: Patch) -> None:
    def any_round(step: Step, state: Any, event: Any) -> Stepped:
        announced = isinstance(event, agent_on.RoundAnnounced)
        if announced and state.saved is not None and state.manifest is None:  # the first one since it started
            state = replace(state, saved=replace(state.saved, round=round_of(event.manifest), verdict=None))
        return step(state, event)

    over_core(patch, lifecycle, any_round)


@variant(
    "a kept session taken for kept frames",
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
    "an update admitted while the round closes",
    Invariant.MEAN,
    within=300,
    needs=["a low target", "a slow device"],
)
def an_update_admitted_while_the_round_closes(patch: Patch) -> None:
    def admit(step: Step, state: Any, event: Any) -> Stepped:
        if not isinstance(event, on.UpdateRead) or state.stage is not Stage.CLOSING:
            return step(state, event)
        after, effects = step(replace(state, stage=Stage.COLLECTING), event)
        return replace(after, stage=Stage.CLOSING), without(effects, do.CloseRound)

    over_core(patch, rounds, admit)


@variant(
    'an aggregator that looks anew counts a stale "online" anew',
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
    "an older ledger taken up",
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


@variant("a ledger given up that is not older", Invariant.GIVES_UP_WITH_REASON, within=20)
def a_ledger_given_up_that_is_not_older(patch: Patch) -> None:
    def timid(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        for effect in effects:
            if isinstance(effect, takeover.TakeUp) and effect.watch.announced == state.known.round:
                return after, [takeover.Abort("the round that is open here was announced")]
        return after, effects

    over_core(patch, takeover, timid)


@variant("nobody gives way", Invariant.ONE_AGGREGATOR, within=100, needs=["second aggregator"])
def nobody_gives_way(patch: Patch) -> None:
    def stubborn(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        return after, without(effects, do.Abort)

    def bold(step: Step, state: Any, event: Any) -> Stepped:
        return (state, []) if isinstance(event, takeover.ServiceSeen) else step(state, event)

    over_core(patch, rounds, stubborn)
    over_core(patch, takeover, bold)


@variant("what was seen of rounds not saved", Invariant.SEEN_WHEN_DURABLE, within=20)
def what_was_seen_is_not_saved(patch: Patch) -> None:
    patch.setattr(WatchedMemory, "save_seen", lambda _memory, _attempt: None)


@variant("who never answers is awaited for ever", Invariant.NO_WAIT_IN_VAIN, within=100)
def who_never_answers_awaited_for_ever(patch: Patch) -> None:
    def patient(step: Step, state: Any, event: Any) -> Stepped:
        return step(replace(state, missed=PerDevice()), event)

    over_core(patch, rounds, patient)


@variant("deadlines that run without a link", Invariant.DEADLINE_WITH_A_LINK, within=100)
def deadlines_that_run_without_a_link(patch: Patch) -> None:
    def hurried(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        if isinstance(event, on.LinkDown):
            after = replace(after, elapsed_s=state.elapsed_s, since_s=state.since_s)
        return after, effects

    over_core(patch, rounds, hurried)


@variant(
    "a device that is set aside counted",
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


# ── a part that is wrong in itself ─────────────────────────────────────────────────────────────────


@variant("the sum in order of arrival, in float32", Invariant.MEAN, within=20)
def sum_in_order_of_arrival_in_float32(patch: Patch) -> None:
    def finish(contributions: list[Contribution]) -> tuple[Any, int]:
        samples = sum(contribution.samples for contribution in contributions)
        total = np.zeros_like(contributions[0].vector)
        for contribution in contributions:
            total += np.float32(contribution.samples) * contribution.vector
        return total / np.float32(samples), samples

    patch.setattr(mean, "partial", list)
    patch.setattr(mean, "finish", finish)


@variant("differences that are not clipped", Invariant.MEAN, within=40, needs=["a lying member"])
def differences_not_clipped(patch: Patch) -> None:
    over_bounds(patch, clip_norm=0.0)


@variant("n_k that are not capped", Invariant.MEAN, within=200)
def n_k_not_capped(patch: Patch) -> None:
    over_bounds(patch, max_weight=0.0)


def over_bounds(patch: Patch, **changes: float) -> None:
    def lax(norms: Sequence[float], samples: Sequence[int], factors: Factors) -> Bounds:
        return bounds(norms, samples, replace(factors, **changes))

    patch.setattr(aggregate, "bounds", lax)


@variant("updates admitted from any distance", Invariant.DISTANCE, within=40, needs=["a lying member"])
def updates_admitted_from_any_distance(patch: Patch) -> None:
    patch.setattr(vectors, "distance", lambda _start, _vector: 0.0)


@variant("a mean taken that is not usable", Invariant.MODEL_USABLE, within=100)
def a_mean_taken_that_is_not_usable(patch: Patch) -> None:
    patch.setattr(Trial, "passes", lambda _trial, _vector: True)


@variant("an update counted that was set aside", Invariant.MEAN, within=200)
def an_update_counted_that_was_set_aside(patch: Patch) -> None:
    def whole(ledger: LedgerReader, round_id: RoundId, _without: Any = ()) -> dict[str, Verdict]:
        return {
            device: answer
            for device, answer in ledger.answers(round_id).items()
            if answer.verdict == "admitted" or answer.reason is Reason.SET_ASIDE
        }

    def once(found: Updates, base: Any, factors: Factors, *others: Any) -> Aggregate | Unusable:
        if any(answer.reason is Reason.SET_ASIDE for answer in found.answers.values()):
            return aggregate.aggregate(found, base, factors)
        return usable(found, base, factors, *others)

    patch.setattr(updates, "admitted", whole)
    patch.setattr(train, "usable", once)


@variant("figures believed as they are told", Invariant.END_OF_LEARNING, within=40, needs=["a lying member"])
def figures_believed(patch: Patch) -> None:
    """As told: by the count that each device claims to hold out."""

    def believe(answers: Mapping[str, Verdict], _needed: int, _count: int) -> dict[str, float]:
        told = [answer.metrics for answer in answers.values() if "accuracy_before" in answer.metrics]
        held = sum(metrics.get("held_out", 0.0) for metrics in told)
        if not held:
            return {}
        total = sum(metrics["accuracy_before"] * metrics.get("held_out", 0.0) for metrics in told)
        return {"accuracy": total / held}

    patch.setattr(summary, "summarize", believe)
    patch.setattr(Summaries, "require", _note_accuracies)


@variant("one device's word taken for the fleet's figure", Invariant.FIGURES, within=100)
def one_word_is_the_fleets(patch: Patch) -> None:
    """A figure that others do not tell."""
    patch.setattr(figures, "suffice", lambda _telling, _admitted: True)


@variant("a last model measured by one device's word for all who made it", Invariant.FIGURES, within=100)
def a_last_model_measured_by_one_word(patch: Patch) -> None:
    """By one of all those who made it."""
    told = summary.told
    patch.setattr(summary, "told", lambda job, answers, _count=0: told(job, answers))


def _note_accuracies(
    self: Summaries, ledger: LedgerReader, round_id: RoundId, made: list[Made], _count: int
) -> None:
    """What devices told, without the comparison that finds this mistake at once: learning must go on too."""
    self.endings.note(round_id, made)


@variant(
    "claims believed however far",
    Invariant.GENERATION_IN_REACH,
    within=100,
    needs=["a lying member", "ledger wiped", "new generation"],
)
def claims_believed_however_far(patch: Patch) -> None:
    """The next generation comes after the newest that any single device claims to have seen."""

    def after_all(known: Known, claimed: Mapping[str, RoundId], *_verdict: Any, signed: bool) -> int:
        newest = max([known.round or RoundId(0, 0), *claimed.values()])
        return min(newest.generation + 1, MAX_COUNTER)

    patch.setattr(claims, "next_generation", after_all)


@variant("one claim believed", Invariant.GIVES_UP_WITH_REASON, within=100, needs=["a lying member"])
def one_claim_believed(patch: Patch) -> None:
    """A ledger is older than the fleet as soon as a single device says so."""
    right = claims.judge

    def hasty(*values: Any) -> claims.Judgement:
        verdict = right(*values)
        return replace(verdict, outcome="behind", open=False) if verdict.newer else verdict

    patch.setattr(claims, "judge", hasty)


@variant("surveys merged by samples", Invariant.STANDARDIZATION, within=20)
def surveys_merged_by_samples(patch: Patch) -> None:
    for rule in (survey.RULE, survey.CLIPPED, survey.EXACT):
        patch.setitem(survey.RULES, rule, pooled)  # type: ignore[attr-defined]


@variant("a device that is left out averaged again", Invariant.BEGINNING, within=600, needs=["a bad model"])
def a_device_that_is_left_out_averaged_again(patch: Patch) -> None:
    def with_it(*values: Any, without: Any = (), **others: Any) -> Updates:
        return Updates(*values, **others)

    patch.setattr(recomputation, "Updates", with_it)


@variant(
    "rounds since not moved to the model gone back to",
    Invariant.BEGINNING,
    within=1_000,
    needs=["a bad model"],
)
def rounds_since_not_moved_to_the_model_gone_back_to(patch: Patch) -> None:
    """The others' means are taken as they are: with all that was in the models they trained from."""

    def last(ledger: Any, beginning: Any, size: int, samples: Any) -> Any:
        here = beginning.source._replace(round=beginning.last)
        return beginnings.made_by(ledger, here, size, beginning.without).vector

    patch.setattr(beginnings, "_again", last)


@variant("signatures that are not checked", Invariant.WORK_IN_TIME, within=100, needs=["lies"])
def signatures_not_checked(patch: Patch) -> None:
    patch.setattr(
        agent.shell.runtime, "authenticate", lambda _envelope, _kind, _topics, signers, _verify: signers
    )


@variant("what became of an update guessed", Invariant.STATE_COUNTS_ONCE, within=100, needs=["a state"])
def what_became_of_an_update_guessed(patch: Patch) -> None:
    """Whoever has heard no receipt takes up the next round as if the update before was refused."""

    def hasty(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        if isinstance(after.work, Asking) and not isinstance(state.work, Asking):
            return step(replace(state, saved=None), event)
        return after, effects

    over_core(patch, lifecycle, hasty)


@variant("a state that waits for no verdict", Invariant.STATE_COUNTS_ONCE, within=100, needs=["a state"])
def a_state_that_waits_for_no_verdict(patch: Patch) -> None:
    """What was learnt counts as soon as it is saved, so that it counts again where it is learnt anew."""

    def newest(self: Memory) -> AlgorithmState | None:
        row = self._db.execute(
            "SELECT generation, round, lineage, data FROM states ORDER BY generation DESC, round DESC"
        ).fetchone()
        return AlgorithmState(RoundId(row[0], row[1]), row[2], row[3]) if row else None

    patch.setattr(Memory, "state", newest)


@variant("a verdict that moves no state", Invariant.STATE_COUNTS_ONCE, within=20, needs=["a state"])
def a_verdict_that_moves_no_state(patch: Patch) -> None:
    """The state stays that of before, and is applied again in the next round."""
    first: dict[int, AlgorithmState | None] = {}

    def stays(self: Memory) -> AlgorithmState | None:
        return first.setdefault(id(self), right(self))

    right = Memory.state
    patch.setattr(Memory, "state", stays)


@variant(
    "a state given up instead of asked about", Invariant.STATE_COUNTS_ONCE, within=100, needs=["a state"]
)
def a_state_given_up_instead_of_asked_about(patch: Patch) -> None:
    """Whoever has heard no receipt begins anew, as if nobody could know."""

    def careless(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        if isinstance(after.work, Asking) and not isinstance(state.work, Asking):
            after, effects = step(replace(state, saved=None, remembers=None), event)
            return after, [agent_do.ResetState(), *effects]
        return after, effects

    over_core(patch, lifecycle, careless)
