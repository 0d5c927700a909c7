"""How an aggregator begins: what it saw of the federation against what its ledger knows."""

import os

import pytest

from aggregator.aggregation.models import blob_of
from aggregator.core.claims import Known
from aggregator.core.presence import LeaderCheck
from aggregator.ledger.records import LedgerMeta
from aggregator.shell.saved_state import known
from fedge.errors import ConfigError, Undecided
from fedge.nn.spec import UnknownLayer
from fedge.wire.freshness import RoundId
from fedge.wire.messages.message import pack
from fedge.wire.reasons import Reason
from tests.aggregator.startup.places import Place, Seen, fleet
from tests.aggregator.stories import (
    status,
)
from tests.aggregator.test_presence import manifest
from tests.wording import telling

# ── memories that do not fit ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "watch", [fleet(7, 7, online=False), LeaderCheck(0.0).manifest(manifest(RoundId(1, 7)), 0.0)]
)
def test_a_wiped_folder_is_noticed_and_both_ways_on_are_named(
    place: Place, seen: Seen, watch: LeaderCheck
) -> None:
    seen(watch)
    with pytest.raises(ConfigError) as caught:
        place.open()
    for words in ("1.7", "this ledger is new", "estore", "--new-generation"):
        assert words in str(caught.value)
    assert place.ledger.meta() is None  # nothing was begun

    assert place.open(new_generation=True).round == (2, 0)


def test_an_old_backup_is_noticed(place: Place, seen: Seen) -> None:
    place.close_round(place.open())
    seen(fleet(1, 1))
    assert place.open().round == (1, 1)  # as new as the fleet
    seen(fleet(3, 3, 1))
    with pytest.raises(ConfigError, match=telling("2 of the 3 devices", "1.1: ", "pi-0 (1.3), pi-1")):
        place.open()


def test_a_backup_one_round_old_is_noticed_by_the_end_of_learning(place: Place, seen: Seen) -> None:
    place.close_round(place.open())
    last = manifest(RoundId(1, 1))
    seen(LeaderCheck(0.0).manifest(last, 0.0))
    assert place.open().round == (1, 1)  # it was announced, and is open
    seen(LeaderCheck(0.0).manifest(last.model_copy(update={"state": "done"}), 0.0))
    with pytest.raises(ConfigError, match=r"round 1\.1 .*done.* open"):
        place.open()


@pytest.mark.parametrize("closed", [0, 1])
@pytest.mark.parametrize("last", [2**31 - 2, 2**31 - 1])
def test_one_liar_among_three_does_not_stop_a_ledger_and_burns_no_number(
    place: Place, seen: Seen, closed: int, last: int, caplog: pytest.LogCaptureFixture
) -> None:
    place.open()
    for _ in range(closed):
        place.close_round(place.open())
    seen(fleet(0, 0).status("pi-2", status(seen=RoundId(last, 0)), 0.0))
    state = place.open()
    assert (state.round, state.incredible) == ((1, closed), {"pi-2"})
    assert len([line for line in caplog.messages if f"pi-2 ({last}.0)" in line]) == 1
    assert place.open(new_generation=True).round == (2, 0)
    assert place.open(new_generation=True).round == (3, 0)


def test_two_of_many_that_are_not_there_yet_are_no_reason_for_a_human(place: Place, seen: Seen) -> None:
    """The broker lost its memory, and they came first."""
    place.close_round(place.open(), devices=6)
    seen(fleet(5))
    assert place.open().round == (1, 1)
    seen(fleet(5, 5))
    with pytest.raises(Undecided, match=telling("pi-2, pi-3, pi-4, pi-5")) as caught:
        place.open()
    assert caught.value.exit_code == os.EX_TEMPFAIL
    seen(fleet(5, 5, 0))
    assert place.open().round == (1, 1)


def test_what_a_ledger_knows_of_its_fleet(place: Place, seen: Seen) -> None:
    settings = place.settings()
    assert known(settings, place.ledger) == Known()
    state = place.open()
    with place.ledger.transaction():
        place.ledger.save_status("pi-0", status(online=False), 0.0)
        place.ledger.count_refusals("who never told its status", 1, Reason.MALFORMED)
    assert known(settings, place.ledger) == Known(RoundId(1, 0), frozenset({"pi-0"}))
    place.close_round(state, devices=2)
    assert known(settings, place.ledger) == Known(RoundId(1, 1), frozenset({"pi-0", "pi-1"}), young=False)
    place.open(new_generation=True)
    assert not known(settings, place.ledger).young, "it has a past"


def test_a_forged_announcement_stops_and_says_so_but_burns_no_number(
    place: Place, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    place.close_round(place.open())
    seen(LeaderCheck(0.0).manifest(manifest(RoundId(2**31 - 2, 7)), 0.0))
    with pytest.raises(ConfigError, match=telling("'fedge/v1/greenhouse/round'")):
        place.open()
    assert place.open(new_generation=True).round == (2, 0)
    assert "`fedge-agent forget-rounds`" in caplog.text
    # one of a fleet that has only learnt on for long is not taken for a forgery
    seen(LeaderCheck(0.0).manifest(manifest(RoundId(4, 9_000)), 0.0))
    assert place.open(new_generation=True).round == (5, 0)


def test_a_generation_that_none_can_follow_is_told(place: Place, seen: Seen) -> None:
    place.open()
    with place.ledger.transaction():
        place.ledger.begin_generation(LedgerMeta(b"l" * 16, 2**31 - 1, "{}"))
    with pytest.raises(ConfigError, match=telling("generation 2147483647", "rotate-key")):
        place.open(new_generation=True)


def test_a_changed_model_is_refused_by_name_until_a_new_generation(place: Place, seen: Seen) -> None:
    place.close_round(place.open())
    place.values["features"] = 3
    with pytest.raises(ConfigError, match=telling("[model] features ", "--new-generation")):
        place.open()
    state = place.open(new_generation=True)
    assert (state.round, state.kind, state.model) == ((2, 0), "survey", None)
    assert len(state.task_message.features) == 3
    assert place.open().round == (2, 0)


def test_a_task_of_a_newer_program_is_not_gone_on_with(place: Place, seen: Seen) -> None:
    seen(LeaderCheck(0.0))
    state = place.open()
    network = state.task_message.network
    layers = (*network.layers[:-1], UnknownLayer(type="dropout"), network.layers[-1])
    newer = state.task_message.model_copy(update={"network": network.model_copy(update={"layers": layers})})
    place.ledger.save_content("task", state.round, blob_of(pack(newer), 1), pack(newer))
    with pytest.raises(ConfigError, match=telling("layer:dropout", "Fedge ", "install")):
        place.open()
