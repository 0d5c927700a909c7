"""What each device costs the aggregator in memory, counted in bytes that Python and NumPy ask for."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aggregator.core import effects as do
from aggregator.core.verdicts import Measured, Verdict
from aggregator.ledger.writing import Ledger
from fedge.algorithms.rules.columns import BLOCK, exact
from fedge.algorithms.rules.outlying import outlying
from fedge.data.moments import Moments
from fedge.wire.freshness import RoundId
from tests.aggregator.stories import federation, of, running

FIGURES = {f"figure_{number}": number + 0.5 for number in range(10)}
COLUMNS = 32
ARRAYS = 30
"""So many arrays of a block are held at once, at most; whole columns of 8,000 devices are 8 blocks each."""


def taken(work: Callable[[], Any]) -> tuple[int, int]:
    """The bytes that are held when this is done, with its result, and the most that were meanwhile."""
    tracemalloc.start()
    try:
        result = work()
        held, most = tracemalloc.get_traced_memory()
        del result
        return held, most
    finally:
        tracemalloc.stop()


def merged(fleet: list[tuple[str, Moments]]) -> Any:
    found = exact([moments for _, moments in fleet])
    names = [f"f{number}" for number in range(COLUMNS)]
    return outlying(fleet, names, found.mean, np.ones(COLUMNS))


def test_what_a_survey_takes_beside_what_the_devices_sent_is_bounded() -> None:
    one = Moments(np.full(COLUMNS, 50.0), np.linspace(-1, 1, COLUMNS), np.full(COLUMNS, 70.0))
    fleets = {size: [(f"pi-{number}", one) for number in range(size)] for size in (1_000, 8_000)}
    merged(fleets[1_000])
    most = {size: taken(lambda fleet=fleet: merged(fleet))[1] for size, fleet in fleets.items()}
    assert most[8_000] <= ARRAYS * BLOCK * 8, f"{most}"
    assert COLUMNS * 8_000 * 8 * 12 > 2 * ARRAYS * BLOCK * 8, "twelve whole arrays would be too many"


def verdict(number: int) -> Verdict:
    digest = number.to_bytes(32, "big")
    return Verdict(digest, "admitted", samples=10, metrics=dict(FIGURES), measured=Measured(5, number + 0.5))


def test_an_answer_takes_four_hundred_bytes_of_the_state() -> None:
    """By `sys.getsizeof`: verdict 112, digest 65, what was measured 104, the name 56; and the map's nodes.

    Ten figures would be 350 bytes for their dictionary and 24 for each.
    """
    devices = 1_000

    def answered() -> Any:
        state = federation()
        for number in range(devices):
            state = state.answered(f"pi-{number}", verdict(number))
        return state

    answered()
    held, _ = taken(answered)
    assert held / devices <= 450


def test_figures_go_into_the_ledger_and_are_not_kept_in_the_state() -> None:
    story = running("a", "b")
    (saved,) = of(do.SaveAnswer, story.answers("a", metrics={"loss_after": 0.5}))
    assert saved.answer.metrics == {"loss_after": 0.5}
    assert story.state.answers["a"].metrics == {}
    assert story.state.answers["a"] == saved.answer.without_figures()


def test_answers_from_the_ledger_share_what_is_equal(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    with ledger.transaction():
        for number in range(3):
            ledger.save_answer(RoundId(1, 1), f"pi-{number}", verdict(number))
    first, *others = ledger.answers(RoundId(1, 1)).values()
    for other in others:
        assert other.verdict is first.verdict
        assert all(mine is theirs for mine, theirs in zip(first.metrics, other.metrics, strict=True))
    assert first.metrics == FIGURES
    ledger.close()
