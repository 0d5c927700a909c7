"""`study.toml`: what is refused, where, and with which advice."""

import tomllib
from pathlib import Path

import pytest

from fedge.errors import ConfigError
from fleet.study.settings import StudySettings
from tests.system.toml_text import toml
from tests.wording import assert_tells

EXAMPLE = Path(__file__).parents[3] / "examples" / "study.toml"


def test_the_example_is_read() -> None:
    settings = StudySettings.load(EXAMPLE, {})
    assert settings.study.rates == (0.02, 0.05, 0.1, 0.2)
    assert [one.name for one in settings.algorithm] == ["FedAvg", "FedProx", "SCAFFOLD", "FedAvgM", "FedAdam"]
    assert settings.data.split.devices == 20


@pytest.mark.parametrize(
    ("table", "key", "value", "facts"),
    [
        ("study", "roundes", 3, ("[study] roundes", "'rounds'")),
        ("study", "rates", [], ("[study] rates", "1")),
        ("study", "rates", [0.1, 0.1], ("[study] rates", "[0.1, 0.1]")),
        ("study", "rates", [-0.1], ("[study] rates[0]", "-0.1")),
        ("study", "engine", "slow", ("[study] engine", "'cores'", "'fast'")),
        ("data", "test", 1.5, ("[data] test", "0.9")),
        ("plan", "learning_rate", 0.1, ("[plan] learning_rate", "[study] rates")),
        ("plan", "local", "prox", ("[plan] local", "[[algorithm]]")),
        ("rounds", "fraction", 2.0, ("[rounds] fraction", "1")),
        ("rounds", "schedule", "rounds", ("[rounds] schedule", "[[algorithm]]")),
    ],
)
def test_a_wrong_key_is_named_with_what_is_accepted(
    table: str, key: str, value: object, facts: tuple[str, ...], tmp_path: Path
) -> None:
    content = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    content[table][key] = value
    assert_tells(refusal(content, tmp_path), "study.toml", *facts)


@pytest.mark.parametrize(
    ("split", "facts"),
    [
        ({"by": "iid"}, ("devices", "iid")),
        ({"by": "column", "devices": 3}, ("devices", "column")),
        ({"by": "dirichlet", "devices": 3}, ("alpha", "0.1")),
        ({"by": "iid", "devices": 3, "alpha": 0.1}, ("alpha", "dirichlet", "iid")),
        ({"by": "label", "devices": 3}, ("by", "'shards'")),
    ],
)
def test_a_split_needs_its_own_keys(split: dict[str, object], facts: tuple[str, ...], tmp_path: Path) -> None:
    content = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    content["data"]["split"] = split
    assert_tells(refusal(content, tmp_path), "[data.split]", *facts)


def test_two_algorithms_of_one_name_are_refused(tmp_path: Path) -> None:
    content = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    content["algorithm"][1]["name"] = "FedAvg"
    assert_tells(refusal(content, tmp_path), "[[algorithm]] name", "'FedAvg'")


def test_to_stop_at_the_target_needs_one(tmp_path: Path) -> None:
    content = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    del content["study"]["target"]
    content["study"]["stop_at_target"] = True
    assert_tells(refusal(content, tmp_path), "[study] stop_at_target", "target")


def refusal(content: dict[str, object], folder: Path) -> str:
    path = folder / "study.toml"
    path.write_text(toml(content), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        StudySettings.load(path, {})
    return str(error.value)
