"""When learning is over, told by the rounds that have closed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.core.progress import Best, FigureName, Progress, progress_of
from aggregator.core.stopping_rule import StoppingRule
from tests.wording import assert_tells

Round = tuple[float | None, float | None, float]


def summary(accuracy: float | None, loss: float | None, change: float, **more: float) -> dict[str, float]:
    """What a round brought; accuracy and held-out loss are of the model that it began from."""
    told = {"accuracy": accuracy, "held_loss": loss, "weight_change": change, **more}
    return {name: value for name, value in told.items() if value is not None}


def progress(*rounds: Round, by: FigureName = "loss") -> Progress:
    """(accuracy, held-out loss) of the model each round began from, and its weight change."""
    return progress_of([("train", summary(*each)) for each in rounds], by)


def regression(*errors: float, by: FigureName = "rmse") -> Progress:
    return progress_of([("train", summary(None, None, 1.0, rmse=e, mae=e / 2)) for e in errors], by)


@pytest.mark.parametrize(
    ("rule", "rounds", "why"),
    [
        (StoppingRule(3), [(None, None, 1.0)] * 2, None),
        (StoppingRule(3), [(None, None, 1.0)] * 3, ("3 rounds",)),
        (StoppingRule(9, accuracy=0.9), [(0.899, None, 1.0)], None),
        (StoppingRule(9, accuracy=0.9), [(0.9, None, 1.0)], ("accuracy 0.9000", "0.9")),
        (StoppingRule(9, accuracy=0.9), [(None, None, 1.0)], None),
        (StoppingRule(9, accuracy=0.9), [(0.95, None, 1.0), (0.5, None, 1.0)], None),
        (StoppingRule(9, patience=2), [(None, 1.0, 1.0), (None, 2.0, 1.0)], None),
        (
            StoppingRule(9, patience=2),
            [(None, 1.0, 1.0)] * 3,
            ("held-out loss", "2 rounds"),
        ),
        (StoppingRule(9, patience=2), [(None, 1.0, 1.0), (None, 1.0, 1.0), (None, 0.9, 1.0)], None),
        (StoppingRule(9, patience=2), [(None, None, 1.0)] * 5, None),  # nobody holds anything out
        (StoppingRule(9, weight_change=1e-3), [(None, None, 1e-3)], None),
        (
            StoppingRule(9, weight_change=1e-3),
            [(None, None, 9e-4)],
            ("9.00e-04", "1.00e-03"),
        ),
        (StoppingRule(1, accuracy=0.5), [(0.5, None, 1.0)], ("accuracy 0.5000", "0.5")),
    ],
)
def test_the_first_part_of_the_rule_that_comes_true(
    rule: StoppingRule, rounds: list[Round], why: tuple[str, ...] | None
) -> None:
    found = rule.reason(progress(*rounds))
    assert (found is None) == (why is None)
    assert_tells(found or "", *(why or ()))


def test_patience_looks_at_the_figure_that_it_is_on() -> None:
    """The loss rises from the second round on, the accuracy goes on improving, and the other way round."""
    rounds: list[Round] = [(0.5, 1.0, 1.0), (0.6, 1.1, 1.0), (0.7, 1.2, 1.0)]
    on_loss, on_accuracy = StoppingRule(9, patience=2), StoppingRule(9, patience=2, patience_on="accuracy")
    assert_tells(on_loss.reason(progress(*rounds)) or "", "held-out loss", "2 rounds")
    assert on_accuracy.reason(progress(*rounds, by="accuracy")) is None
    back: list[Round] = [(0.7, 1.2, 1.0), (0.6, 1.1, 1.0), (0.7, 1.0, 1.0)]
    assert on_loss.reason(progress(*back)) is None
    # As good as the best is no improvement.
    assert_tells(on_accuracy.reason(progress(*back, by="accuracy")) or "", "accuracy", "2 rounds")


def test_a_regression_ends_by_its_error_in_the_targets_unit() -> None:
    assert StoppingRule(9, rmse=22.5).reason(regression(40.0, 22.6)) is None
    assert_tells(StoppingRule(9, rmse=22.5).reason(regression(40.0, 22.5)) or "", "RMSE", "22.5", "22.5")
    rule = StoppingRule(9, patience=2, patience_on="mae")
    assert_tells(rule.reason(regression(4.0, 3.0, 3.5, 3.2, by="mae")) or "", "MAE", "2 rounds")
    assert regression(4.0, 3.0, 3.5, 3.2, by="mae").best == Best(1, 1.5)


def test_nothing_stops_before_the_first_round() -> None:
    rule = StoppingRule(1, accuracy=0.01, rmse=1e9, patience=1, weight_change=1e9)
    assert rule.reason(Progress()) is None


figures = st.one_of(st.none(), st.floats(0, 1))


@given(st.lists(st.tuples(figures, figures, st.floats(0, 1)), max_size=20))
def test_progress_is_what_a_plain_reading_of_the_rounds_says(rounds: list[Round]) -> None:
    now = progress(*rounds)
    losses = [(loss, number) for number, (_, loss, _) in enumerate(rounds) if loss is not None]
    best = min(losses, default=None)
    assert now.rounds == now.last == now.made == len(rounds)
    assert now.best == (Best(best[1], best[0]) if best else None), "of round 0 round 1 tells"
    assert now.since_best == (len(losses) - 1 - losses.index(best) if best else 0)
    assert now.figures.get("accuracy") == (rounds[-1][0] if rounds else None)


# ── one more round, that only measures ─────────────────────────────────────────────────────────────


def test_what_is_measured_at_the_end_makes_a_model_the_best_and_takes_back_no_reason() -> None:
    """Two rounds without an improvement, and then the newest model turns out to be the best of all."""
    rule = StoppingRule(9, accuracy=0.9, patience=2)
    before = progress((0.5, 1.0, 1.0), (0.5, 1.1, 1.0), (0.95, 1.2, 1.0))
    assert before.best == Best(0, 1.0)
    after = before.after_measuring({"accuracy": 0.4, "held_loss": 0.3})
    assert rule.reason(after) == rule.reason(before)
    assert_tells(rule.reason(after) or "", "accuracy", "0.9500", "0.9")
    assert StoppingRule(9, patience=2).reason(after) == StoppingRule(9, patience=2).reason(before)
    assert after.best == Best(3, 0.3)
    assert (after.rounds, after.last, after.made, after.measured) == (3, 4, 3, 3)
    assert after.newest == {"accuracy": 0.4, "held_loss": 0.3}


def test_learning_that_goes_on_after_it_counts_on() -> None:
    """More rounds were asked for after the end: the next one begins from the same model."""
    once = progress((None, 1.0, 1.0)).after_measuring({"held_loss": 0.8})
    more = once.after(summary(None, 0.8, 1.0)).after(summary(None, 0.7, 1.0))
    assert (more.rounds, more.last, more.made) == (3, 4, 4)
    assert more.best == Best(3, 0.7), "the model of the round that closed last but one"
    assert once.best == once.after(summary(None, 0.8, 1.0)).best == Best(1, 0.8)


def test_where_nobody_could_measure_it_nothing_is_known_of_the_newest_model() -> None:
    after = progress((0.5, 1.0, 1.0)).after_measuring({})
    assert (after.best, after.newest, after.made) == (Best(0, 1.0), {}, 1)


def test_the_figures_that_a_rule_needs() -> None:
    assert StoppingRule(9).needs == ()
    assert StoppingRule(9, patience_on="accuracy").needs == (), "for the export alone"
    assert StoppingRule(9, patience=3).needs == ("loss",)
    assert set(StoppingRule(9, accuracy=0.9, patience=3).needs) == {"accuracy", "loss"}
    assert StoppingRule(9, accuracy=0.9, patience=3, patience_on="accuracy").needs == ("accuracy",)
    assert set(StoppingRule(9, rmse=2.0, patience=3, patience_on="mae").needs) == {"rmse", "mae"}
