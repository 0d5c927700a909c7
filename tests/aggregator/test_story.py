"""What the log says of rounds and of the end: the figures that the rules go by, in the words of the rules."""

import pytest

from aggregator.core import story
from aggregator.core.stopping import Progress, Stopping, progress_of
from fedge.wire.freshness import RoundId

HELD = [0.9, 0.5, 0.4, 0.45, 0.43]


def progress(*losses: float | None, **more: float) -> Progress:
    rounds = [
        {"weight_change": 1.0, **more, **({"held_loss": loss} if loss is not None else {})} for loss in losses
    ]
    return progress_of([("train", each) for each in rounds], "loss")


def said(now: Progress, **summary: float) -> str:
    brought = {**now.newest, "seconds": 2.345, **summary}
    return story.line(story.closed(RoundId(1, now.last), "train", 15, 3_000, brought, now))


def test_a_closed_round_names_the_held_out_loss_and_the_best_round() -> None:
    assert said(progress(*HELD, accuracy=0.875), loss=0.3125) == (
        "round 1.5: train closed, 15 devices, 3000 samples, training loss 0.3125, "
        "model of round 1.4: held-out loss 0.4300, best 0.4000 in round 2 (2 rounds ago), "
        "accuracy 0.8750, 2.35 s"
    )
    assert "held-out loss 0.4000, best this one," in said(progress(*HELD[:3]))
    assert "best 0.4000 in round 2 (1 round ago)" in said(progress(*HELD[:4]))


def test_a_round_that_tells_nothing_says_so_and_still_names_the_best() -> None:
    assert "model of round 1.0 not measured: no figures of held-out rows, 2.35 s" in said(progress(None))
    line = said(progress(*HELD, None))
    assert "model of round 1.5 not measured" in line
    assert "best 0.4000 in round 2 (3 rounds ago)" in line


def test_of_the_figure_that_patience_is_on_the_best_stands_beside_it() -> None:
    rounds = [{"weight_change": 1.0, "held_loss": 1.0 + k, "accuracy": 0.5 + k / 10} for k in range(3)]
    now = progress_of([("train", each) for each in rounds], "accuracy")
    assert "model of round 1.2: accuracy 0.7000, best this one, held-out loss 3.0000" in said(now)


def test_a_regression_names_its_errors_in_the_targets_unit_and_who_always_says_the_mean() -> None:
    told = {"weight_change": 1.0, "held_loss": 0.137, "rmse": 22.51, "mae": 15.25, "rmse_mean": 60.8}
    now = progress_of([("train", told)], "rmse")
    expected = "RMSE 22.51, best this one, held-out loss 0.1370, MAE 15.25, RMSE of always the mean 60.8"
    assert f"model of round 1.0: {expected}, 2.35 s" in said(now)


def test_a_survey_has_no_figures_of_a_model() -> None:
    line = story.line(story.closed(RoundId(1, 0), "survey", 4, 100, {"seconds": 1.0}, Progress()))
    assert line == "round 1.0: survey closed, 4 devices, 100 samples, 1.00 s"


def test_a_part_can_be_put_between() -> None:
    parts = story.closed(RoundId(1, 0), "survey", 4, 100, {"seconds": 1.0}, Progress())
    assert story.line([*parts[:2], "4 of 9 online took part", *parts[2:]]) == (
        "round 1.0: survey closed, 4 devices, 4 of 9 online took part, 100 samples, 1.00 s"
    )


def test_the_end_names_the_newest_model_the_best_and_what_is_not_known() -> None:
    """The reference of what an operator reads last."""
    now = progress(*HELD)
    assert story.finished("5 rounds", now, 1) == (
        "5 rounds, model of round 1.4: held-out loss 0.4300, best 0.4000 in round 2 (2 rounds ago), "
        "the newest model, of round 1.5, is not measured"
    )
    assert story.finished("5 rounds", now.after_measuring({"held_loss": 0.4375}), 1) == (
        "5 rounds, model of round 1.5: held-out loss 0.4375, best 0.4000 in round 2 (3 rounds ago)"
    )
    assert story.finished("5 rounds", now.after_measuring({"bytes_up": 0.0}), 1) == (
        "5 rounds, model of round 1.5 not measured: too few devices told figures of it, "
        "best 0.4000 in round 2 (3 rounds ago)"
    )
    assert story.finished("3 rounds", progress(None, None, None), 1) == "3 rounds"


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        (
            Stopping(9, patience=3),
            "no held-out loss came with the last 2 rounds, so that [stopping] patience",
        ),
        (Stopping(9, accuracy=0.9), "no accuracy came with the last 2 rounds, so that [stopping] accuracy"),
        (Stopping(9, rmse=2.0), "no RMSE came with the last 2 rounds, so that [stopping] rmse"),
        (
            Stopping(9, accuracy=0.9, patience=3, patience_on="accuracy"),
            "so that [stopping] accuracy and patience cannot end learning",
        ),
    ],
)
def test_a_rule_without_its_figure_is_said_after_the_second_round_and_once(
    rule: Stopping, named: str
) -> None:
    quiet = [progress(*[None] * n) for n in (0, 1, 3, 4)]
    assert [story.missing(rule, each) for each in quiet] == [None] * 4
    text = story.missing(rule, progress(None, None))
    assert text is not None
    assert named in text
    assert "[data] holdout = 0" in text
    assert "learning ends after [stopping] rounds = 9" in text


def test_a_rule_whose_figure_comes_is_not_doubted() -> None:
    assert story.missing(Stopping(9, patience=3), progress(0.5, 0.4)) is None
    assert story.missing(Stopping(9), progress(None, None)) is None, "no rule needs one"
    assert story.missing(Stopping(9, patience=3), progress(0.5, None, None)) is not None, "it has ceased"
