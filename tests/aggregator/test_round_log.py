"""What the log says of rounds and of the end: the figures that the rules go by, in the words of the rules."""

from dataclasses import replace

import pytest

from aggregator.core import round_log
from aggregator.core.progress import Progress, progress_of
from aggregator.core.stopping_rule import StoppingRule
from fedge.wire.freshness import RoundId
from tests.wording import assert_tells

HELD = [0.9, 0.5, 0.4, 0.45, 0.43]


def progress(*losses: float | None, **more: float) -> Progress:
    rounds = [
        {"weight_change": 1.0, **more, **({"held_loss": loss} if loss is not None else {})} for loss in losses
    ]
    return progress_of([("train", each) for each in rounds], "loss")


def said(now: Progress, **summary: float) -> str:
    brought = {**now.newest, "seconds": 2.345, **summary}
    return round_log.line(round_log.closed(RoundId(1, now.last), "train", 15, 3_000, brought, now))


def test_a_closed_round_names_the_held_out_loss_and_the_best_round() -> None:
    line = said(progress(*HELD, accuracy=0.875), loss=0.3125)
    assert_tells(line, "round 1.5: ", "train", "15 devices", "3000 samples", "training loss 0.3125")
    assert_tells(line, "round 1.4: ", "held-out loss 0.4300", "best 0.4000 in round 2", "2 rounds")
    assert_tells(line, "accuracy 0.8750", "2.35 s")
    assert "early" not in line
    assert_tells(said(progress(*HELD), loss=0.5, partial=3), "training loss", "3 ended early", "seconds")
    assert_tells(said(progress(*HELD[:3])), "held-out loss 0.4000", "best this one")
    assert_tells(said(progress(*HELD[:4])), "best 0.4000 in round 2", "1 round")


def test_a_round_that_tells_nothing_says_so_and_still_names_the_best() -> None:
    assert_tells(said(progress(None)), "round 1.0 not measured", "2.35 s")
    line = said(progress(*HELD, None))
    assert_tells(line, "round 1.5 not measured", "best 0.4000 in round 2", "3 rounds")


def test_of_the_figure_that_patience_is_on_the_best_stands_beside_it() -> None:
    rounds = [{"weight_change": 1.0, "held_loss": 1.0 + k, "accuracy": 0.5 + k / 10} for k in range(3)]
    now = progress_of([("train", each) for each in rounds], "accuracy")
    assert_tells(said(now), "round 1.2: ", "accuracy 0.7000", "best this one", "held-out loss 3.0000")


def test_a_regression_names_its_errors_in_the_targets_unit_and_who_always_says_the_mean() -> None:
    told = {"weight_change": 1.0, "held_loss": 0.137, "rmse": 22.51, "mae": 15.25, "rmse_mean": 60.8}
    now = progress_of([("train", told)], "rmse")
    assert_tells(said(now), "round 1.0: ", "RMSE 22.51", "best this one", "held-out loss 0.1370", "MAE 15.25")
    assert_tells(said(now), "MAE 15.25", "mean 60.8", "2.35 s")


def test_a_survey_has_no_figures_of_a_model() -> None:
    line = round_log.line(round_log.closed(RoundId(1, 0), "survey", 4, 100, {"seconds": 1.0}, Progress()))
    assert_tells(line, "round 1.0: ", "survey", "4 devices", "100 samples", "1.00 s")
    assert "model" not in line


def test_a_part_can_be_put_between() -> None:
    parts = round_log.closed(RoundId(1, 0), "survey", 4, 100, {"seconds": 1.0}, Progress())
    line = round_log.line([*parts[:2], "a part", *parts[2:]])
    assert_tells(line, "round 1.0: ", "4 devices, a part, 100 samples")


def test_the_end_names_the_newest_model_the_best_and_what_is_not_known() -> None:
    """The reference of what an operator reads last."""
    now = progress(*HELD)
    best = "best 0.4000 in round 2"
    text = round_log.finished("5 rounds", now, 1)
    assert_tells(text, "5 rounds", "round 1.4: ", "0.4300", best, "2 rounds", "round 1.5", "not measured")
    text = round_log.finished("5 rounds", now.after_measuring({"held_loss": 0.4375}), 1)
    assert_tells(text, "5 rounds", "round 1.5: ", "held-out loss 0.4375", best, "3 rounds")
    text = round_log.finished("5 rounds", now.after_measuring({"bytes_up": 0.0}), 1)
    assert_tells(text, "5 rounds", "round 1.5 not measured", best, "3 rounds")
    assert round_log.finished("3 rounds", progress(None, None, None), 1) == "3 rounds"


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        (
            StoppingRule(9, patience=3),
            ("2 rounds", "held-out loss", "[stopping] patience"),
        ),
        (StoppingRule(9, accuracy=0.9), ("2 rounds", "accuracy", "[stopping] accuracy")),
        (StoppingRule(9, rmse=2.0), ("2 rounds", "RMSE", "[stopping] rmse")),
        (
            StoppingRule(9, accuracy=0.9, patience=3, patience_on="accuracy"),
            ("[stopping] accuracy and patience",),
        ),
    ],
)
def test_a_rule_without_its_figure_is_said_after_the_second_round_and_once(
    rule: StoppingRule, named: tuple[str, ...]
) -> None:
    quiet = [progress(*[None] * n) for n in (0, 1, 3, 4)]
    assert [round_log.missing(rule, each) for each in quiet] == [None] * 4
    text = round_log.missing(rule, progress(None, None))
    assert text is not None
    assert_tells(text, *named)
    assert "[data] holdout = 0" in text
    assert "[stopping] rounds = 9" in text


def test_a_rule_whose_figure_comes_is_not_doubted() -> None:
    assert round_log.missing(StoppingRule(9, patience=3), progress(0.5, 0.4)) is None
    assert round_log.missing(StoppingRule(9), progress(None, None)) is None, "no rule needs one"
    assert round_log.missing(StoppingRule(9, patience=3), progress(0.5, None, None)) is not None, (
        "it has ceased"
    )


def test_a_rule_whose_figure_is_missing_because_updates_are_stale_is_told_apart() -> None:
    """Such devices hold rows out; what helps are more updates in a version, or another rule."""
    told = replace(progress(None, None), figures={"stale": 6})
    text = round_log.missing(StoppingRule(9, patience=3), told)
    assert_tells(
        text or "", "[stopping] patience", "[rounds] target", "weight_change", "[stopping] rounds = 9"
    )
    assert "holdout" not in (text or "")
