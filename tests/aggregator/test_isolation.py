"""Who is in quarantine is told, not awaited and not counted, and nothing else happens to it."""

import errno
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from aggregator.config import FederationSettings
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.claims import Known
from aggregator.core.quorum import updates_needed
from aggregator.core.takeover import StatusSeen
from aggregator.core.verdicts import KeptVerdict, Verdict
from aggregator.ledger.writing import Ledger
from aggregator.shell.leader_check import Watching
from aggregator.shell.quarantine import LOOK_S, QuarantineList, read, write
from fedge.errors import StateError
from fedge.transport import MessageArrived
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.message import pack
from fedge.wire.reasons import Reason
from fedge.wire.topics import Topics
from tests.aggregator.ledger.ledgers import LIFE, close
from tests.aggregator.stories import (
    OPEN,
    Story,
    closing,
    digest_of,
    federation,
    finished,
    frames,
    of,
    only_manifest,
    receipts,
    rules,
    running,
    status,
    update,
)
from tests.wording import assert_tells, telling


def aside(story: Story, *devices: str) -> list[do.Effect]:
    return story.tell(on.Quarantined(story.now_s, frozenset(devices)))


def said(effects: list[do.Effect]) -> str:
    return "\n".join(effect.text for effect in of(do.Log, effects))


def test_it_is_refused_at_its_first_frame_and_not_awaited() -> None:
    story = running("a", "b", "rogue", rules=rules(target=None))
    effects = aside(story, "rogue")
    assert_tells(said(effects), "rogue ", "`fedge quarantine --lift`")
    assert story.state.awaited == {"a", "b"}
    assert receipts(story.answers("rogue")) == [("rogue", "refused", Reason.QUARANTINED)]
    assert "rogue" not in story.state.answers, "nothing is kept of it"
    story.answers("a")
    story.answers("b")
    assert story.stage() == "closing", "the round waits for nobody else"


def test_a_round_that_waits_only_for_it_is_closed_at_once() -> None:
    story = running("a", "b", "rogue", rules=rules(target=None))
    story.answers("a")
    story.answers("b")
    assert story.stage() == "collecting"
    assert of(do.CloseRound, aside(story, "rogue"))


def test_what_it_sent_in_the_open_round_counts_no_more() -> None:
    story = running("a", "b", "rogue", rules=rules(target=None))
    story.answers("rogue")
    digest = story.state.answers["rogue"].digest
    effects = aside(story, "rogue")
    (saved,) = of(do.SaveAnswer, effects)
    assert (saved.device, saved.answer.verdict, saved.answer.reason) == (
        "rogue",
        "refused",
        Reason.QUARANTINED,
    )
    assert do.DropSpool("rogue", digest) in effects
    assert story.state.admitted == 0
    again = story.frame("rogue", frames(update("rogue", story.state.round))[0])
    assert receipts(again) == [("rogue", "refused", Reason.QUARANTINED)], "and it is told so"
    assert aside(story, "rogue") == [], "once"


def test_an_update_on_its_way_is_dropped() -> None:
    story = running("a", "b", "rogue")
    first, second = frames(update("rogue"), 2)
    story.frame("rogue", first)
    assert story.state.spooled > 0
    assert do.DropSpool("rogue", first.id) in aside(story, "rogue")
    assert (story.state.spooled, dict(story.state.partials)) == (0, {})
    assert receipts(story.frame("rogue", second)) == [("rogue", "refused", Reason.QUARANTINED)]
    read_late = story.tell(on.UpdateRead(story.now_s, "rogue", first.id, update("rogue")))
    assert receipts(read_late) == [("rogue", "refused", Reason.QUARANTINED)]
    assert do.DropSpool("rogue", first.id) in read_late


def test_a_round_that_is_being_closed_is_left_alone_unless_no_model_comes_of_it() -> None:
    story = closing()
    effects = aside(story, "c")
    assert_tells(said(effects), "round 1.1 ", "c ")
    assert of(do.SaveAnswer, effects) == []
    assert story.state.admitted == 3
    effects = story.tell(on.CloseFailed(story.now_s, OPEN, "no device measured 'volts'"))
    (saved,) = of(do.SaveAnswer, effects)
    assert (saved.device, saved.answer.reason) == ("c", Reason.QUARANTINED)
    assert (story.state.admitted, updates_needed(story.state)) == (2, 3)


def test_a_verdict_of_before_comes_again() -> None:
    story = running("a", "b", "rogue")
    story.verdicts["rogue", b"d" * 32] = KeptVerdict(RoundId(1, 0), Verdict(b"d" * 32, "admitted"))
    aside(story, "rogue")
    frame = replace_id(frames(update("rogue", RoundId(1, 0)))[0], b"d" * 32)
    assert receipts(story.frame("rogue", frame)) == [("rogue", "admitted", None)]


def replace_id(frame, digest: bytes):  # type: ignore[no-untyped-def]
    return frame.model_copy(update={"id": digest})


def test_lifted_it_takes_part_again() -> None:
    story = running("a", "b", "rogue", rules=rules(target=None))
    aside(story, "rogue")
    assert_tells(said(aside(story)), "rogue ")
    assert story.state.awaited == {"a", "b", "rogue"}
    assert receipts(story.answers("rogue")) == [("rogue", "admitted", None)]


def test_who_was_turned_away_and_is_needed_is_asked_again_when_that_is_lifted() -> None:
    story = running("a", "rogue", rules=rules(target=None))
    story.answers("a")
    aside(story, "rogue")
    story.answers("rogue")
    later = aside(story)
    assert (story.stage(), story.state.attempt) == ("collecting", 1)
    assert_tells(said(later), "rogue ", "attempt 1")
    assert only_manifest(later).attempt == 1, "so that it sends once more what it has kept"
    assert story.state.awaited == {"rogue"}
    assert receipts(story.answers("rogue")) == [("rogue", "admitted", None)]
    assert story.stage() == "closing"


def test_what_counted_before_it_was_set_aside_may_count_once_more() -> None:
    story = running("a", "rogue", rules=rules(target=None))
    story.answers("rogue")
    aside(story, "rogue")
    story.answers("a")
    effects = aside(story)
    assert do.DropAnswer(OPEN, "rogue", digest_of(update("rogue"))) in effects
    assert story.state.attempt == 1
    assert receipts(story.answers("rogue")) == [("rogue", "admitted", None)], "the same update"
    assert story.stage() == "closing"


def test_it_may_be_lifted_while_no_aggregator_is_at_work() -> None:
    refused = Verdict(b"d" * 32, "refused", Reason.QUARANTINED, "set aside", 10)
    story = Story(federation(answers={"rogue": refused}, online=frozenset({"a", "rogue"})))
    story.start()
    effects = aside(story)
    assert of(do.DropAnswer, effects)
    assert of(do.SaveRound, effects)[0].attempt == 1, "for it believes that it counts in attempt 0"
    assert story.stage() == "preparing"
    story.link_up()
    assert only_manifest(story.published()).attempt == 1
    assert story.state.awaited == {"a", "rogue"}


def test_a_survey_that_needs_another_one_does_not_need_those_who_were_set_aside_since() -> None:
    story = running("a", "b", "c", "d", round=RoundId(1, 0), kind="survey", model=None)
    for device in ("a", "b", "c"):
        story.answers(device)
    story.tell(on.CloseFailed(story.now_s, RoundId(1, 0), "no device measured 'volts'"))
    assert (story.stage(), updates_needed(story.state)) == ("collecting", 4)
    aside(story, "c")
    story.answers("d")
    assert story.stage() == "closing"


def test_who_was_turned_away_and_is_not_needed_is_not_awaited_when_that_is_lifted() -> None:
    """It has its verdict, and sends that update once more when a further attempt begins."""
    story = running("a", "b", "rogue", rules=rules(target=None))
    aside(story, "rogue")
    story.answers("rogue")
    aside(story)
    assert story.state.awaited == {"a", "b"}
    story.answers("a")
    story.answers("b")
    assert story.stage() == "closing"
    story.closed()
    story.published()
    assert story.state.awaited == {"a", "b", "rogue"}


def test_what_it_claims_to_have_seen_is_not_listened_to() -> None:
    story = running("a", "rogue")
    aside(story, "rogue")
    effects = story.sees("rogue", status(seen=RoundId(1, 5_000)))
    assert of(do.Abort, effects) == []
    assert said(effects) == ""
    assert dict(story.state.devices_ahead) == {}


def test_it_is_drawn_for_no_cohort() -> None:
    online = frozenset(f"pi-{number}" for number in range(40))
    for left in ("pi-0", "pi-1", "pi-2", "pi-3", "pi-4", "pi-5"):
        story = Story(federation(rules=rules(0.3, 1, 1), online=online, quarantined=online - {left}))
        story.announce()
        assert story.state.awaited == {left}


def test_after_the_end_nothing_changes_in_what_counted() -> None:
    story = finished()
    effects = aside(story, "a")
    assert of(do.SaveAnswer, effects) == []
    assert story.stage() == "done"


# ── the ledger ─────────────────────────────────────────────────────────────────────────────────────


def test_a_verdict_is_changed_only_for_this_and_only_while_the_round_is_open(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    here, digest = RoundId(1, 1), digest_of(update("rogue"))
    admitted = Verdict(digest, "admitted", samples=10)
    quarantined = Verdict(digest, "refused", Reason.QUARANTINED, "set aside", 10)
    with ledger.transaction():
        ledger.begin_generation(LIFE)
        ledger.save_answer(here, "rogue", admitted)
        ledger.save_answer(here, "rogue", Verdict(digest, "refused", Reason.NOT_FINITE, "no"))
        assert ledger.answers(here) == {"rogue": admitted}, "the first verdict stays"
        ledger.save_answer(here, "rogue", quarantined)
        assert ledger.answers(here) == {"rogue": quarantined}
        ledger.drop_answer(here, "rogue", digest)
        assert ledger.verdict("rogue", digest) is None, "it may count again"
        ledger.save_answer(here, "rogue", quarantined)
        ledger.save_answer(here, "b", admitted)
        ledger.drop_answer(here, "b", digest)
        assert ledger.answers(here)["b"] == admitted, "only what was refused for that is dropped"
        close(ledger, here)
        ledger.drop_answer(here, "rogue", digest)
        assert ledger.answers(here)["rogue"] == quarantined
        ledger.save_answer(here, "b", quarantined)
        assert ledger.answers(here)["b"] == admitted
    ledger.close()


# ── the list ───────────────────────────────────────────────────────────────────────────────────────


def test_the_list_is_looked_at_again_and_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, now_s = tmp_path / "quarantined", 0.0
    listed = QuarantineList(path, lambda: now_s)
    assert listed.devices == frozenset()
    write(path, {"pump-9": "2026-05-01T10:00:00+00:00", "pump-1": ""})
    assert not listed.has_changed(), "not all the time"
    now_s += LOOK_S
    assert listed.has_changed()
    assert listed.devices == {"pump-1", "pump-9"}
    assert read(path) == {"pump-9": "2026-05-01T10:00:00+00:00", "pump-1": ""}
    now_s += LOOK_S
    assert not listed.has_changed()
    path.write_text("PUMP NINE\n")
    now_s += LOOK_S
    with caplog.at_level(logging.ERROR):
        assert not listed.has_changed()
    assert_tells(caplog.text, "line 1: ", "'PUMP'")
    assert listed.devices == {"pump-1", "pump-9"}
    path.unlink()
    now_s += LOOK_S
    assert listed.has_changed()
    assert listed.devices == frozenset()


def test_a_list_that_could_not_be_read_once_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, now_s = tmp_path / "quarantined", 0.0
    listed = QuarantineList(path, lambda: now_s)
    write(path, {"pump-9": ""})

    def fails(_path: Path) -> dict[str, str]:
        raise StateError("quarantined: cannot be read: Input/output error")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr("aggregator.shell.quarantine.read", fails)
        for _ in range(3):
            now_s += LOOK_S
            assert not listed.has_changed()
    assert len(caplog.records) == 1, "it is said once"
    now_s += LOOK_S
    assert listed.has_changed()
    assert listed.devices == {"pump-9"}


def test_a_list_that_is_a_link_is_looked_at_where_it_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a folder that is mounted from elsewhere."""
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    now_s = 0.0
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    write(tmp_path / "first" / "quarantined", {})
    write(tmp_path / "second" / "quarantined", {"pump-8": ""})
    (tmp_path / "now").symlink_to("first")
    path = tmp_path / "quarantined"
    path.symlink_to("now/quarantined")
    listed = QuarantineList(path, lambda: now_s)
    write(tmp_path / "first" / "quarantined", {"pump-9": ""})
    now_s += LOOK_S
    assert listed.has_changed()
    assert listed.devices == {"pump-9"}
    (tmp_path / "new").symlink_to("second")
    (tmp_path / "new").replace(tmp_path / "now")
    now_s += LOOK_S
    assert listed.has_changed()
    assert listed.devices == {"pump-8"}


def test_a_list_that_cannot_be_read_at_the_start_stops_it(tmp_path: Path) -> None:
    path = tmp_path / "quarantined"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(StateError, match=telling(f"{path}: ", "UTF-8", "fedge quarantine")):
        QuarantineList(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(StateError, match=telling(f"{path}: ", os.strerror(errno.EISDIR))):
        QuarantineList(path)


def test_what_it_claims_is_not_listened_to_at_a_start_either(tmp_path: Path) -> None:
    (tmp_path / "federation.toml").write_text(
        '[federation]\nname = "lab"\n[model]\nfeatures = 2\nclasses = ["a", "b"]\n'
    )
    settings = FederationSettings.load(tmp_path / "federation.toml", {})
    said = pack(status(seen=RoundId(1, 900)))

    def heard(*quarantined: str) -> tuple[RoundId, bool]:
        link: Any = None
        known = Known(RoundId(1, 3), frozenset({"rogue"}), False, None)
        watching = Watching(settings, link, known, lambda: 0.0, quarantined=frozenset(quarantined))
        topic = Topics("lab").status("rogue")
        (event,) = watching._understood(MessageArrived(topic, said, True, None, 0, 0))
        assert isinstance(event, StatusSeen)
        return round_of(event.status), event.status.online

    assert heard() == (RoundId(1, 900), True)
    assert heard("rogue") == (RoundId(0, 0), True)
