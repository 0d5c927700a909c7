"""A new generation is ordered from an aggregator at work: once, and never from another ledger's life."""

import json
import logging
import os
from pathlib import Path

import pytest

from aggregator import orders
from aggregator.__main__ import main
from aggregator.generations import Return
from aggregator.keeping import new_generation
from aggregator.ledger.layout import FILE
from aggregator.orders import Order, give, is_given, pending, withdraw
from fedge.errors import GaveWay
from fedge.store import lock
from tests.aggregator.test_beginnings import Place

BACK = Return(1, 12, ("pump-9",), ("pump-8", "pump-9"))


@pytest.mark.parametrize("back", [None, Return(), BACK])
def test_an_order_is_what_was_wished(tmp_path: Path, back: Return | None) -> None:
    give(tmp_path, Order.of(3, back))
    assert (tmp_path / orders.FILE).stat().st_mode & 0o777 == 0o600
    order = pending(tmp_path, 3)
    assert order is not None
    assert (order.after, order.back) == (3, back)
    assert is_given(tmp_path)
    withdraw(tmp_path)
    assert not is_given(tmp_path)
    assert pending(tmp_path, 3) is None
    withdraw(tmp_path)


@pytest.mark.parametrize("generation", [None, 2, 4])
def test_a_ledger_that_has_gone_on_makes_it_void(tmp_path: Path, generation: int | None) -> None:
    give(tmp_path, Order.of(3, BACK))
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
    assert "is no order of `fedge-aggregator new-generation`" in caplog.text
    assert not is_given(tmp_path), "else the aggregator would look at it for ever"


def test_what_cannot_be_read_is_removed(tmp_path: Path) -> None:
    (tmp_path / orders.FILE).symlink_to(tmp_path)
    assert pending(tmp_path, 3) is None
    assert not os.path.lexists(tmp_path / orders.FILE)


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
    with pytest.raises(
        GaveWay, match=r"already works with .* did not begin a generation in 0 s: .* Stop it, run"
    ):
        new_generation.begin_next(place.settings, Return(round=3))
    assert not is_given(place.settings.state.folder), "it is not begun behind anybody's back later"
    os.close(held)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--from-round", "9"], 65, "round 1.9 is not closed; the last closed one is 1.6"),
        (["--from-round", "3", "--without", "pi-9"], 65, "--without pi-9: counts in none of the rounds"),
        (["--from-round", "x"], 64, "'x' is no round: expected N, or G.N of generation G"),
        (["--from-round", "3", "--keep-model"], 64, "not allowed with"),
        (["--keep-model", "--without", "pi-1"], 64, "--without goes with --from-round N"),
        (["--survey-without", "pi-1"], 64, "--survey-without goes with --keep-model or --from-round"),
        (["--from-round", "3", "--without", "PI 1"], 64, "'PI 1' is no device's id"),
    ],
)
def test_what_cannot_be_ordered_is_said_at_once(
    place: Place,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    held = lock(place.settings.state.folder)
    command = ["--config", str(place.folder / "federation.toml"), "new-generation", *arguments]
    try:
        found = main(command)
    except SystemExit as end:
        found = end.code  # type: ignore[assignment]
    os.close(held)
    assert found == code
    assert said in caplog.text + capsys.readouterr().err
    assert not is_given(place.settings.state.folder)


def test_the_order_is_readable_json(tmp_path: Path) -> None:
    give(tmp_path, Order.of(3, BACK))
    assert json.loads((tmp_path / orders.FILE).read_text())["without"] == ["pump-9"]
