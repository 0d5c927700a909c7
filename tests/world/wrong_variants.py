"""The programs with one deliberate mistake each: the world must find every one of them.

A variant patches production's code in as few lines as the mistake takes; `SEEDS` says in which world it was
found first.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import agent.runtime
from agent import effects as agent_do
from agent import lifecycle
from agent.runtime import Runtime as Agent
from aggregator import closing, collecting, rounds
from aggregator import effects as do
from aggregator.federation import Federation, Phase, Step
from aggregator.ledger.writing import Ledger
from aggregator.presence import Watch
from aggregator.rules.mean import Contribution
from aggregator.runtime import Runtime as Aggregator
from fedge.frames import split
from fedge.freshness import round_of
from fedge.link import MessageArrived
from fedge.messages import Frame, unpack

Patch = pytest.MonkeyPatch
VARIANTS: dict[str, Callable[[Patch], None]] = {}


def variant(mistake: Callable[[Patch], None]) -> Callable[[Patch], None]:
    VARIANTS[mistake.__name__] = mistake
    return mistake


@variant
def receipt_before_the_ledgers_fsync(patch: Patch) -> None:
    durable = Aggregator._durable

    def eager(self: Aggregator, effects: list[do.Effect]) -> Iterator[do.Effect]:
        for effect in durable(self, effects):
            if isinstance(effect, do.SendReceipt):
                self._perform(effect)
            else:
                yield effect

    patch.setattr(Aggregator, "_durable", eager)


@variant
def update_published_before_saved(patch: Patch) -> None:
    perform = Agent._perform

    def eager(self: Agent, effect: agent_do.Effect) -> None:
        if isinstance(effect, agent_do.SaveUpdate):
            self._outbox = split(effect.payload)
            self._publish_update(effect.digest, None)
        perform(self, effect)

    patch.setattr(Agent, "_perform", eager)


@variant
def no_deduplication(patch: Patch) -> None:
    def forgetful(decide: Callable[[Federation, Any], Step]) -> Callable[[Federation, Any], Step]:
        def step(state: Federation, event: Any) -> Step:
            after, effects = decide(replace(state, answers={}, before={}), event)
            return replace(after, answers={**state.answers, **after.answers}, before=state.before), effects

        return step

    patch.setattr(rounds, "frame_arrived", forgetful(collecting.frame_arrived))
    patch.setattr(rounds, "update_read", forgetful(collecting.update_read))


@variant
def admitted_updates_dropped_after_a_missed_quorum(patch: Patch) -> None:
    again, save_round = rounds._again, Ledger.save_round

    def afresh(state: Federation, now_s: float, why: str) -> Step:
        return again(replace(state, answers={}, admitted=0), now_s, why)

    def save_and_drop(self: Ledger, round_id: Any, *values: Any) -> None:
        save_round(self, round_id, *values)
        self._run("DELETE FROM answers WHERE generation = ? AND round = ?", *round_id)

    patch.setattr(rounds, "_again", afresh)
    patch.setattr(Ledger, "save_round", save_and_drop)


@variant
def new_model_written_over_the_old_slot(patch: Patch) -> None:
    blob_of = closing.blob_of
    patch.setattr(closing, "blob_of", lambda data, _slot: blob_of(data, 0))


@variant
def stale_manifests_seconds_believed(patch: Patch) -> None:
    patch.setattr(agent.runtime, "seconds_left", lambda announced_s, _left_s: announced_s)


@variant
def late_wills_offline_believed(patch: Patch) -> None:
    patch.setattr(lifecycle, "_status_seen", lambda state, _event: (state, []))


@variant
def acknowledgements_withheld_for_a_whole_message(patch: Patch) -> None:
    show = Aggregator._show

    def incomplete(self: Aggregator, message: MessageArrived) -> bool:
        address = self._topics.parse(message.topic)
        if address is None or address.kind != "update" or address.device not in self._state.partials:
            return False
        return unpack(message.payload, Frame).id == self._state.partials[address.device].id

    def withhold(self: Aggregator, visible: Sequence[do.Effect | MessageArrived]) -> None:
        held: list[MessageArrived] = vars(self).setdefault("held", [])
        held += [effect for effect in visible if isinstance(effect, MessageArrived)]
        ready = [message for message in held if not incomplete(self, message)]
        vars(self)["held"] = [message for message in held if message not in ready]
        show(self, [effect for effect in visible if not isinstance(effect, MessageArrived)] + ready)

    patch.setattr(Aggregator, "_show", withhold)


@variant
def acknowledged_before_handled(patch: Patch) -> None:
    take = Aggregator._take

    def eager(self: Aggregator, event: Any) -> Iterator[Any]:
        if isinstance(event, MessageArrived):
            self._link.ack(event)
            yield from self._read(event)
        else:
            yield from take(self, event)

    patch.setattr(Aggregator, "_take", eager)


@variant
def model_announced_before_saved(patch: Patch) -> None:
    close_round, perform, summary = Ledger.close_round, Aggregator._perform, Ledger.summary

    def later(self: Ledger, *values: Any) -> None:
        vars(self)["unsaved"] = values

    def known(self: Ledger, round_id: Any) -> Any:
        unsaved = vars(self).get("unsaved")
        return unsaved[4] if unsaved is not None else summary(self, round_id)

    def announce_first(self: Aggregator, effect: do.Effect) -> None:
        perform(self, effect)
        unsaved = vars(self._ledger).pop("unsaved", None)
        if isinstance(effect, do.PublishManifest) and unsaved is not None:
            with self._ledger.transaction():
                close_round(self._ledger, *unsaved)

    patch.setattr(Ledger, "close_round", later)
    patch.setattr(Ledger, "summary", known)
    patch.setattr(Aggregator, "_perform", announce_first)


@variant
def partial_message_kept_over_rounds(patch: Patch) -> None:
    closed = rounds._round_closed

    def keep(state: Federation, event: Any) -> Step:
        after, effects = closed(state, event)
        kept = [effect for effect in effects if not isinstance(effect, do.DropSpool)]
        return replace(after, partials=state.partials, spooled=state.spooled), kept

    patch.setattr(rounds, "_round_closed", keep)


@variant
def answered_mark_saved_too_early(patch: Patch) -> None:
    publish = Agent._publish_update

    def mark(self: Agent, digest: bytes, numbers: tuple[int, ...] | None) -> None:
        publish(self, digest, numbers)
        self._memory.save_verdict(digest, "admitted")

    patch.setattr(Agent, "_publish_update", mark)


@variant
def sum_in_order_of_arrival_in_float32(patch: Patch) -> None:
    def finish(contributions: list[Contribution]) -> tuple[Any, int]:
        samples = sum(contribution.samples for contribution in contributions)
        total = np.zeros_like(contributions[0].vector)
        for contribution in contributions:
            total += np.float32(contribution.samples) * contribution.vector
        return total / np.float32(samples), samples

    patch.setattr(closing, "partial", list)
    patch.setattr(closing, "finish", finish)


@variant
def old_outbox_answers_a_new_round(patch: Patch) -> None:
    decide = lifecycle._decide

    def any_round(state: lifecycle.Device, now_s: float) -> lifecycle.Step:
        if state.saved is not None and state.manifest is not None and not state.returned:
            state = replace(state, saved=replace(state.saved, round=round_of(state.manifest), verdict=None))
        return decide(state, now_s)

    patch.setattr(lifecycle, "_decide", any_round)


@variant
def a_kept_session_taken_for_kept_frames(patch: Patch) -> None:
    link_up = rounds._link_up

    def trusting(state: Federation) -> Step:
        if state.phase is not Phase.COLLECTING:
            return link_up(state)
        after, effects = link_up(state)
        again = rounds._manifest_effects(after, 0.0)
        return after, [effect for effect in effects if not isinstance(effect, do.PublishBlobs)] + again

    patch.setattr(rounds, "_link_up", trusting)


@variant
def a_stale_online_watched_anew(patch: Patch) -> None:
    service = Watch.service
    patch.setattr(Watch, "service", lambda self, said, now_s, _age_s: service(self, said, now_s))


@variant
def signatures_not_checked(patch: Patch) -> None:
    patch.setattr(agent.runtime, "authenticate", lambda _envelope, _kind, _topics, signers, _verify: signers)


@variant
def an_update_admitted_while_the_round_closes(patch: Patch) -> None:
    def admit(state: Federation, event: Any) -> Step:
        if state.phase is not Phase.CLOSING:
            return collecting.update_read(state, event)
        after, effects = collecting.update_read(replace(state, phase=Phase.COLLECTING), event)
        return replace(after, phase=Phase.CLOSING), effects

    patch.setattr(rounds, "update_read", admit)


SEEDS = {
    "receipt_before_the_ledgers_fsync": 0,
    "update_published_before_saved": 0,
    "no_deduplication": 63,
    "admitted_updates_dropped_after_a_missed_quorum": 76,
    "new_model_written_over_the_old_slot": 0,
    "stale_manifests_seconds_believed": 112,
    "late_wills_offline_believed": 165,
    "acknowledgements_withheld_for_a_whole_message": 70,
    "acknowledged_before_handled": 0,
    "model_announced_before_saved": 0,
    "partial_message_kept_over_rounds": 3,
    "answered_mark_saved_too_early": 0,
    "sum_in_order_of_arrival_in_float32": 0,
    "old_outbox_answers_a_new_round": 0,
    "a_kept_session_taken_for_kept_frames": 36,
    "a_stale_online_watched_anew": 37,
    "signatures_not_checked": 116,
    "an_update_admitted_while_the_round_closes": 0,
}
"""The first world, counted from 0, in which each was found (5 devices, 5 rounds)."""
