"""The round that only measures the newest model: who is asked, when it is over, and what it leaves."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aggregator.aggregation.aggregate import mean_of
from aggregator.aggregation.beginnings import begin_with
from aggregator.aggregation.job import ClosingJob, Computed
from aggregator.aggregation.outcome import compute, save
from aggregator.aggregation.replay import replay
from aggregator.aggregation.rollback import Rollback, beginning_of, require_wishable
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.admission import Admitted, admit
from aggregator.core.progress import Progress
from aggregator.core.verdicts import Verdict
from aggregator.ledger.records import LedgerMeta
from aggregator.phases.phase import phase_of
from aggregator.settings.state import StateSection
from fedge.errors import DataError
from fedge.wire.capabilities import can
from fedge.wire.freshness import RoundId
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason
from tests.aggregator.stories import (
    DEADLINE_S,
    EVERYBODY,
    Story,
    blob,
    digest_of,
    federation,
    frames,
    of,
    only_manifest,
    receipts,
    rules,
    status,
    update,
)  # fmt: skip
from tests.aggregator.test_admission import TERMS
from tests.aggregator.test_beginnings import DEVICES, UPDATES, Place
from tests.wording import assert_tells, telling

LAST, AFTER = RoundId(1, 3), RoundId(1, 4)
FIGURES = {"kind": "figures", "body": b"", "steps": 0}
TOLD = {"held_loss": 0.5, "accuracy": 0.75, "weight_change": 0.1}


def able() -> Status:
    return status().model_copy(update={"can": tuple(sorted(can()))})


def last_round(*new: str, old: tuple[str, ...] = (), brought: dict[str, float] | None = None) -> Story:
    """The last of three rounds has closed, with devices of this version and of 0.2.0 online."""
    before = Progress()
    for _ in range(2):
        before = before.after(TOLD)
    story = Story(federation(round=LAST, progress=before, rules=rules(target=None)))
    story.start()
    story.link_up()
    for device in new:
        story.sees(device, able())
    for device in old:
        story.sees(device)
    story.published()
    for device in (*new, *old):
        story.answers(device)
    assert story.stage() == "closing"
    story.closed(before.after(brought or TOLD))
    return story


def measured(story: Story, **figures: float) -> list[do.Effect]:
    """What the round has brought is saved."""
    state = story.state
    assert state.model is not None
    progress = state.progress.after_measuring(figures)
    return story.tell(
        on.RoundClosed(story.now_s, state.round, state.task, state.task_message, state.model, progress)
    )


def test_when_learning_ends_one_more_round_asks_for_figures_alone() -> None:
    story = last_round("a", "b")
    assert not of(do.Complete, story.log), "not yet"
    assert (story.stage(), story.state.round, story.state.kind) == ("preparing", AFTER, "evaluate")
    manifest = only_manifest(story.published())
    assert (manifest.kind, manifest.state, manifest.plan) == ("evaluate", "open", None)
    assert manifest.model == blob("model of round 3"), "the model that the last round made"
    assert manifest.requires == ("layer:dense", "phase:evaluate")
    said = story.answers("a", **FIGURES)
    assert receipts(said) == [("a", "admitted", None)]
    story.answers("b", **FIGURES)
    assert story.stage() == "closing"
    effects = measured(story, held_loss=0.4)
    (finish,) = of(do.Complete, effects)
    assert_tells(finish.why, "3 rounds", "1.3", "held-out loss 0.4000")
    done = only_manifest(story.published())
    assert (done.state, done.round, done.model) == ("done", 4, blob("model of round 3"))


def test_the_end_is_said_in_words_that_a_device_of_0_2_0_knows() -> None:
    story = last_round("a", "b", old=("old",))
    story.published()
    for device in ("a", "b"):
        story.answers(device, **FIGURES)
    measured(story)
    done = only_manifest(story.published())
    assert (done.kind, done.plan) == ("train", story.state.plan)
    assert "phase:evaluate" not in (done.requires or ())


def test_who_cannot_is_not_waited_for() -> None:
    story = last_round("a", "b", "c", old=("old",))
    effects = story.published()
    assert not of(do.Log, effects), "nobody has to upgrade anything for it"
    assert story.state.awaited == {"a", "b", "c"}
    for device in ("a", "b", "c"):
        story.answers(device, **FIGURES)
    assert story.stage() == "closing"


OLD = tuple(f"old-{k:02}" for k in range(18))


@pytest.mark.parametrize(
    ("new", "old", "brought"),
    [
        ((), ("a", "b"), TOLD),
        ((), ("a", "b"), {"weight_change": 0.1}),
        (("a",), OLD, TOLD),
        (("a", "b"), OLD, TOLD),
        (("a",), ("b",), TOLD),
    ],
)
def test_where_too_few_can_it_is_left_out(
    new: tuple[str, ...], old: tuple[str, ...], brought: dict[str, float]
) -> None:
    """One or two of a fleet that cannot would decide alone whether the newest model is the best."""
    story = last_round(*new, old=old, brought=brought)
    (finish,) = of(do.Complete, story.log)
    assert story.stage() == "done"
    assert_tells(finish.why, "round 1.3", "not measured")


def test_where_no_figure_ever_came_it_is_left_out() -> None:
    story = Story(federation(round=RoundId(1, 1), stopping=replace(federation().stopping, rounds=1)))
    story.start()
    story.link_up()
    for device in ("a", "b", "c"):
        story.sees(device, able())
    story.published()
    for device in ("a", "b", "c"):
        story.answers(device)
    story.closed()
    assert (story.stage(), of(do.Complete, story.log)) == ("done", [do.Complete("1 rounds")])


def test_it_is_over_at_its_deadline_with_whatever_came() -> None:
    """Also with nothing: learning has ended, and no quorum may hold that up."""
    story = last_round("a", "b")
    story.published()
    assert not of(do.CloseRound, story.later(DEADLINE_S - 1))
    assert of(do.CloseRound, story.later(1)) == [do.CloseRound(AFTER, "evaluate")]
    assert story.state.admitted == 0


def test_it_is_over_at_once_where_all_have_gone() -> None:
    story = last_round("a", "b")
    for device in ("a", "b"):
        story.sees(device, able().model_copy(update={"online": False}))
    assert of(do.CloseRound, story.published())


def test_a_restart_in_the_middle_goes_on_measuring() -> None:
    story = last_round("a", "b")
    story.published()
    story.answers("a", **FIGURES)
    state = story.state
    again = Story(replace(state, stage=federation().stage, published=False, announced=False, since_s=None))
    assert again.start() == []
    again.link_up()
    assert only_manifest(again.published()).kind == "evaluate"
    again.answers("b", **FIGURES)
    assert again.stage() == "closing"


def test_learning_goes_on_if_more_rounds_were_asked_for_meanwhile() -> None:
    story = last_round("a", "b")
    story.published()
    for device in ("a", "b"):
        story.answers(device, **FIGURES)
    story.state = replace(story.state, stopping=replace(story.state.stopping, rounds=9))
    measured(story)
    assert (story.stage(), story.state.kind, story.state.round) == ("preparing", "train", RoundId(1, 5))


MEASURING = replace(TERMS, kind="evaluate")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, Reason.WRONG_KIND),
        ({"kind": "figures"}, Reason.WRONG_LENGTH),
        ({**FIGURES, "samples": 0}, Reason.BAD_SAMPLE_COUNT),
        ({**FIGURES, "metrics": {"rmse_before": -1.0}}, Reason.IMPLAUSIBLE),
    ],
)
def test_what_is_no_answer_to_it(fields: dict[str, object], reason: Reason) -> None:
    verdict = admit(MEASURING, "a", update("a", MEASURING.round, MEASURING.base, **fields))
    assert not isinstance(verdict, Admitted)
    assert verdict.reason is reason


def test_figures_alone_are_no_answer_to_a_round_that_trains() -> None:
    verdict = admit(TERMS, "a", update("a", TERMS.round, TERMS.base, **FIGURES))
    assert not isinstance(verdict, Admitted)
    assert verdict.reason is Reason.WRONG_KIND
    assert isinstance(admit(MEASURING, "a", update("a", TERMS.round, TERMS.base, **FIGURES)), Admitted)


# ── the ledger ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.ledger.close()


SEVENTH = RoundId(1, 7)


def measure(
    place: Place, here: RoundId = SEVENTH, devices: tuple[str, ...] = ("pi-0", "pi-1", "pi-2")
) -> ClosingJob:
    """A round that measures the model of the one before is closed, as the runtime does it."""
    before = here._replace(round=here.round - 1)
    slots = place.ledger.slots()
    (model,) = [each for each in slots.values() if each.digest == place.ledger.model_of(before)]
    job = ClosingJob(here, "evaluate", place.settings.task(), slots["task", 1], model, seed=5, chosen=1.0)
    with place.ledger.transaction():
        place.ledger.save_round(here, "evaluate", 0, (EVERYBODY,), 0.0)
        for number, device in enumerate(devices):
            metrics = {"held_loss_before": 0.5 + number, "held_out": 10.0}
            message = update(device, here, model.digest, samples=50, metrics=metrics, **FIGURES)
            for frame in frames(message):
                place.ledger.spool(device, frame)
            answer = Verdict(digest_of(message), "admitted", samples=50, metrics=metrics)
            place.ledger.save_answer(here, device, answer)
        computed = compute(place.ledger, job)
        assert isinstance(computed, Computed)
        save(
            place.ledger,
            job,
            computed,
            1.0,
            StateSection(),
            phase_of(job.kind).progress(Progress(), computed.summary),
        )
    return job


def test_it_closes_with_the_model_as_it_is_and_what_was_told_of_it(place: Place) -> None:
    before = place.model(RoundId(1, 6))
    job = measure(place)
    assert job.model is not None
    np.testing.assert_array_equal(place.model(SEVENTH), before)
    assert place.ledger.model_of(SEVENTH) == place.ledger.newest("model", 1) == job.model.digest
    assert place.ledger.summary(SEVENTH)["held_loss"] == 1.5, "the median one, of three"
    assert place.ledger.history(1)[-1][0] == "evaluate"
    assert len(place.ledger.summaries(1)) == 6, "of training"
    assert (place.ledger.last_closed(1), place.ledger.last_trained(1)) == (SEVENTH, RoundId(1, 6))


@pytest.mark.parametrize("devices", [("rogue",), ()])
def test_one_device_does_not_measure_it_for_a_larger_fleet(place: Place, devices: tuple[str, ...]) -> None:
    """Four have made the model; whoever answers where the others do not could call it the best one."""
    measure(place, devices=devices)
    kind, summary = place.ledger.history(1)[-1]
    assert kind == "evaluate"
    assert not {"held_loss", "accuracy", "rmse", "mae"} & summary.keys()
    progress = Progress().after(TOLD).after_measuring(summary)
    assert progress.best is not None
    assert progress.best.round == 0


@pytest.mark.parametrize("devices", [("pi-0",), ("pi-0", "pi-1")])
def test_a_model_of_one_or_two_devices_is_measured_by_as_many(place: Place, devices: tuple[str, ...]) -> None:
    with place.ledger.transaction():
        for device in set(DEVICES) - set(devices):
            place.ledger.forget_device(device)
    measure(place, devices=devices)
    assert place.ledger.history(1)[-1][1]["held_loss"] == (0.5 if len(devices) == 1 else 1.0)


def test_there_is_nothing_in_it_to_compute_again(place: Place) -> None:
    measure(place)
    with pytest.raises(DataError, match=telling("round 1.7 ", "measured", "1.6")):
        replay(place.path, 7, 5)


def test_a_generation_goes_back_over_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the newest model, and to an older one without a device: rounds that measured change nothing."""
    life = LedgerMeta(b"l" * 16, 1, "{}")
    plain = begin_with(place.ledger, beginning_of(place.ledger, life, Rollback(round=4, without=("rogue",))))
    newest = place.model(RoundId(1, 6))
    measure(place)
    assert beginning_of(place.ledger, life, Rollback()).source == RoundId(1, 6)
    np.testing.assert_array_equal(
        begin_with(place.ledger, beginning_of(place.ledger, life, Rollback())).vector, newest
    )
    wish = Rollback(round=4, without=("rogue",))
    again = beginning_of(place.ledger, life, wish)
    require_wishable(place.settings, place.ledger, again, wish)
    np.testing.assert_array_equal(begin_with(place.ledger, again).vector, plain.vector)

    for device in DEVICES:
        monkeypatch.setitem(UPDATES, (8, device), UPDATES[1, device] + 1)
    place.train(RoundId(1, 8))  # learning went on, from the model that was measured
    more = begin_with(place.ledger, beginning_of(place.ledger, life, wish)).vector
    others, _ = mean_of(place.ledger, RoundId(1, 8), 6, without=("rogue",))
    np.testing.assert_allclose(more, plain.vector + (others - newest), rtol=1e-5)


def test_the_best_model_stays_when_its_round_is_freed(place: Place) -> None:
    with place.ledger.transaction():
        place.ledger.retain(RoundId(1, 6), 2, 2**40, best=RoundId(1, 2))
    assert place.ledger.kept_models(1) == [0, 2, 4, 5, 6], "4 is what round 5 began from"
    assert set(place.ledger.kept_rounds(1)) == {0, 5, 6}, "of the best only the model"
    with place.ledger.transaction():
        place.ledger.retain(RoundId(1, 6), 2, 2**40, best=RoundId(1, 5))
    assert place.ledger.kept_models(1) == [0, 4, 5, 6], "a better one has taken its place"


def test_the_model_that_was_measured_stays_as_the_best_by_the_number_of_either_round(place: Place) -> None:
    measure(place)
    for best in (6, 7):
        with place.ledger.transaction():
            place.ledger.retain(SEVENTH, 2, 2**40, best=RoundId(1, best))
        assert {6, 7} <= set(place.ledger.kept_models(1))
