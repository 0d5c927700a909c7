"""One liar of twenty devices says the extremes of every field that it may write; the others are not moved.

The extremes follow from the limits of the messages (`fleet.simulator.extremes`), so a field that is added is
told here too. The arithmetic is a plain one of its own.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import fields, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from aggregator.aggregation.figures import bytes_needed, summarize
from aggregator.aggregation.survey import Measured, check
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import rounds
from aggregator.core.admission import Admitted, Terms, admit
from aggregator.core.claims import NOTHING, Known, assess, next_generation
from aggregator.core.federation import Federation
from aggregator.core.patience import AGAIN, MISSES, given_up
from aggregator.core.progress import Progress
from aggregator.core.stopping_rule import StoppingRule
from aggregator.core.update_limits import max_bytes
from aggregator.core.usual_distance import UsualDistance
from aggregator.core.verdicts import Verdict
from aggregator.shell.intake import Intake
from fedge.algorithms.rules.bounds import Factors, bounds
from fedge.algorithms.rules.columns import robust
from fedge.data.moments import Moments
from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire.frames import FRAME_BYTES, cost
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_FRAMES, MAX_SIZE
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import Message, unpack
from fedge.wire.messages.status import Status
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from fleet.simulator.exaggerations import every
from tests.aggregator.stories import (
    EVERYBODY,
    OPEN,
    TASK,
    Story,
    decline,
    of,
    only_manifest,
    receipts,
    rules,
    running,
    status,
)
from tests.aggregator.test_patience import begin, fleet, rounds_of

LIAR = "liar"
OTHERS = tuple(f"pi-{k:02}" for k in range(19))
OURS = b"k" * 32
"""The key that announcements are signed with."""
OWN_WORK = (do.SaveStatus, do.SpoolFrame, do.DropSpool, do.ReadUpdate, do.SaveAnswer, do.CountRefusal)
"""What a device may cause to be written of itself."""


@cache
def twenty() -> Story:
    """Round 1.1, announced to twenty devices that are online; a quorum is two, and all are waited for."""
    return running(*OTHERS, LIAR, rules=rules(target=None), signers=(OURS,))


def lies(kind: type[Message]) -> Iterator[tuple[str, Message]]:
    """The extremes of a message of the open round, and in which field they stand."""
    manifest = only_manifest(of(do.PublishManifest, twenty().log)[-1:])
    for lie in every(LIAR, manifest):
        if lie.kind is kind and lie.inside:
            yield lie.extremes[0].field, unpack(lie.payload, kind, max_bytes=MAX_SIZE)


def of_the_others(state: Federation) -> dict[str, Any]:
    """The state without what it holds of the liar."""
    return {each.name: _without_liar(getattr(state, each.name)) for each in fields(state)}


def _without_liar(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: told for name, told in value.items() if name != LIAR}
    return value - {LIAR} if isinstance(value, Set) else value


# ── statuses ───────────────────────────────────────────────────────────────────────────────────────


def test_no_status_changes_anything_of_the_others() -> None:
    before, told = twenty(), 0
    for field, lie in lies(Status):
        assert isinstance(lie, Status)
        state, effects = rounds.step(before.state, on.StatusSeen(before.now_s, LIAR, lie))
        told += 1
        assert of_the_others(state) == of_the_others(before.state), field
        assert {type(effect) for effect in effects} <= {do.SaveStatus, do.Log}, field
        assert len(of(do.Log, effects)) <= 1, field
    assert told > 100


UNREAD = ("boot", "connection", "version", "samples", "holds", "uses")
"""Of a status, what the aggregator keeps or passes over, and decides nothing by."""


@pytest.mark.parametrize("field", UNREAD)
def test_what_is_only_kept_of_a_status_decides_nothing(field: str) -> None:
    before = twenty()
    said = [lie for found, lie in lies(Status) if found == field]
    assert len(said) > 1
    for lie in said:
        assert isinstance(lie, Status)
        plain = lie.model_copy(update={field: getattr(status(), field)})
        state, effects = rounds.step(before.state, on.StatusSeen(before.now_s, LIAR, lie))
        same, others = rounds.step(before.state, on.StatusSeen(before.now_s, LIAR, plain))
        assert state == same
        assert [type(effect) for effect in effects] == [type(effect) for effect in others]


def test_a_liar_declines_only_for_itself_and_the_model_is_not_called_bad() -> None:
    story = running(*OTHERS, LIAR, rules=rules(target=None))
    why = decline().model_copy(update={"reason": Reason.TRAINING_DIVERGED})
    for device in OTHERS:
        story.answers(device)
    assert story.state.awaited == {LIAR}
    story.sees(LIAR, status(declined=why))
    assert story.stage() == "closing"
    assert not [said for said in of(do.Log, story.log) if said.level == "error"]


def test_abilities_that_change_with_each_status_are_said_once() -> None:
    """Each time it is named in the effects by one cause, which the log says once an hour."""
    story, causes = running(*OTHERS, LIAR, rules=rules(target=None)), set()
    for number in range(50):
        said = status().model_copy(update={"can": (f"x:{number}",) if number % 2 else None})
        for line in of(do.Log, story.sees(LIAR, said)):
            causes.add((line.device, line.cause))
    assert causes == {(LIAR, Reason.UNSUPPORTED)}
    assert len(story.state.abilities) == 20


# ── frames ─────────────────────────────────────────────────────────────────────────────────────────


def test_no_frame_changes_anything_of_the_others() -> None:
    before, told = twenty(), 0
    room = cost(max_bytes(before.state), MAX_FRAMES)
    for field, lie in lies(Frame):
        assert isinstance(lie, Frame)
        state, effects = rounds.step(before.state, on.FrameArrived(before.now_s, LIAR, lie))
        told += 1
        assert of_the_others(replace(state, spooled=0)) == of_the_others(before.state), field
        assert state.spooled <= room, field
        assert {type(effect) for effect in effects} <= {*OWN_WORK, do.SendReceipt, do.Log}, field
        for effect in effects:
            assert effect.device == LIAR, field  # type: ignore[union-attr]
    assert told > 5


def test_a_message_that_is_begun_and_never_ended_takes_no_more_room_than_an_update() -> None:
    before = twenty()
    for n, size in ((4_096, 4_096 * FRAME_BYTES), (1_000, 1_000 * FRAME_BYTES), (2, 2 * FRAME_BYTES)):
        endless = Frame(id=bytes(32), i=0, n=n, size=size, data=bytes(FRAME_BYTES))
        state, effects = rounds.step(before.state, on.FrameArrived(before.now_s, LIAR, endless))
        assert (state.spooled, receipts(effects)) == (0, [(LIAR, "refused", Reason.OVERSIZE)])


def test_a_flood_of_one_takes_nothing_from_the_others() -> None:
    intake, state = Intake(), twenty().state
    taken = [intake.takes_update(state, LIAR, 100, 0.0) for _ in range(5_000)]
    assert 64 <= sum(taken) < 300
    for device in OTHERS:
        assert intake.takes_update(state, device, max_bytes(state), 0.0)


# ── updates ────────────────────────────────────────────────────────────────────────────────────────

WEIGHTS = 4
BASE = np.zeros(WEIGHTS, np.float32)
VECTORS = np.random.default_rng(20).normal(size=(19, WEIGHTS)).astype(np.float32)
COUNTS = tuple(int(n) for n in np.random.default_rng(21).integers(20, 900, 19))
CAP = 2**53
FIGURES = {
    "loss_before": 1.5,
    "loss_after": 1.0,
    "accuracy_before": 0.5,
    "accuracy_after": 0.6,
    "held_out": 20.0,
    "held_loss_before": 1.2,
    "received_bytes": 5_000.0,
}
NEEDED = bytes_needed(1_000, 1_000)


def told_by_others() -> dict[str, Verdict]:
    return {
        device: Verdict(
            bytes(32), "admitted", samples=n, metrics={name: v * (1 + k / 100) for name, v in FIGURES.items()}
        )
        for k, (device, n) in enumerate(zip(OTHERS, COUNTS, strict=True))
    }


def mean(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    result: np.ndarray = weights @ vectors.astype(np.float64) / weights.sum()
    return result


@pytest.mark.parametrize("furthest", [None, 300.0], ids=["first round", "later"])
def test_no_update_moves_the_model_or_the_figures_beyond_their_bounds(furthest: float | None) -> None:
    """Whatever is admitted: share ≤ 10 / (10 + 10), ‖mean - mean of others‖ ≤ share · (10 M + ‖theirs‖)."""
    base = only_manifest(of(do.PublishManifest, twenty().log)[-1:]).model
    assert base is not None
    terms = Terms(OPEN, "train", base.digest, WEIGHTS, TASK, (EVERYBODY,), CAP, start=BASE, furthest=furthest)
    norms = [float(np.linalg.norm(vector)) for vector in VECTORS]
    honest = summarize(told_by_others(), NEEDED)
    counted = 0
    for field, lie in lies(Update):
        assert isinstance(lie, Update)
        verdict = admit(terms, LIAR, lie)
        if not isinstance(verdict, Admitted):
            continue
        counted += 1
        vector = np.frombuffer(lie.body, "<f4").astype(np.float64)
        distance = float(np.linalg.norm(vector))
        found = bounds([distance, *norms], [verdict.samples, *COUNTS], Factors())
        weights = np.array(found.weights, np.float64)
        clipped = np.array([found.scales[0] * vector, *VECTORS])
        assert set(found.scales[1:]) == {1.0}, field
        theirs = mean(clipped[1:], weights[1:])
        share = weights[0] / weights.sum()
        assert share <= 10 / 20, field
        longest = share * (10 * found.median_norm + np.linalg.norm(theirs))
        assert np.linalg.norm(mean(clipped, weights) - theirs) <= longest * (1 + 1e-9), field
        answers = {
            **told_by_others(),
            LIAR: Verdict(bytes(32), "admitted", samples=verdict.samples, metrics=verdict.figures),
        }
        lied = summarize(answers, NEEDED)
        assert lied.pop("partial", 0) <= 1, "it says at most that it ended early itself"
        assert lied.keys() == honest.keys()
        for name, value in honest.items():
            most = NEEDED if name == "bytes_down" else 0.19 / 18 * value
            assert abs(lied[name] - value) <= most, (field, name)
    assert counted > 20


def test_steps_decide_nothing_at_admission() -> None:
    base = only_manifest(of(do.PublishManifest, twenty().log)[-1:]).model
    assert base is not None
    terms = Terms(OPEN, "train", base.digest, WEIGHTS, TASK, (EVERYBODY,), CAP)
    said = [lie for field, lie in lies(Update) if field == "steps"]
    assert len(said) > 3
    for lie in said:
        assert isinstance(lie, Update)
        assert admit(terms, LIAR, lie) == Admitted(100)


def test_one_distance_does_not_place_what_is_usual() -> None:
    """So no round refuses the honest as too far, and none admits more than 100 times what is theirs."""
    norms = [float(np.linalg.norm(vector)) for vector in VECTORS]
    for lie in (0.0, 1e-30, 1.0, 1e30, 3e38):
        found = bounds([lie, *norms], [1, *COUNTS], Factors())
        usual = UsualDistance().after({"median_norm": found.median_norm, "moved": 0.0})
        assert min(norms) <= usual.distance <= max(norms)
        # However far the mean was moved within its bounds: less than 10 M.
        moved = UsualDistance(usual.longest, 10 * found.median_norm)
        assert moved.distance <= 10 * max(norms)


def test_where_the_others_hardly_move_one_does_not_keep_learning_from_ending() -> None:
    """Of half of the weight, at ten median distances M, it moves the weights by 5 M and less than theirs."""
    short = VECTORS * np.float32(1e-6)
    norms = [float(np.linalg.norm(vector)) for vector in short.astype(np.float64)]
    rule = StoppingRule(99, weight_change=1e-4)
    for lie in (1.0, 1e20, 3e38):
        vector = np.full(WEIGHTS, lie, np.float64)
        found = bounds([float(np.linalg.norm(vector)), *norms], [CAP, *COUNTS], Factors())
        clipped = np.array([found.scales[0] * vector, *short])
        moved = float(np.linalg.norm(mean(clipped, np.array(found.weights, np.float64))))
        assert moved <= 5 * found.median_norm + max(norms)
        assert rule.reason(Progress().after({"weight_change": moved})) is not None, (
            "the weights' own norm is 1"
        )


# ── surveys ────────────────────────────────────────────────────────────────────────────────────────

CLASSIFIER = Task(
    network=NetworkSpec(inputs=1, layers=(Dense(units=2),), loss="cross-entropy"),
    features=("volts",),
    classes=("idle", "busy"),
)
REGRESSION = Task(
    network=NetworkSpec(inputs=1, layers=(Dense(units=1),), loss="mse"),
    features=("volts",),
    targets=("amps",),
)


def columns() -> list[Moments]:
    """What the other nineteen tell of one column: levels one spread apart, spreads that differ by half."""
    rng = np.random.default_rng(7)
    return [
        Moments(np.array([100.0]), np.array([rng.normal()]), np.array([100.0 * rng.lognormal(0, 0.8)]))
        for _ in range(19)
    ]


@pytest.mark.parametrize("task", [CLASSIFIER, REGRESSION], ids=["classifier", "regression"])
def test_no_survey_moves_a_column_beyond_its_bounds(task: Task) -> None:
    others, counted = columns(), 0
    theirs = robust(others)
    for field, lie in lies_of_surveys():
        if task.targets is not None and field != "targets":
            lie = lie.model_copy(update={"targets": lie.features if field == "features" else b""})
        found = check(lie, task, CAP)
        if not isinstance(found, Measured):
            continue
        counted += 1
        for moments in (found.features, found.targets):
            if moments is not None:
                merged = robust([*others, moments])
                assert abs(merged.mean[0] - theirs.mean[0]) <= 0.5 * theirs.spread[0], field
                assert 2 / 3 <= merged.spread[0] / theirs.spread[0] <= 3 / 2, field
    assert counted > 5


def lies_of_surveys() -> Iterator[tuple[str, Survey]]:
    for field, lie in lies(Survey):
        assert isinstance(lie, Survey)
        yield field, lie


# ── rounds seen, waiting, setting aside ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seen", [(1, 6), (1, 900), (2, 1), (2**31 - 1, 2**31 - 1)])
def test_one_claim_stops_no_ledger_and_burns_no_number(seen: tuple[int, int]) -> None:
    known = Known(RoundId(1, 5), frozenset((*OTHERS, LIAR)), young=False)
    claim = {LIAR: RoundId(*seen)}
    all_spoken, alone = assess(known, (*OTHERS, LIAR), claim), assess(known, (LIAR,), claim)
    assert (all_spoken.outcome, all_spoken.open) == ("fits", False)
    assert alone.outcome == "fits", "it is waited for the others, for 60 s"
    assert assess(Known(), (LIAR,), claim).outcome == "fits"
    assert assess(Known(), (*OTHERS, LIAR), claim).outcome == "fits"
    for verdict in (all_spoken, alone):
        assert next_generation(known, claim, verdict, NOTHING, signed=False) <= 3


def test_one_who_is_silent_delays_two_rounds_and_then_one_of_ten() -> None:
    story = fleet(*OTHERS, "silent")
    assert rounds_of(story, 2 + AGAIN, *OTHERS) == [*[False] * MISSES, *[True] * (AGAIN - 1), False]
    assert given_up(story.state) == ["silent"]


def test_one_who_is_refused_delays_no_more() -> None:
    story = fleet(*OTHERS, LIAR)
    for _ in range(MISSES + 1):
        story.answers(LIAR, samples=10**9)
        for device in OTHERS:
            story.answers(device)
        assert story.stage() == "closing"
        begin(story)
    assert given_up(story.state) == [LIAR]
