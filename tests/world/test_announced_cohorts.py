"""An attempt that is announced after the next one was saved has the cohort that was saved for it."""

from pathlib import Path

import pytest

from aggregator.ledger.writing import Ledger
from fedge.transport import Publication
from fedge.wire.freshness import RoundId
from fedge.wire.messages.envelope import seal
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.topics import Topics
from fleet.simulator.books import Book
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle import Oracle

TOPICS = Topics("cohorts")
HALF, ALL, OTHER = Cohort(fraction=0.5, seed=1), Cohort(fraction=1.0, seed=2), Cohort(fraction=1.0, seed=3)


def _announced(folder: Path, attempt: int, cohort: Cohort) -> None:
    """Announce an attempt of a survey whose attempt 3 is saved: attempt 0 was of half of the devices."""
    oracle, ledger = Oracle(TOPICS, lambda: 0.0, 2), Ledger(folder / "ledger.db")
    with ledger.transaction():
        ledger.save_round(RoundId(1, 0), "survey", 3, [HALF, ALL], 0.0)
    manifest = Manifest(
        generation=1,
        round=0,
        attempt=attempt,
        kind="survey",
        state="open",
        seed=0,
        task=Blob(digest=b"\x07" * 32, slot=0, frames=1, size=9),
        cohort=cohort,
        seconds_left=10.0,
    )
    oracle.aggregator_says(ledger, Book(), Publication(TOPICS.round, seal(manifest)))


@pytest.mark.parametrize(("attempt", "cohort"), [(0, HALF), (1, ALL), (2, ALL), (3, ALL)])
def test_attempts_after_one_of_all_devices_have_its_cohort(
    tmp_path: Path, attempt: int, cohort: Cohort
) -> None:
    _announced(tmp_path, attempt, cohort)


@pytest.mark.parametrize(
    ("attempt", "cohort"), [(0, ALL), (1, HALF), (2, HALF), (2, OTHER), (3, HALF), (3, OTHER)]
)
def test_another_cohort_was_not_saved(tmp_path: Path, attempt: int, cohort: Cohort) -> None:
    with pytest.raises(Violation) as caught:
        _announced(tmp_path, attempt, cohort)
    assert caught.value.invariant is Invariant.COHORT_WHEN_DURABLE
