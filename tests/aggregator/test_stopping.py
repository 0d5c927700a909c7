"""When learning is over, told by the rounds that have closed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.stopping import Progress, Stopping

Round = tuple[float | None, float | None, float]


def progress(*rounds: Round) -> Progress:
    """(accuracy, held-out loss) of the model each round began from, and its weight change."""
    now = Progress()
    for accuracy, loss, change in rounds:
        now = now.after(accuracy, loss, change)
    return now


@pytest.mark.parametrize(
    ("rule", "rounds", "why"),
    [
        (Stopping(3), [(None, None, 1.0)] * 2, None),
        (Stopping(3), [(None, None, 1.0)] * 3, "3 rounds"),
        (Stopping(9, accuracy=0.9), [(0.899, None, 1.0)], None),
        (Stopping(9, accuracy=0.9), [(0.9, None, 1.0)], "accuracy 0.9000 reached 0.9"),
        (Stopping(9, accuracy=0.9), [(None, None, 1.0)], None),
        (Stopping(9, accuracy=0.9), [(0.95, None, 1.0), (0.5, None, 1.0)], None),
        (Stopping(9, patience=2), [(None, 1.0, 1.0), (None, 2.0, 1.0)], None),
        (Stopping(9, patience=2), [(None, 1.0, 1.0)] * 3, "no improvement in 2 rounds"),
        (Stopping(9, patience=2), [(None, 1.0, 1.0), (None, 1.0, 1.0), (None, 0.9, 1.0)], None),
        (Stopping(9, patience=2), [(None, None, 1.0)] * 5, None),  # nobody holds anything out
        (Stopping(9, weight_change=1e-3), [(None, None, 1e-3)], None),
        (
            Stopping(9, weight_change=1e-3),
            [(None, None, 9e-4)],
            "the weights changed by 9.00e-04, less than 1.00e-03",
        ),
        (Stopping(1, accuracy=0.5), [(0.5, None, 1.0)], "accuracy 0.5000 reached 0.5"),
    ],
)
def test_the_first_part_of_the_rule_that_comes_true(
    rule: Stopping, rounds: list[Round], why: str | None
) -> None:
    assert rule.reason(progress(*rounds)) == why


def test_nothing_stops_before_the_first_round() -> None:
    assert Stopping(1, accuracy=0.01, patience=1, weight_change=1e9).reason(Progress()) is None


figures = st.one_of(st.none(), st.floats(0, 1))


@given(st.lists(st.tuples(figures, figures, st.floats(0, 1)), max_size=20))
def test_progress_is_what_a_plain_reading_of_the_rounds_says(rounds: list[Round]) -> None:
    now = progress(*rounds)
    losses = [loss for _, loss, _ in rounds if loss is not None]
    assert now.rounds == len(rounds)
    assert now.best_loss == (min(losses) if losses else None)
    assert now.since_best == (len(losses) - 1 - losses.index(min(losses)) if losses else 0)
    assert now.accuracy == (rounds[-1][0] if rounds else None)
