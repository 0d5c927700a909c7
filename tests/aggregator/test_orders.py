"""A new generation is ordered from an aggregator at work: once, and never from another ledger's life."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from aggregator.__main__ import main
from aggregator.aggregation.generations import go_back
from aggregator.aggregation.model_fingerprint import model_fingerprint
from aggregator.aggregation.rollback import Rollback
from aggregator.backup import new_generation
from aggregator.core.presence import LeaderCheck
from aggregator.core.takeover import TakeUp
from aggregator.ledger.layout import FILE
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.writing import Ledger
from aggregator.shell import orders
from aggregator.shell.loop import Loop
from aggregator.shell.orders import Order, give, is_given, pending, withdraw
from fedge.errors import Conflict, DataError
from fedge.storage.locks import alone, lock
from fedge.wire.freshness import RoundId
from tests.aggregator.test_beginnings import Place
from tests.wording import assert_tells, telling

NAME, OTHER = "1f" * 16, "2e" * 16
BACK = Rollback(1, 12, ("pump-9",), ("pump-8", "pump-9"))


def clock(sleep: Callable[[float], None]) -> SimpleNamespace:
    """The time as the command knows it, and what happens while it waits."""
    return SimpleNamespace(monotonic=time.monotonic, sleep=sleep)


@pytest.mark.parametrize("back", [None, Rollback(), BACK])
def test_an_order_is_what_was_wished(tmp_path: Path, back: Rollback | None) -> None:
    give(tmp_path, Order.of(NAME, 3, back))
    assert (tmp_path / orders.FILE).stat().st_mode & 0o777 == 0o600
    order = pending(tmp_path, 3)
    assert order is not None
    assert (order.after, order.back) == (3, back)
    assert is_given(tmp_path)
    withdraw(tmp_path, Order.of(OTHER, 3, back))
    assert is_given(tmp_path), "it is another one's"
    withdraw(tmp_path, order)
    assert not is_given(tmp_path)
    assert pending(tmp_path, 3) is None
    withdraw(tmp_path, None)


@pytest.mark.parametrize("generation", [None, 2, 4])
def test_a_ledger_that_has_gone_on_makes_it_void(tmp_path: Path, generation: int | None) -> None:
    give(tmp_path, Order.of(NAME, 3, BACK))
    assert pending(tmp_path, generation) is None
    assert not is_given(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{}", '{"after": 3, "anew": true, "also": 1}', '{"after": "x"}', "\xff"]
)
def test_what_is_no_order_is_named_and_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (tmp_path / orders.FILE).write_text(content, encoding="latin-1")
    with caplog.at_level(logging.ERROR):
        assert pending(tmp_path, 3) is None
    assert_tells(caplog.text, "`fedge-aggregator new-generation`")
    assert not is_given(tmp_path), "else the aggregator would look at it for ever"


def test_what_cannot_be_read_is_removed(tmp_path: Path) -> None:
    (tmp_path / orders.FILE).symlink_to(tmp_path)
    assert pending(tmp_path, 3) is None
    assert not os.path.lexists(tmp_path / orders.FILE)


# ── the aggregator ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("then", [None, Order.of(OTHER, 1, Rollback(round=3))])
def test_what_was_withdrawn_while_the_broker_was_away_is_not_begun(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, then: Order | None
) -> None:
    """Nor is another one taken for it, which was given since: that is begun next."""
    folder, served = place.settings.state.folder, []
    ledger = Ledger(folder / FILE)
    with ledger.transaction():
        ledger.begin_generation(LedgerMeta(b"l" * 16, 1, model_fingerprint(place.settings)))
    ledger.close()
    give(folder, Order.of(NAME, 1, None))

    def watch(*_: object, new_generation: bool, **__: object) -> TakeUp:
        if not served:
            withdraw(folder, Order.of(NAME, 1, None))
            if then is not None:
                give(folder, then)
            served.append("watched")
        return TakeUp(watch=LeaderCheck(0.0), generation=2 if new_generation else None)

    monkeypatch.setattr("aggregator.shell.startup.watch", watch)
    loop = Loop(place.settings)
    monkeypatch.setattr(loop, "_serve", lambda state: bool(served.append(str(state.round))))
    with caplog.at_level(logging.WARNING):
        assert loop._live(), "look again"
    assert_tells(caplog.text, "withdrawn")
    assert served == ["watched"]
    assert loop._ledger.meta().generation == 1  # type: ignore[union-attr]
    assert not loop._live()
    assert served == ["watched", "1.7" if then is None else "2.1"]
    assert loop._ledger.mark("order") == (None if then is None else OTHER)
    assert not is_given(folder)
    loop._closer.end()
    loop._ledger.close()
    os.close(loop._lock)


# ── the command ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Six closed rounds, where the programs look for them."""
    (tmp_path / "state").mkdir()
    place = Place(tmp_path)
    place.ledger.close()
    for file in tmp_path.glob(f"{FILE}*"):
        file.rename(tmp_path / "state" / file.name)
    return place


def test_an_aggregator_that_does_not_begin_it_is_not_waited_for_for_ever(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_generation, "PATIENCE_S", 0.3)
    held = lock(place.settings.state.folder)
    with pytest.raises(Conflict, match=telling("0 s: ", "Stop it")):
        new_generation.begin_next(place.settings, Rollback(round=3))
    assert not is_given(place.settings.state.folder), "it is not begun behind anybody's back later"
    os.close(held)


def test_what_another_order_began_is_not_taken_for_ones_own(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place.settings.state.folder
    held = lock(folder)

    def another(_seconds: float) -> None:
        give(folder, Order.of(OTHER, 1, Rollback(round=2)))
        place.ledger = Ledger(place.settings.state.folder / FILE)
        go_back(
            place.settings, place.ledger, place.ledger.meta(), 2, LeaderCheck(0.0), Rollback(round=2), OTHER
        )  # type: ignore[arg-type]
        place.ledger.close()

    monkeypatch.setattr(new_generation, "time", clock(another))
    with pytest.raises(DataError, match=telling("newer order")):
        new_generation.begin_next(place.settings, Rollback(round=3))
    assert is_given(folder), "the other one is not withdrawn"
    os.close(held)


def test_rounds_that_closed_before_the_command_looks_are_not_the_first_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = lock(place.settings.state.folder)

    def begin_and_go_on(_seconds: float) -> None:
        order = pending(place.settings.state.folder, 1)
        assert order is not None
        place.ledger = Ledger(place.settings.state.folder / FILE)
        go_back(
            place.settings,
            place.ledger,
            place.ledger.meta(),
            2,
            LeaderCheck(0.0),
            Rollback(round=3),
            order.id,
        )  # type: ignore[arg-type]
        for number in (1, 2):
            place.train(RoundId(2, number))
        place.ledger.close()

    monkeypatch.setattr(
        new_generation, "time", SimpleNamespace(monotonic=time.monotonic, sleep=begin_and_go_on)
    )
    begun = new_generation.begin_next(place.settings, Rollback(round=3))
    assert begun == new_generation.Begun(RoundId(2, 1), at_work=True)
    os.close(held)


def test_what_is_begun_in_the_last_moment_is_begun(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, PATIENCE_S = place.settings.state.folder, 0.3
    monkeypatch.setattr(new_generation, "PATIENCE_S", PATIENCE_S)
    held, beginning = lock(folder), threading.Event()

    def begin_slowly() -> None:
        while (order := pending(folder, 1)) is None:
            time.sleep(0.01)
        with alone(folder):
            beginning.set()
            time.sleep(3 * PATIENCE_S)  # the command has no patience any more
            ledger = Ledger(folder / FILE)
            go_back(place.settings, ledger, ledger.meta(), 2, LeaderCheck(0.0), Rollback(round=3), order.id)  # type: ignore[arg-type]
            ledger.close()

    thread = threading.Thread(target=begin_slowly)
    thread.start()
    begun = new_generation.begin_next(place.settings, Rollback(round=3))
    thread.join()
    assert beginning.is_set()
    assert begun == new_generation.Begun(RoundId(2, 1), at_work=True)
    os.close(held)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--from-round", "9"], 65, ("round 1.9 ", "1.6")),
        (["--from-round", "3", "--without", "pi-9"], 65, ("--without pi-9: ",)),
        (["--from-round", "x"], 64, ("'x' ", "N", "G.N")),
        (["--from-round", "3", "--keep-model"], 64, ("--keep-model", "--from-round")),
        (["--keep-model", "--without", "pi-1"], 64, ("--without ", "--from-round")),
        (["--survey-without", "pi-1"], 64, ("--survey-without ", "--keep-model", "--from-round")),
        (["--from-round", "3", "--without", "PI 1"], 64, ("'PI 1' ",)),
    ],
)
def test_what_cannot_be_ordered_is_said_at_once(
    place: Place,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: tuple[str, ...],
) -> None:
    held = lock(place.settings.state.folder)
    command = ["--config", str(place.folder / "federation.toml"), "new-generation", *arguments]
    try:
        found = main(command)
    except SystemExit as end:
        found = end.code  # type: ignore[assignment]
    os.close(held)
    assert found == code
    assert_tells(caplog.text + capsys.readouterr().err, *said)
    assert not is_given(place.settings.state.folder)


def test_the_order_is_readable_json(tmp_path: Path) -> None:
    give(tmp_path, Order.of(NAME, 3, BACK))
    assert json.loads((tmp_path / orders.FILE).read_text())["without"] == ["pump-9"]
