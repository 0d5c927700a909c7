"""Who took part in a round is told in one sentence, and a quorum may be a share of those who are there."""

import json
import logging
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from aggregator.__main__ import main
from aggregator.aggregation.job import ClosingJob, Computed
from aggregator.aggregation.outcome import compute, job_of, save
from aggregator.config import FederationSettings
from aggregator.core import effects as do
from aggregator.core.participation import Participation, last_of
from aggregator.core.quorum import FEWEST, quorum_of, remedy, share_of, updates_needed
from aggregator.core.verdicts import Verdict
from aggregator.ledger.layout import FILE, MIGRATIONS
from aggregator.ledger.reading import read_only
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.views import read_devices
from aggregator.ledger.writing import Ledger
from aggregator.settings.state import StateSection
from fedge.errors import ConfigError
from fedge.storage.databases import open_database
from fedge.wire.freshness import RoundId
from fedge.wire.messages.status import Decline
from fedge.wire.reasons import PASSING, Reason
from tests.aggregator.stories import (
    DEADLINE_S,
    EVERYBODY,
    OPEN,
    SURVEY,
    TASK,
    Story,
    blob,
    federation,
    of,
    rules,
    running,
    status,
    survey,
)
from tests.aggregator.test_outcome import admit
from tests.wording import assert_tells, telling

LABELS = "[data] label: 3 rows say 'Running', which is none of the classes"


def why(reason: Reason, round_id: RoundId = OPEN, attempt: int = 0, detail: str = LABELS) -> Decline:
    return Decline(
        generation=round_id.generation, round=round_id.round, attempt=attempt, reason=reason, detail=detail
    )


def said(story: Story) -> list[do.Log]:
    return of(do.Log, story.log)


def test_what_everybody_could_mend_is_said_with_its_number() -> None:
    """21 of 36 decline: the round closes with 15, and says so."""
    devices = [f"phone-{k}" for k in range(36)]
    story = running(*devices, rules=rules(target=None))
    for device in devices[15:]:
        story.sees(device, status(declined=why(Reason.BAD_DATA)))
    closes = [effect for device in devices[:15] for effect in story.answers(device)]
    assert of(do.CloseRound, closes)
    assert_tells(str(job_of(story.state).participation), "15 of 36", "21 declined", "bad_data")


def test_reasons_are_counted_the_most_frequent_first() -> None:
    """Who declined an older round, took part after all, or has gone, is not among them."""
    story = running("a", "b", "c", "d", "e", "f", "g", rules=rules(target=None))
    story.answers("a")
    for device, reason in (("b", Reason.TOO_HOT), ("c", Reason.BAD_DATA), ("d", Reason.BAD_DATA)):
        story.sees(device, status(declined=why(reason)))
    story.sees("a", status(online=False))
    story.sees("e", status(declined=why(Reason.FAILED, SURVEY)))
    story.sees("f", status(online=False, declined=why(Reason.FAILED)))
    story.sees("g", status(declined=why(Reason.OTHER)))
    story.answers("g")
    found = Participation.of(story.state)
    assert_tells(str(found), "2 of 6", "3 declined", "bad_data 2", "too_hot 1")
    assert Participation.read(found.summary()) == found
    assert_tells(str(Participation(3, 3)), "3 of 3")


def test_a_summary_of_a_program_before_says_nothing_of_it() -> None:
    assert Participation.read({"seconds": 1.0}) is None
    assert (last_of([]), last_of([{"seconds": 1.0}])) == ("", "")
    with pytest.raises(ValueError, match="participation"):
        Participation.read({"participation": {"nonsense": 1}})


def test_the_line_of_a_round_and_its_summary_name_who_took_part(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger, devices = Ledger(tmp_path / "ledger.db"), [f"pi-{k}" for k in range(15)]
    job = ClosingJob(
        SURVEY,
        "survey",
        TASK,
        blob("task"),
        None,
        seed=1,
        chosen=1.0,
        participation=Participation(15, 36, {"bad_data": 21}),
    )
    with ledger.transaction():
        ledger.begin_generation(LedgerMeta(b"l" * 16, 1, "{}"))
    admit(ledger, *(survey(device) for device in devices))
    caplog.set_level(logging.INFO, "fedge.aggregator")
    with ledger.transaction():
        ledger.save_round(SURVEY, "survey", 0, (EVERYBODY,), 0.0)
        computed = compute(ledger, job)
        assert isinstance(computed, Computed)
        save(ledger, job, computed, 1.0, StateSection())
    assert_tells(caplog.text, "15 of 36 ", "21 declined: bad_data")
    assert "participation" not in ledger.summary(SURVEY), "it is no figure"
    ledger.close()


def test_what_a_device_declines_for_is_a_warning_unless_it_passes_by_itself() -> None:
    for reason, level in ((Reason.BAD_DATA, "warning"), (Reason.TOO_HOT, "info")):
        story = running("a", "b", "c")
        story.sees("a", status(declined=why(reason)))
        (line,) = said(story)
        assert (line.level, line.device, line.cause) == (level, "a", f"declines {reason}")
    assert Reason.CLOCK_NOT_SYNCHRONISED not in PASSING, "somebody has to look after it"


# ── a quorum that is a share ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rule", "target", "online", "roster", "aside", "quorum"),
    [
        (3, None, 36, None, 0, None),
        (0.5, None, 36, None, 0, 18),
        (0.5, None, 7, None, 0, 4),
        (0.5, None, 36, None, 6, 15),
        (0.5, 10, 36, None, 0, 10),
        (0.5, None, 3, 20, 0, 10),
        (0.5, None, 3, 20, 4, 8),
        (1.0, None, 5, None, 0, 5),
        (0.1, None, 5, None, 0, 2),
        (0.5, None, 0, None, 0, 2),
    ],
)
def test_a_share_is_of_the_devices_listed_or_of_those_online(
    rule: float, target: int | None, online: int, roster: int | None, aside: int, quorum: int | None
) -> None:
    def names(n: int) -> frozenset[str]:
        return frozenset(f"pi-{k}" for k in range(n))

    listed = None if roster is None else names(roster)
    assert quorum_of(rule, target, names(online), listed, names(aside)) == quorum


def test_no_share_is_rounded_up_for_the_sake_of_a_binary_fraction() -> None:
    for percent in range(1, 101):
        for whole in range(1, 301):
            assert share_of(percent / 100, whole) == -(-percent * whole // 100)


def halves(*devices: str, **changes: object) -> Story:
    return running(*devices, rules=replace(rules(target=None), quorum=0.5), **changes)


def test_a_share_becomes_a_number_when_an_attempt_begins_and_stays_it() -> None:
    story = Story(federation(rules=replace(rules(target=None), quorum=0.5), online=frozenset("abcdef")))
    story.announce(*"abcdef")
    (saved,) = of(do.SaveRound, story.log)
    assert (saved.quorum, updates_needed(story.state)) == (3, 3)
    for device in "ghij":
        story.sees(device)
    assert updates_needed(story.state) == 3, "who comes changes nothing for this attempt"
    story.answers("a")
    assert not of(do.CloseRound, story.later(DEADLINE_S))
    assert [saved.quorum for saved in of(do.SaveRound, story.log)] == [3, 5]
    assert_tells(said(story)[-1].text, "1 of 3 updates")
    for device in "bcde":
        story.answers(device)
    assert of(do.CloseRound, story.later(DEADLINE_S))


def test_an_attempt_goes_on_with_the_number_it_began_with() -> None:
    """Also if others are online now; one that was drawn under another rule gets its number, and durably."""
    cohorts, later = (EVERYBODY,), frozenset("abcdefgh")
    changes = {"rules": replace(rules(target=None), quorum=0.5), "cohorts": cohorts, "online": later}
    story = Story(federation(quorum=3, **changes))
    assert (story.start(), updates_needed(story.state)) == ([], 3)
    story = Story(federation(elapsed_s=7.0, **changes))
    assert story.start() == [do.SaveRound(OPEN, "train", 0, cohorts, 4), do.SaveElapsed(OPEN, 7.0)]
    assert updates_needed(story.state) == 4


def test_a_number_stays_what_it_is() -> None:
    story = running("a", "b", "c", rules=rules(quorum=2))
    assert of(do.SaveRound, story.log)[0].quorum is None
    assert (story.state.quorum, updates_needed(story.state)) == (None, 2)


TEXT = """
[federation]
name = "greenhouse"
[model]
features = 2
classes = ["a", "b"]
[rounds]
"""


@pytest.mark.parametrize(
    ("line", "quorum"),
    [("quorum = 3", 3), ("quorum = 0.5", 0.5), ("quorum = 1.0", 1.0), ("quorum = 1", 1), ("quorum = 3.0", 3)],
)
def test_numbers_and_shares_are_told_apart(tmp_path: Path, line: str, quorum: float) -> None:
    path = tmp_path / "federation.toml"
    path.write_text(TEXT + line)
    found = FederationSettings.load(path, {}).rounds.quorum
    assert (found, type(found)) == (quorum, type(quorum))
    found = FederationSettings.load(path, {"FEDGE_AGGREGATOR_ROUNDS__QUORUM": str(quorum)}).rounds.quorum
    assert (found, type(found)) == (quorum, type(quorum))


@pytest.mark.parametrize(
    ("lines", "facts"),
    [
        ("quorum = 0.0", ("updates", "share")),
        ("quorum = 1.5", ("updates", "share")),
        ("quorum = -0.5", ("updates", "share")),
        ("quorum = nan", ("updates", "share")),
        ("quorum = 0", ("updates", "share")),
        ("quorum = 0.5\nfraction = 0.1", ("0.5", "fraction", "0.1")),
    ],
)
def test_a_quorum_that_cannot_be_is_named(tmp_path: Path, lines: str, facts: tuple[str, ...]) -> None:
    path = tmp_path / "federation.toml"
    path.write_text(TEXT + lines)
    with pytest.raises(ConfigError, match=telling("[rounds] quorum: ", *facts)):
        FederationSettings.load(path, {})


def test_the_number_is_durable(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    with ledger.transaction():
        ledger.save_round(OPEN, "train", 0, (EVERYBODY,), 0.0, 18)
    saved = ledger.round_as_saved(OPEN)
    assert saved is not None
    assert saved.quorum == 18
    with ledger.transaction():
        ledger.save_round(OPEN, "train", 1, (EVERYBODY,), 0.0)
    saved = ledger.round_as_saved(OPEN)
    assert saved is not None
    assert saved.quorum is None
    ledger.close()
    old = tmp_path / "old.db"
    with closing(open_database(old, MIGRATIONS[:8])) as db:
        db.execute(
            "INSERT INTO rounds (generation, round, kind, cohorts, opened_at) VALUES (1, 1, 'train', '[]', 0)"
        )
    with read_only(old) as looked_at:
        saved = looked_at.round_as_saved(OPEN)
    assert saved is not None
    assert saved.quorum is None, "an older ledger that is only looked at has none"


# ── what a device declines, as it is shown ─────────────────────────────────────────────────────────


def test_a_decline_is_shown_since_when_until_the_device_takes_part(tmp_path: Path) -> None:
    ledger = Ledger(path := tmp_path / "ledger.db")

    def shows(now: float, declined: Decline | None) -> tuple[str, str, float | None] | None:
        with ledger.transaction():
            ledger.save_status("a", status(declined=declined), now)
        (row,) = read_devices(path)
        found = row.declined
        return None if found is None else (found.reason, found.detail, found.since)

    assert shows(100.0, why(Reason.BAD_DATA)) == ("bad_data", LABELS, 100.0)
    assert shows(200.0, None) is None, "between two rounds it says nothing"
    assert shows(300.0, why(Reason.BAD_DATA, RoundId(1, 2), detail="4 rows")) == ("bad_data", "4 rows", 100.0)
    assert shows(400.0, why(Reason.TOO_HOT, RoundId(1, 3), detail="")) == ("too_hot", "", 400.0)
    assert shows(500.0, None) is None
    admit(ledger, survey("a"))
    assert shows(600.0, why(Reason.TOO_HOT, RoundId(1, 4), detail="")) == ("too_hot", "", 600.0)
    ledger.close()


def test_a_share_that_too_few_answer_is_told_of_with_what_would_close_it_at_growing_intervals() -> None:
    """Four of seven answer, and 0.8 of them is six: it would stall for ever."""
    tight = replace(rules(target=None), quorum=0.8)
    story = Story(federation(rules=tight, online=frozenset("abcdefg")))
    story.announce(*"abcdefg")
    for device in "abcd":
        story.answers(device)
    told = []
    for number in range(1, 20):
        story.later(DEADLINE_S)
        text = said(story)[-1].text
        assert_tells(text, "4 of 6 updates")
        if "[rounds] quorum = 0.57" in text:
            assert_tells(text, "[rounds] quorum = 0.57", "4 ", "0.8 of 7")
            told.append(number)
    assert told == [1, 2, 4, 8, 16]
    done = Story(federation(rules=replace(tight, quorum=0.57), online=frozenset("abcdefg")))
    done.announce(*"abcdefg")
    for device in "abcd":
        done.answers(device)
    assert of(do.CloseRound, done.later(DEADLINE_S)), "the value that was told does"


@pytest.mark.parametrize("rule", [0.2, 0.8, 1.0, 3, 500])
def test_the_quorum_that_is_told_takes_no_more_than_came(rule: float) -> None:
    for whole in (2, 3, 7, 10, 99, 1_000):
        for came in range(2, whole):
            value = json.loads(remedy(rule, came, whole).split(" = ")[1].split(" ")[0])
            assert FEWEST <= (value if isinstance(value, int) else max(2, share_of(value, whole))) <= came


def test_fewer_updates_than_two_are_closed_by_no_quorum() -> None:
    story = halves(*"abcdef")
    story.answers("a")
    story.later(DEADLINE_S)
    assert_tells(said(story)[-1].text, "no quorum", "2 updates")


def test_check_shows_the_round_that_stalls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "federation.toml"
    file.write_text(
        '[federation]\nname = "lab"\n[model]\nfeatures = 2\nclasses = ["a", "b"]\n[rounds]\nquorum = 0.8\n'
    )
    call = ["--config", str(file), "--check", "--json"]
    assert main(call) == 0
    assert "quorum" not in json.loads(capsys.readouterr().out)["open"]
    (tmp_path / "state").mkdir()
    ledger = Ledger(tmp_path / "state" / FILE)
    with ledger.transaction():
        ledger.begin_generation(LedgerMeta(b"l" * 16, 1, "{}"))
        ledger.save_round(RoundId(1, 0), "survey", 7, (EVERYBODY,), 0.0, 6)
        for device in "abcdefg":
            ledger.save_status(device, status(), 100.0)
        for device in "abcd":
            ledger.save_answer(RoundId(1, 0), device, Verdict(b"d" * 32, "admitted", samples=30))
    ledger.close()
    assert main(call) == 0
    told = json.loads(capsys.readouterr().out)["open"]
    assert_tells(told, "round 1.0: ", "7 times", "6 updates", "4 ", "[rounds] quorum = 0.57", "0.8 of 7")
