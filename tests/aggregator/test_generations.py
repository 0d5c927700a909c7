"""What weights mean may not change within a generation."""

from pathlib import Path

import pytest

from aggregator.aggregation.model_fingerprint import model_fingerprint, require_same
from aggregator.config import FederationSettings
from aggregator.ledger.records import LedgerMeta
from fedge.errors import ConfigError
from tests.wording import telling

PLAIN = """\
[federation]
name = "lab"
[model]
features = ["u"]
classes = ["a", "b"]
"""
NAMED = f'{PLAIN}source = "heart"\n'


def settings(folder: Path, text: str) -> FederationSettings:
    (folder / "federation.toml").write_text(text)
    return FederationSettings.load(folder / "federation.toml", {})


@pytest.mark.parametrize(
    ("before", "after"), [(PLAIN, NAMED), (NAMED, PLAIN), (NAMED, NAMED.replace("heart", "lung"))]
)
def test_weights_of_one_source_mean_nothing_of_another(tmp_path: Path, before: str, after: str) -> None:
    life = LedgerMeta(bytes(16), 1, model_fingerprint(settings(tmp_path, before)))
    require_same(life, settings(tmp_path, before))
    with pytest.raises(ConfigError, match=telling("[model] source ")):
        require_same(life, settings(tmp_path, after))


def test_where_no_source_is_named_a_ledger_says_nothing_of_it(tmp_path: Path) -> None:
    """So that ledgers from before there were sources are taken up as they are."""
    assert "source" not in model_fingerprint(settings(tmp_path, PLAIN))
