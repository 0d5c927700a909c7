"""The table of a study: rounds to the target, the best rate, and spread, by hand."""

from math import sqrt

import pytest

from fleet.library.results import Point
from fleet.study.runs import Cell, Run
from fleet.study.table import result
from fleet.study.terminal import Display, texts
from fleet.study.workers import Round


def a_run(rate: float, seed: int, figures: list[float], stopped: str = "rounds", name: str = "A") -> Run:
    """Each round sends 1 MB up and 2 MB down."""
    curve = tuple(Point(k, k * 10**6, 2 * k * 10**6, figure, 0.0, None) for k, figure in enumerate(figures))
    return Run(Cell(name, rate, seed), curve, stopped, 1.0)  # type: ignore[arg-type]


RUNS = [
    a_run(0.1, 1, [0.1, 0.5, 0.9, 0.7, 0.8, 0.8]),
    a_run(0.1, 2, [0.1, 0.2, 0.3, 0.95, 0.9, 0.9]),
    a_run(0.5, 1, [0.1, 0.9], "until"),
    a_run(0.5, 2, [0.1, 0.2, 0.3], "diverged"),
]


def test_rounds_to_the_target_are_the_first_that_reach_it() -> None:
    low, high = result(RUNS, ["A"], "accuracy", 0.9).rows
    assert (low.rate, low.seeds, low.reached, low.diverged) == (0.1, (1, 2), (2, 3), 0)
    assert low.rounds is not None
    assert low.rounds.mean == 2.5
    assert low.rounds.deviation == pytest.approx(sqrt(0.5))  # (2 - 2.5)² + (3 - 2.5)², over n - 1 = 1
    assert low.mb is not None
    assert low.mb.mean == 7.5  # 3 MB a round
    assert (high.reached, high.rounds, high.mb, high.diverged) == ((1, None), None, None, 1)


def test_best_is_the_best_round_and_last_the_mean_of_five_without_those_that_diverged() -> None:
    low, high = result(RUNS, ["A"], "accuracy", 0.9).rows
    assert low.best is not None
    assert low.best.values == (0.9, 0.95)
    assert low.last is not None
    assert low.last.values == pytest.approx(
        (0.74, 0.65)
    )  # (.5 + .9 + .7 + .8 + .8) / 5; (.2 + .3 + .95 + .9 + .9) / 5
    assert high.last is not None
    assert high.last.values == (0.9,)  # the first weights are no round's


def test_the_best_rate_misses_the_target_least_then_is_fastest_then_best() -> None:
    assert result(RUNS, ["A"], "accuracy", 0.9).chosen["A"].rate == 0.1  # .5 misses once
    both = [*RUNS[:1], a_run(0.1, 2, [0.1, 0.8]), *(a_run(0.2, seed, [0.1, 0.89]) for seed in (1, 2))]
    assert (
        result(both, ["A"], "accuracy", 0.9).chosen["A"].rate == 0.1
    )  # misses once, although .85 is below .89
    faster = [*RUNS[:3], a_run(0.5, 2, [0.1, 0.9])]
    assert result(faster, ["A"], "accuracy", 0.9).chosen["A"].rate == 0.5
    assert result(RUNS, ["A"], "accuracy", 0.99).chosen["A"].rate == 0.1  # both miss twice; .925 is above .6
    assert result(RUNS, ["A"], "accuracy", None).chosen["A"].rate == 0.1


def test_of_an_rmse_less_is_better() -> None:
    def regression(rate: float, figures: list[float]) -> Run:
        return Run(
            Cell("A", rate, 1),
            tuple(Point(k, 0, 0, None, 0.0, f) for k, f in enumerate(figures)),
            "rounds",
            1.0,
        )

    found = result([regression(0.1, [9.0, 4.0, 5.0]), regression(0.2, [9.0, 6.0])], ["A"], "rmse", 5.0)
    assert [row.reached for row in found.rows] == [(1,), (None,)]
    assert [row.best.mean for row in found.rows if row.best] == [4.0, 6.0]
    assert found.chosen["A"].rate == 0.1


def test_people_read_spread_misses_and_divergence() -> None:
    low, high = result(RUNS, ["A"], "accuracy", 0.9).rows
    found = result(RUNS, ["A"], "accuracy", 0.9)
    assert texts(found, low) == ["A", "0.1", "2.5 ± 0.7", "7.5 ± 2.1", "92.5 ± 3.5", "69.5 ± 6.4"]
    assert "1 of 2" in texts(found, high)[2]
    assert "1 of 2" in texts(found, high)[-1]


def test_an_algorithm_whose_runs_are_not_done_is_left_out() -> None:
    assert list(result(RUNS, ["A", "B"], "accuracy", 0.9).chosen) == ["A"]


def test_time_left_counts_the_rounds_of_all_runs() -> None:
    """Three runs of 10 rounds. After 6 s one has ended early and the second has done 2 rounds: 12 of 30."""
    from rich.console import Console

    now = [0.0]
    display = Display(3, 10, Console(quiet=True), lambda: now[0])
    assert display.seconds_left() is None
    now[0] = 6.0
    display.show(a_run(0.1, 1, [0.9], "until"))
    display.show(Round(Cell("A", 0.1, 2), 2, 0.5))
    assert display.seconds_left() == pytest.approx(6 / 12 * 18)


def test_time_left_counts_the_seconds_after_which_runs_end() -> None:
    """Of two runs one is at 300 of 1,200 virtual seconds in round 10 of 1,000: after 5 s an eighth."""
    from rich.console import Console

    now = [0.0]
    display = Display(2, 1_000, Console(quiet=True), lambda: now[0], seconds=1_200.0)
    now[0] = 5.0
    display.show(Round(Cell("A", 0.1, 1), 10, 0.5, 300.0))
    assert display.seconds_left() == pytest.approx(7 * 5.0)
    display.show(Round(Cell("A", 0.1, 1), 11, 0.5, 1_250.0))
    assert display.seconds_left() == pytest.approx(5.0), "the last model is made after the seconds"
