"""`[data]` of federation.toml: rules for the data of the whole fleet, proposed to the devices' owners."""

import logging
from pathlib import Path

import pytest

from aggregator.aggregation.model_fingerprint import model_fingerprint, require_same
from aggregator.config import FederationSettings
from aggregator.core.ability import requirements
from aggregator.core.presence import LeaderCheck
from aggregator.core.takeover import TakeUp
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.writing import Ledger
from aggregator.shell.startup import take_up
from fedge.data.rules import Holdout, Proposal
from fedge.errors import ConfigError
from tests.wording import assert_tells


def settings(folder: Path, data: str, model: str = "") -> FederationSettings:
    path = folder / "federation.toml"
    path.write_text(
        f'[federation]\nname = "lab"\n[model]\nfeatures = 2\nclasses = ["a", "b"]\n{model}\n[data]\n{data}\n'
    )
    return FederationSettings.load(path, {})


@pytest.mark.parametrize(
    ("data", "rules"),
    [
        ("", None),
        ("holdout = {}", None),
        ('missing = "fill"', Proposal(missing="fill")),
        ("gap = 0", Proposal(gap=0)),
        ("holdout = 0.25", Proposal(holdout=Holdout(part=0.25))),
        ('holdout = { by = "series" }', Proposal(holdout=Holdout(by="series"))),
        (
            'missing = "drop"\nunknown_labels = "drop"\nrequire = true',
            Proposal(missing="drop", unknown_labels="drop", required=True),
        ),
    ],
)
def test_what_is_set_is_proposed_and_nothing_else(tmp_path: Path, data: str, rules: Proposal | None) -> None:
    assert settings(tmp_path, data).task().rules == rules


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ('missing = "interpolate"', r"\[data\] missing: "),
        ("gap = -1", r"\[data\] gap"),
        ("holdout = 0.9", r"\[data\.holdout\] part"),
        ('holdout = { by = "weekday" }', r"\[data\.holdout\] by: "),
        ("require = true", r"require: "),
        ('mising = "fill"', r"mising"),
    ],
)
def test_what_cannot_be_proposed_is_named(tmp_path: Path, data: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        settings(tmp_path, data)


def begin(folder: Path, configured: FederationSettings) -> list[str]:
    """An aggregator begins; what its log warns of."""
    ledger = Ledger(folder / "ledger.db")
    with_log = logging.getLogger("fedge.aggregator")
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    with_log.addHandler(handler)
    try:
        state = take_up(configured, ledger, b"i" * 16, TakeUp(LeaderCheck(0.0)))
    finally:
        with_log.removeHandler(handler)
        ledger.close()
    assert requirements(state) >= {"phase:survey"}
    return said


def test_a_generation_keeps_what_it_began_with_and_the_log_says_so(tmp_path: Path) -> None:
    assert begin(tmp_path, settings(tmp_path, 'missing = "fill"')) == []
    assert begin(tmp_path, settings(tmp_path, 'missing = "fill"')) == []
    assert begin(tmp_path, settings(tmp_path, 'missing = "fill"', "clip = 0")) == [], "nothing is closed yet"
    (line,) = begin(tmp_path, settings(tmp_path, 'missing = "drop"'))
    assert_tells(line, "[data] ", "`fedge-aggregator new-generation`")


def test_rules_for_data_do_not_change_what_weights_mean(tmp_path: Path) -> None:
    """So a ledger of 0.2.0, and one whose rules are set now, goes on."""
    before = settings(tmp_path, "")

    require_same(
        LedgerMeta(b"l" * 16, 1, model_fingerprint(before)),
        settings(tmp_path, 'missing = "fill"', "clip = 5"),
    )
