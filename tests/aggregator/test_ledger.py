"""The aggregator's memory: all or nothing, and the same after a crash."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from aggregator.core.verdicts import KeptVerdict, Missed, Verdict
from aggregator.ledger.layout import MIGRATIONS
from aggregator.ledger.reading import read_only
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.views import read_devices, read_rounds
from aggregator.ledger.writing import Ledger
from fedge.errors import DamagedState, StateError
from fedge.storage.databases import open_database
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Cohort
from fedge.wire.reasons import Reason
from fedge.wire.topics import lane_of
from tests.aggregator.stories import blob, decline, digest_of, frames, status, update
from tests.wording import telling

ROOT = Path(__file__).parents[2]
LIFE = LedgerMeta(b"l" * 16, 1, "{}")
COHORTS = (Cohort(fraction=0.1, seed=2**63 - 1), Cohort(fraction=0.2, seed=0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path)
    with ledger.transaction():
        ledger.begin_generation(LIFE)
    yield ledger
    ledger.close()


def reopened(ledger: Ledger, path: Path) -> Ledger:
    ledger.close()
    ledger.__init__(path)  # type: ignore[misc]  # the fixture closes it
    return ledger


def admit(ledger: Ledger, device: str, round_id: RoundId, pieces: int = 2) -> bytes:
    message = update(device, round_id)
    for frame in frames(message, pieces):
        ledger.spool(device, frame)
    ledger.save_answer(round_id, device, Verdict(digest_of(message), "admitted", samples=10))
    return digest_of(message)


def model_of(round_id: RoundId) -> Blob:
    return blob(f"model of {round_id}", slot=round_id.round % 2)


def close(ledger: Ledger, round_id: RoundId, **summary: float) -> None:
    ledger.save_round(round_id, "train", 1, COHORTS, 0.0)
    ledger.save_content("model", round_id, model_of(round_id), f"model of {round_id}".encode())
    ledger.close_round(
        round_id, model_of(round_id).digest, 2, 20, {"weight_change": 0.5, **summary}, 1.0, "mean/1"
    )


def count(path: Path, table: str) -> int:
    with sqlite3.connect(path) as db:
        (rows,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
    db.close()
    return int(rows)


# ── all or nothing ─────────────────────────────────────────────────────────────────────────────────

WRITER = """
import os, signal, sys
from pathlib import Path
from aggregator.ledger.writing import Ledger
from fedge.wire.freshness import RoundId
from tests.aggregator.test_ledger import admit

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


# ── what is read back ──────────────────────────────────────────────────────────────────────────────


def test_a_new_ledger_knows_nothing(path: Path) -> None:
    ledger = Ledger(path)
    assert (ledger.meta(), ledger.last_closed(1), ledger.partials(), ledger.slots()) == (None, None, {}, {})
    assert ledger.newest("task", 1) is None
    ledger.close()
    assert (read_rounds(path), read_devices(path)) == ([], [])


def test_what_was_saved_is_the_same_after_a_restart(ledger: Ledger, path: Path) -> None:
    answer = Verdict(b"d" * 32, "refused", Reason.NOT_FINITE, "weight 3 is nan", 0, {"loss_after": 0.1})
    round_id = RoundId(1, 4)
    with ledger.transaction():
        close(ledger, RoundId(1, 3), accuracy=0.75)
        ledger.save_round(round_id, "train", 1, COHORTS, 0.0)
        ledger.save_elapsed(round_id, 12.5)
        admit(ledger, "b", round_id)
        ledger.save_answer(round_id, "a", answer)
    for now in (ledger, reopened(ledger, path)):
        assert now.meta() == LIFE
        assert now.last_closed(1) == (1, 3)
        saved = now.round_as_saved(round_id)
        assert saved is not None
        assert (saved.kind, saved.cohorts, saved.elapsed_s) == ("train", COHORTS, 12.5)
        assert now.round_as_saved(RoundId(1, 5)) is None
        assert now.answers(round_id)["a"] == answer
        assert now.summaries(1) == [{"weight_change": 0.5, "accuracy": 0.75}]
        assert now.slots() == {("model", 1): model_of(RoundId(1, 3))}
        assert now.content(model_of(RoundId(1, 3)).digest) == b"model of 1.3"


def test_another_attempt_begins_its_time_anew(ledger: Ledger) -> None:
    with ledger.transaction():
        ledger.save_round(RoundId(1, 1), "train", 0, COHORTS[:1], 0.0)
        ledger.save_elapsed(RoundId(1, 1), 12.5)
        ledger.save_round(RoundId(1, 1), "train", 1, COHORTS, 0.0)
    saved = ledger.round_as_saved(RoundId(1, 1))
    assert saved is not None
    assert (saved.cohorts, saved.elapsed_s) == (COHORTS, 0)


def test_the_attempts_of_an_older_layout_are_counted_by_their_cohorts(path: Path) -> None:
    with closing(open_database(path, MIGRATIONS[:2])) as db:
        for number, cohorts in enumerate(
            ("[]", '[{"fraction": 0.5, "seed": 1}, {"fraction": 1.0, "seed": 2}]')
        ):
            db.execute(
                "INSERT INTO rounds (generation, round, kind, cohorts, opened_at)"
                " VALUES (1, ?, 'train', ?, 0)",
                (number, cohorts),
            )
    with closing(Ledger(path)) as ledger:
        saved = [ledger.round_as_saved(RoundId(1, number)) for number in (0, 1)]
    assert [(row.attempt, len(row.cohorts)) for row in saved if row] == [(0, 0), (1, 2)]


def test_the_closed_rounds_of_an_older_layout_get_the_rules_there_were(path: Path) -> None:
    rounds = ((1, 0, "survey", 1.0), (1, 1, "train", 2.0), (1, 2, "train", None), (2, 0, "kept", 3.0))
    with closing(open_database(path, MIGRATIONS[:3])) as db:
        db.executemany(
            "INSERT INTO rounds (generation, round, kind, cohorts, opened_at, closed_at)"
            " VALUES (?, ?, ?, '[]', 0, ?)",
            rounds,
        )
    told = {RoundId(1, 0): "survey/1", RoundId(1, 1): "mean/1", RoundId(1, 2): None, RoundId(2, 0): None}
    with read_only(path) as reader:
        assert {round_id: reader.rule(round_id) for round_id in told} == told, "only looked at"
    with closing(Ledger(path)) as ledger:
        assert {round_id: ledger.rule(round_id) for round_id in told} == told, "migrated"
        assert ledger.rule(RoundId(9, 9)) is None


def test_the_first_verdict_stays(ledger: Ledger) -> None:
    with ledger.transaction():
        first = admit(ledger, "a", RoundId(1, 1))
        ledger.save_answer(RoundId(1, 1), "a", Verdict(b"x" * 32, "refused", Reason.NOT_FINITE))
    assert ledger.answers(RoundId(1, 1))["a"].digest == first


def test_answers_come_in_the_order_of_the_sum(ledger: Ledger) -> None:
    devices = [f"pi-{i}" for i in range(600)]  # more than there are lanes
    with ledger.transaction():
        for device in sorted(devices, reverse=True):
            ledger.save_answer(RoundId(1, 1), device, Verdict(b"d" * 32, "admitted", samples=1))
    found = list(ledger.answers(RoundId(1, 1)))
    assert found == sorted(devices, key=lambda device: (lane_of(device), device))


def test_content_that_is_missing_is_named(ledger: Ledger) -> None:
    with pytest.raises(StateError, match=telling("ledger.db: ", "6d6d6d6d6d6d…")):
        ledger.content(b"m" * 32)


# ── the spool ──────────────────────────────────────────────────────────────────────────────────────


def test_what_had_come_of_an_update_is_known_after_a_restart(ledger: Ledger, path: Path) -> None:
    open_round = RoundId(1, 1)
    pieces = frames(update("a"), 5)
    with ledger.transaction():
        admit(ledger, "b", open_round)
        for i in (3, 1, 1):
            ledger.spool("a", pieces[i])
    (device, partial), *others = reopened(ledger, path).partials().items()
    assert (device, others) == ("a", [])  # b's is answered
    assert (partial.id, partial.missing) == (digest_of(update("a")), (0, 2, 4))
    with ledger.transaction():
        for i in partial.missing:
            ledger.spool("a", pieces[i])
    assert b"".join(ledger.pieces("a", partial.id)) == b"".join(frame.data for frame in pieces)


def test_dropping_an_update_leaves_the_others(ledger: Ledger) -> None:
    mine, other = update("a"), update("a", samples=11)
    with ledger.transaction():
        for message in (mine, other):
            ledger.spool("a", frames(message)[0])
        ledger.spool("b", frames(mine)[0])
        ledger.drop_spool("a", digest_of(mine))
    assert list(ledger.pieces("a", digest_of(mine))) == []
    assert list(ledger.pieces("a", digest_of(other))) != []
    assert list(ledger.pieces("b", digest_of(mine))) != []


def test_an_old_update_that_is_sent_once_more_and_refused_still_belongs_to_its_round(ledger: Ledger) -> None:
    with ledger.transaction():
        digest = admit(ledger, "a", RoundId(1, 1))
        close(ledger, RoundId(1, 1))
        ledger.spool("a", frames(update("a"), 2)[0])  # again, three rounds later
        ledger.drop_spool("a", digest)
    assert len(list(ledger.pieces("a", digest))) == 2
    assert ledger.update_bytes(RoundId(1, 1)) > 0


# ── keeping and forgetting ─────────────────────────────────────────────────────────────────────────


def test_old_rounds_keep_their_figures_and_lose_what_they_were_computed_of(
    ledger: Ledger, path: Path
) -> None:
    with ledger.transaction():
        for number in range(1, 6):
            for device in ("a", "b"):
                admit(ledger, device, RoundId(1, number))
            close(ledger, RoundId(1, number), accuracy=number / 10)
        ledger.save_content("task", RoundId(1, 0), blob("task"), b"task")
        open_round = RoundId(1, 6)
        ledger.save_round(open_round, "train", 1, COHORTS, 0.0)
        kept = admit(ledger, "a", open_round)
        ledger.spool("c", Frame(id=b"c" * 32, i=0, n=2, size=20, data=bytes(10)))
        ledger.forget_rounds_before(RoundId(1, 5))
    assert [row.accuracy for row in read_rounds(path)] == [0.1, 0.2, 0.3, 0.4, 0.5, None]
    assert len(ledger.summaries(1)) == 5
    assert [number for number in range(1, 7) if ledger.answers(RoundId(1, number))] == [5, 6]
    assert len(list(ledger.pieces("a", kept))) == 2
    assert set(ledger.partials()) == {"c"}
    assert ledger.content(blob("task").digest) == b"task"
    assert ledger.newest("model", 1) == model_of(RoundId(1, 5)).digest
    assert ledger.content(model_of(RoundId(1, 4)).digest), "the updates of round 5 began from it"
    assert set(ledger.kept_rounds(1)) == {5}
    with pytest.raises(StateError, match="missing"):
        ledger.content(model_of(RoundId(1, 3)).digest)
    assert count(path, "frames") == 2 * 2 + 2 + 1


def test_a_new_generation_forgets_what_was_spooled_and_its_task_is_the_newest(ledger: Ledger) -> None:
    task = blob("task")
    with ledger.transaction():
        ledger.save_content("task", RoundId(1, 0), task, b"task")
        ledger.save_content("task", RoundId(1, 0), blob("surveyed", 1), b"surveyed")
        ledger.spool("c", Frame(id=b"c" * 32, i=0, n=2, size=20, data=bytes(10)))
    assert ledger.newest("task", 1) == blob("surveyed").digest  # of the same round, but later
    with ledger.transaction():
        ledger.begin_generation(LedgerMeta(LIFE.ledger, 2, "{}"))
        ledger.save_content("task", RoundId(2, 0), task, b"task")  # the very same bytes
    assert ledger.newest("task", 2) == task.digest
    assert ledger.newest("model", 2) is None
    assert ledger.partials() == {}
    with ledger.transaction():
        ledger.save_content("task", RoundId(2, 0), blob("surveyed", 1), b"surveyed")
    assert ledger.newest("task", 2) == blob("surveyed").digest


# ── what people are shown ──────────────────────────────────────────────────────────────────────────


def test_rounds_are_read_while_the_aggregator_writes(ledger: Ledger, path: Path) -> None:
    with ledger.transaction():
        close(ledger, RoundId(1, 0))
    with ledger.transaction():
        close(ledger, RoundId(1, 1), accuracy=0.5, bytes_up=7)
        ledger.save_round(RoundId(1, 2), "train", 1, COHORTS, 0.0)
        assert len(read_rounds(path)) == 1  # not committed yet
    first, second, third = read_rounds(path)
    assert (second.round, second.closed, second.devices, second.samples) == (1, True, 2, 20)
    assert (second.accuracy, second.bytes_up, second.attempt) == (0.5, 7, 1)
    assert (third.closed, third.accuracy, third.seconds) == (False, None, None)
    assert first.closed


def test_only_the_newest_generation_is_shown(ledger: Ledger, path: Path) -> None:
    with ledger.transaction():
        close(ledger, RoundId(1, 1))
        ledger.begin_generation(LedgerMeta(LIFE.ledger, 2, "{}"))
        close(ledger, RoundId(2, 0))
    assert [(row.generation, row.round) for row in read_rounds(path)] == [(2, 0)]


def test_a_device_is_shown_with_what_it_said_and_what_became_of_it(ledger: Ledger, path: Path) -> None:
    with ledger.transaction():
        ledger.count_refusals("stranger", 1, Reason.MALFORMED)
        ledger.save_status("a", status(seen=RoundId(1, 3), declined=decline()), 100.0)
        ledger.count_refusals("a", 1, Reason.NOT_FINITE)
        ledger.count_refusals("a", 1, Reason.OVERSIZE)
        ledger.save_status("a", status(online=False, seen=RoundId(1, 4)), 200.0)
        ledger.save_status("a", status(online=False, seen=RoundId(1, 4)), 300.0)
        for number in (1, 2):
            admit(ledger, "a", RoundId(1, number))
        ledger.save_answer(RoundId(1, 3), "a", Verdict(b"x" * 32, "refused", Reason.NOT_FINITE))
    a, stranger = read_devices(path)
    assert (a.device, a.online, a.round, a.admitted) == ("a", False, (1, 4), 2)
    assert (a.refused, a.last_refusal) == (2, "oversize")
    assert a.seen_at == 200.0, "what is only retained says nothing new"
    assert (stranger.version, stranger.refused, stranger.admitted) == (None, 1, 0)
    assert stranger.seen_at is None


def test_who_let_rounds_wait_is_remembered_until_it_answers(ledger: Ledger, path: Path) -> None:
    missed = Missed(2, Attempt(RoundId(1, 7), 3))
    with ledger.transaction():
        for device in ("a", "b"):
            ledger.save_status(device, status(), 100.0)
            ledger.save_missed(device, missed)
        ledger.save_missed("b", None)
        ledger.save_missed("stranger", missed)
        ledger.save_status("a", status(online=False), 200.0)
    assert ledger.missed() == {"a": missed, "stranger": missed}
    assert [(row.device, row.missed) for row in read_devices(path)] == [("a", 2), ("b", 0), ("stranger", 2)]
    assert ledger.devices() == {"a", "b"}


def test_which_device_keeps_an_older_model_in_use_is_shown_until_it_does_no_more(
    ledger: Ledger, path: Path
) -> None:
    older = status().model_copy(update={"uses": b"o" * 32})
    with ledger.transaction():
        ledger.save_status("a", older, 100.0)
        ledger.save_status("b", status(), 100.0)
    assert [row.uses for row in read_devices(path)] == [b"o" * 32, None]
    with ledger.transaction():
        ledger.save_status("a", status(), 200.0)
    assert [row.uses for row in read_devices(path)] == [None, None]


def test_a_ledger_of_an_older_program_is_shown_before_it_is_migrated(path: Path) -> None:
    with closing(open_database(path, MIGRATIONS[:5])) as db:
        db.execute("INSERT INTO devices (device, online) VALUES ('a', 1)")
    assert [(row.device, row.online, row.missed) for row in read_devices(path)] == [("a", True, 0)]


def test_a_ledger_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=telling("nowhere.db: ")):
        read_rounds(tmp_path / "nowhere.db")


def test_a_folder_may_be_called_anything(tmp_path: Path) -> None:
    path = tmp_path / "50% of #1?" / "ledger.db"
    path.parent.mkdir()
    ledger = Ledger(path)
    with ledger.transaction():
        ledger.begin_generation(LIFE)
        close(ledger, RoundId(1, 1))
    ledger.close()
    assert len(read_rounds(path)) == 1


# ── verdicts and the updates behind them ───────────────────────────────────────────────────────────


def test_the_verdict_of_every_kept_round_is_found_by_its_update(ledger: Ledger) -> None:
    with ledger.transaction():
        digests = [admit(ledger, "pi-1", RoundId(1, number)) for number in range(5)]
        refused = Verdict(b"r" * 32, "refused", Reason.BAD_SAMPLE_COUNT, "n_k = 0")
        ledger.save_answer(RoundId(1, 3), "pi-2", refused)
        ledger.forget_rounds_before(RoundId(1, 2))
    for number, digest in enumerate(digests):
        found = ledger.verdict("pi-1", digest)
        kept = number >= 2
        assert (found is not None, ledger.remembers(RoundId(1, number))) == (kept, kept)
        if found is not None:
            assert (found.round, found.answer.verdict, found.answer.samples) == ((1, number), "admitted", 10)
    assert ledger.verdict("pi-2", b"r" * 32) == KeptVerdict(RoundId(1, 3), refused)
    assert ledger.verdict("pi-2", digests[4]) is None, "another device's"


def test_updates_that_are_not_what_was_admitted_are_named(ledger: Ledger) -> None:
    with ledger.transaction():
        digests = [admit(ledger, f"pi-{number % 3}", RoundId(1, number // 3)) for number in range(27)]
        ledger.spool("pi-9", frames(update("pi-9"), 2)[0])  # one that has only begun is no damage
        ledger.save_answer(RoundId(1, 2), "pi-8", Verdict(b"r" * 32, "refused", Reason.STALE_ROUND))
    ledger.check_updates()
    with ledger.transaction():
        ledger._run("DELETE FROM frames WHERE device = 'pi-1' AND digest = ? AND i = 1", digests[4])
        ledger._run("INSERT INTO frames VALUES ('pi-2', ?, 2, 3, 9, x'00')", digests[8])
    with pytest.raises(DamagedState, match=telling("pi-1 in round 1.1, pi-2 in round 1.2 ")):
        ledger.check_updates()
    with ledger.transaction():
        ledger._run("DELETE FROM frames WHERE i = 0")
    with pytest.raises(DamagedState, match=telling("pi-1 in round 1.1 and 22 more ")):
        ledger.check_updates()


def test_the_rounds_that_one_may_go_back_to_are_looked_through_too(ledger: Ledger) -> None:
    """Those of a generation that a program before layout 7 ended are not: it had freed their updates."""
    with ledger.transaction():
        digest = admit(ledger, "pi-1", RoundId(1, 1))
        ledger.save_content("task", RoundId(1, 0), blob("task"), b"task")
        close(ledger, RoundId(1, 1))
        ledger.begin_generation(LedgerMeta(LIFE.ledger, 2, "{}"))
    ledger.check_updates()
    with ledger.transaction():
        ledger._run("UPDATE frames SET data = x'00' WHERE digest = ? AND i = 0", digest)
    with pytest.raises(DamagedState, match=telling("pi-1 in round 1.1 ")):
        ledger.check_updates()
    with ledger.transaction():
        ledger._run("UPDATE rounds SET task = NULL")
    ledger.check_updates()


def test_a_new_generation_has_no_verdict_on_what_waited_in_the_open_round(ledger: Ledger) -> None:
    with ledger.transaction():
        counted = admit(ledger, "pi-1", RoundId(1, 1))
        close(ledger, RoundId(1, 1))
        ledger.save_round(RoundId(1, 2), "train", 0, COHORTS, 0.0)
        waiting = admit(ledger, "pi-1", RoundId(1, 2))
        ledger.begin_generation(LedgerMeta(LIFE.ledger, 2, "{}"))
    found = ledger.verdict("pi-1", counted)
    assert found is not None
    assert found.answer.verdict == "admitted"
    assert ledger.verdict("pi-1", waiting) is None, "it never counted"
    assert (ledger.remembers(RoundId(1, 1)), ledger.remembers(RoundId(1, 2))) == (True, False)
    assert (b"".join(ledger.pieces("pi-1", waiting)), ledger.answered_by("pi-1")[1]) == (b"", None)
    ledger.check_updates()
