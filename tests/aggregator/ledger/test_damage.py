"""The aggregator's memory: all or nothing, whatever dies or is damaged."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aggregator.ledger.views import read_rounds
from aggregator.ledger.writing import Ledger
from fedge.errors import DamagedState, StateError
from fedge.wire.freshness import RoundId
from tests.aggregator.ledger.ledgers import admit, close, count, model_of
from tests.wording import telling

ROOT = Path(__file__).parents[3]

# ── all or nothing ─────────────────────────────────────────────────────────────────────────────────

WRITER = """
import os, signal, sys
from pathlib import Path
from aggregator.ledger.writing import Ledger
from fedge.wire.freshness import RoundId
from tests.aggregator.ledger.ledgers import admit

ledger, batch = Ledger(Path(sys.argv[1])), 0
while True:
    with ledger.transaction():
        for i in range(5):
            admit(ledger, f"pi-{batch}-{i}", RoundId(1, batch))
            if batch == 40 and i == 2:
                os.kill(os.getpid(), signal.SIGKILL)
    print(batch, flush=True)  # what is seen outside comes after the commit
    batch += 1
"""


def test_a_killed_process_leaves_whole_turns_and_all_that_were_told(path: Path) -> None:
    """The group commit of a turn: a SIGKILL in the middle of one."""
    Ledger(path).close()
    ended = subprocess.run(
        [sys.executable, "-c", WRITER, str(path)],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert ended.stdout.split() == [str(batch) for batch in range(40)]
    ledger = Ledger(path)
    for batch in range(40):
        assert len(ledger.answers(RoundId(1, batch))) == 5
    assert ledger.answers(RoundId(1, 40)) == {}
    assert ledger.partials() == {}
    ledger.close()
    assert count(path, "frames") == 40 * 5 * 2


def test_an_error_in_a_turn_takes_all_of_it_back(ledger: Ledger) -> None:
    def turn() -> None:
        with ledger.transaction():
            admit(ledger, "a", RoundId(1, 1))
            raise KeyError

    with pytest.raises(KeyError):
        turn()
    assert ledger.answers(RoundId(1, 1)) == {}
    with ledger.transaction():
        admit(ledger, "a", RoundId(1, 1))
    assert set(ledger.answers(RoundId(1, 1))) == {"a"}


def test_a_full_disk_is_a_state_error_that_names_the_file(ledger: Ledger, path: Path) -> None:
    ledger._db.execute("PRAGMA max_page_count = 40")
    with ledger.transaction():
        admit(ledger, "a", RoundId(1, 1))
    with pytest.raises(StateError, match=telling("ledger.db: ", "disk is full")), ledger.transaction():
        close(ledger, RoundId(1, 1), **{f"figure {i}": 0.5 for i in range(10_000)})
    assert set(ledger.answers(RoundId(1, 1))) == {"a"}
    assert count(path, "rounds") == 0


def test_a_damaged_file_is_a_state_error_also_when_reading(ledger: Ledger, path: Path) -> None:
    with ledger.transaction():
        close(ledger, RoundId(1, 1))
    ledger.close()
    with path.open("r+b") as file:  # after the first page, which holds the layout
        file.seek(4_096)
        file.write(b"\xa5" * (path.stat().st_size - 4_096))
    with pytest.raises(DamagedState, match=telling("ledger.db: ")):
        Ledger(path)
    with pytest.raises(DamagedState, match=telling("ledger.db: ")):
        read_rounds(path)


def test_fault_38_what_sqlite_cannot_notice_is_noticed_when_it_is_read(ledger: Ledger, path: Path) -> None:
    first = RoundId(1, 1)
    with ledger.transaction():
        admit(ledger, "a", first)
        close(ledger, first)
    assert ledger.content(model_of(first).digest) == b"model of 1.1"
    for damage in (
        "UPDATE contents SET data = x'00'",
        "UPDATE answers SET metrics = CAST(x'7b22ff' AS TEXT)",
        "UPDATE answers SET metrics = '{}', reason = 'wrong_baze'",
        "UPDATE rounds SET cohorts = '[{}]', summary = '{\"loss\" 1.0}'",
    ):
        with ledger.transaction():
            ledger._run(damage)
        with pytest.raises(DamagedState, match=r"ledger\.db: "):
            ledger.content(model_of(first).digest)
        if "answers" in damage:
            with pytest.raises(DamagedState, match=telling("ledger.db: ", "answers", "round 1.1: ")):
                ledger.answers(first)
    for read in (
        lambda: ledger.round_as_saved(first),
        lambda: ledger.summary(first),
        lambda: ledger.summaries(1),
    ):
        with pytest.raises(DamagedState, match=telling("ledger.db: ")):
            read()
