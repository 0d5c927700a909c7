"""Hosts that perform the effects of their cores wrongly."""

from dataclasses import replace
from typing import Any

from agent.core import effects as agent_do
from agent.core import lifecycle
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import rounds
from aggregator.core.federation import Stage
from aggregator.core.per_device import PerDevice
from aggregator.ledger.writing import Ledger
from fedge.transport import MessageArrived, Publication
from fedge.wire.frames import split
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import pack, unpack
from fleet.simulator.hosts import AggregatorHost, DeviceHost
from fleet.simulator.invariants import Invariant
from fleet.simulator.link import VirtualLink
from tests.world.streams import Step, before, over_core, over_host, say, without
from tests.world.variant import Patch, Stepped, Variants, noted_in

VARIANTS: Variants = {}
variant = noted_in(VARIANTS)


@variant(
    "the aggregator sends a receipt before it has saved the verdict",
    Invariant.RECEIPT_WHEN_DURABLE,
    within=20,
)
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


@variant("a device publishes an update before it has saved it", Invariant.UPDATE_WHEN_DURABLE, within=20)
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


@variant(
    "the aggregator acknowledges a message before it has handled it",
    Invariant.ACKNOWLEDGED_WHEN_DURABLE,
    within=20,
)
def acknowledged_before_handled(patch: Patch) -> None:
    turn = AggregatorHost.turn

    def eager(self: AggregatorHost, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, MessageArrived) and self.runtime is not None:
                assert self.link is not None
                self.link.acknowledge(event)
        turn(self, events)

    patch.setattr(AggregatorHost, "turn", eager)


@variant(
    "a program acknowledges the frames of a message only when it has all of them",
    Invariant.PROGRESS,
    within=100,
    needs=["lies"],
)
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


@variant("the aggregator announces a model before it has saved it", Invariant.MODEL_WHEN_DURABLE, within=20)
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


@variant(
    'a device saves the verdict "admitted" when it publishes its update',
    Invariant.VERDICT_WAS_GIVEN,
    within=20,
)
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


@variant(
    "the aggregator deletes admitted updates when an attempt misses its quorum",
    Invariant.PROMISE_KEPT,
    within=1000,
    needs=["a short deadline", "a slow device"],
)
def admitted_updates_dropped_after_a_missed_quorum(patch: Patch) -> None:
    def afresh(host: AggregatorHost, step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        if after.round != state.round or after.attempt == state.attempt:
            return after, effects
        db = vars(host.ledger)["_db"]
        db.execute("DELETE FROM answers WHERE generation = ? AND round = ?", tuple(after.round))
        return replace(after, answers=PerDevice(), admitted=0), effects

    over_host(patch, rounds, afresh)
