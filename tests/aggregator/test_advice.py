"""What is proposed follows from how many rows devices hold, and is told beside what is configured."""

import json
from pathlib import Path
from typing import Any

import pytest

from aggregator.__main__ import main
from aggregator.core.advice import BATCH, MOST_EPOCHS, STEPS, Sizes, propose
from aggregator.core.mixes import Mix
from aggregator.ledger.writing import Ledger
from fedge.algorithms.plan import Plan
from fedge.storage.atomic_files import make_folder
from tests.aggregator.stories import status
from tests.aggregator.test_config import GOOD, write
from tests.wording import assert_tells, telling


@pytest.mark.parametrize("rows", [1, 16, 20, 60, 75, 100, 150, 200, 250, 399])
def test_local_steps_stay_about_the_same_however_few_rows_there_are(rows: int) -> None:
    plan = propose(Sizes(rows, devices=20, weights=5_000)).plan
    steps = plan.steps(rows)
    assert STEPS / 2 <= steps <= 1.5 * STEPS or plan.epochs == MOST_EPOCHS


def test_who_holds_many_rows_passes_over_them_once() -> None:
    assert propose(Sizes(100_000, devices=3, weights=5_000)).plan.epochs == 1


def test_a_few_devices_that_claim_much_move_nothing() -> None:
    """The lower median is what an honest device says while fewer than half do not."""
    assert Sizes.of([75, 76, 77, 2**31 - 1, 2**31 - 1], 10).rows == 77
    assert Sizes.of([1, 1, 75, 76, 77], 10).rows == 75
    assert Sizes.of([0, 0], 10).rows == 1
    with pytest.raises(ValueError, match=telling("device")):
        Sizes.of([], 10)


@pytest.mark.parametrize(
    ("epochs", "batch", "words"),
    [
        (
            5,
            BATCH,
            ("epochs = 5", "95 local steps", "Proposed: "),
        ),
        (5, BATCH, ("Proposed: epochs = 1, batch_size = 16, learning_rate = 0.1", "19")),
        (1, BATCH, ("epochs = 1", "19 local steps", "suits")),
        (1, 0, ("epochs = 1", "1 local steps", "Proposed: epochs = 1")),
    ],
)
def test_a_plan_of_many_or_few_steps_is_told_of_with_the_one_proposed(
    epochs: int, batch: int, words: tuple[str, ...]
) -> None:
    told = propose(Sizes(300, devices=12, weights=5_000)).against(Plan(epochs=epochs, batch_size=batch))
    assert_tells(told, "12 devices", "300 rows", "[plan] epochs = ", "docs/plans.md")
    assert_tells(told, *words)
    assert ("Proposed: " in told) == ("suits" not in words)


def mix(skew: float | None) -> Mix:
    return Mix(telling=12, surveyed=12, skew=skew, names=(("walk", 12),), unknown=())


@pytest.mark.parametrize(
    ("rows", "skew", "epochs"), [(75, 0.6, 5), (75, 0.1, 10), (75, None, 5), (300, 0.6, 1), (300, 0.1, 3)]
)
def test_classes_that_hardly_differ_allow_more_steps(rows: int, skew: float | None, epochs: int) -> None:
    """Steps: 25 (75 rows are 5 batches), or 50 (docs/plans.md); one pass of 300 rows has 19."""
    assert propose(Sizes(rows, devices=12, weights=5_000, mix=mix(skew))).plan.epochs == epochs


@pytest.mark.parametrize(
    ("rows", "skew", "epochs", "words"),
    [
        (
            75,
            0.62,
            10,
            ("62%", "Proposed: epochs = 5, batch_size = 16, learning_rate = 0.1", "25", "epochs = 1 "),
        ),
        (75, 0.62, 5, ("62%", "suits", "epochs = 1 ")),
        (75, 0.62, 1, ("62%", "Proposed: epochs = 5")),
        (300, 0.62, 2, ("62%", "Proposed: epochs = 1, batch_size = 16")),
        (300, 0.62, 1, ("62%", "suits")),
        (
            75,
            0.05,
            10,
            ("5%", "suits"),
        ),
        (75, 0.05, 20, ("5%", "suits")),
        (300, 0.05, 20, ("5%", "Proposed: epochs = 3")),
        (75, None, 10, ("50 local steps", "suits")),
    ],
)
def test_where_classes_are_told_the_plan_is_judged_by_how_far_they_differ(
    rows: int, skew: float | None, epochs: int, words: tuple[str, ...]
) -> None:
    told = propose(Sizes(rows, devices=12, weights=5_000, mix=mix(skew))).against(Plan(epochs=epochs))
    assert_tells(told, *words)
    assert ("Proposed: " in told) == ("suits" not in words)


def test_check_advises_once_devices_have_told_their_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def advice() -> str:
        assert main(["--config", str(path), "--check", "--json"]) == 0
        understood: dict[str, Any] = json.loads(capsys.readouterr().out)
        return str(understood["advice"])

    path = write(tmp_path, GOOD)
    assert "Proposed" not in advice()
    assert "median" not in advice()
    ledger = Ledger(make_folder(tmp_path / "state") / "ledger.db")
    with ledger.transaction():
        for device, rows in (("a", 300), ("b", 310), ("c", None), ("d", 5_000)):
            ledger.save_status(device, status().model_copy(update={"samples": rows}), 1.0)
    ledger.close()
    assert_tells(advice(), "3 devices", "310 rows", "[plan] epochs = 5")
