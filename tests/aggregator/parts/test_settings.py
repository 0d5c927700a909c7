"""Parts from outside in the settings."""

from pathlib import Path

import pytest

from aggregator.config import FederationSettings
from aggregator.core.part_compatibility import incompatibility
from aggregator.core.parts import Part, Parts
from fedge.errors import ConfigError
from fedge.wire.messages.fields import MAX_SIZE
from tests.aggregator.toys import NAMES


def load(folder: Path, text: str) -> FederationSettings:
    path = folder / "federation.toml"
    names = ", ".join(f'"{name}"' for name in NAMES)
    model = '[federation]\nname = "lab"\n[model]\nfeatures = 2\nclasses = ["a", "b"]\n'
    path.write_text(f"extensions = [{names}]\n{model}{text}")
    return FederationSettings.load(path, {})


def test_a_part_of_an_extension_is_told_by_its_own_options(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        '[rule]\nname = "toy-median"\n[server]\nname = "toy-heavy"\nbeta = 1\n[plan]\ncodec = "toy-halves"\n',
    )
    parts = settings.parts()
    assert (parts.rule.given, parts.server.given) == ({"shift": 0.0}, {"beta": 1.0})
    assert settings.rule.model_dump() == {"name": "toy-median", "shift": 0.0}


def test_an_option_may_be_given_by_a_variable(tmp_path: Path) -> None:
    load(tmp_path, "")
    variables = {"FEDGE_AGGREGATOR_RULE__NAME": "toy-median", "FEDGE_AGGREGATOR_RULE__SHIFT": "0.5"}
    settings = FederationSettings.load(tmp_path / "federation.toml", variables)
    assert settings.parts().rule.given == {"shift": 0.5}


BUFFERED = '[rounds]\nschedule = "buffered"\ntarget = 2\n'


def test_one_update_of_a_device_in_a_version_may_be_said(tmp_path: Path) -> None:
    assert load(tmp_path, BUFFERED + "max_per_device = 1\n").rounds.max_per_device == 1


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('[rule]\nname = "toy-median"\ntrim = 1', ("[rule]", "trim", "shift")),
        ('[rule]\nname = "toy-nameless"', ("[rule]", "toy-nameless", "version")),
        ('[rule]\nname = "best"', ("[rule]", "best", "mean", "toy-median")),
        ('[server]\nname = "toy-heavy"', ("[server]", "beta")),
        ('[server]\nname = "toy-heavy"\nbeta = "much"', ("[server]", "beta")),
        ('[plan]\ncodec = "zip"', ("[plan]", "zip", "float32")),
        ('[plan]\ncodec = "toy-halves"\ncodec_options = { level = 9 }', ("[plan]", "level")),
        ('[plan]\nlocal = "toy-deaf"', ("[plan] local", "toy-deaf", "rest")),
        ('[rounds]\nschedule = "lunar"', ("[rounds] schedule", "lunar", "rounds")),
        ("[rounds]\nmax_staleness = 3", ("[rounds] max_staleness", '"rounds"', '"buffered"')),
        ("[rounds]\nmax_per_device = 1", ("[rounds] max_per_device", '"rounds"', '"buffered"')),
        (BUFFERED + "max_per_device = 2", ("[rounds] max_per_device", "got 2", "1", "target")),
        (BUFFERED + "max_per_device = 0", ("[rounds] max_per_device", "1")),
        ('[rounds]\nschedule = "buffered"', ("[rounds] target", '"buffered"', '"rounds"')),
        (BUFFERED + "fraction = 0.5", ("[rounds] fraction", "0.5", '"buffered"', '"rounds"')),
        (
            BUFFERED + '[plan]\nlocal = "scaffold"\nmomentum = 0.0\n[rule]\nweights = "uniform"',
            ('[rounds] schedule = "buffered"', '[plan] local = "scaffold"', '"prox" or "sgd"', '"rounds"'),
        ),
        (
            BUFFERED + '[plan]\nlocal = "nova"\n[rule]\nname = "nova"',
            ('[rounds] schedule = "buffered"', '[plan] local = "nova"', '"sgd"', '"rounds"'),
        ),
        (
            BUFFERED + '[rule]\nweights = "uniform"',
            ('[rounds] schedule = "buffered"', '[rule] weights = "uniform"', '"samples"', '"rounds"'),
        ),
        (
            BUFFERED + '[personal]\nname = "clusters"',
            ('[rounds] schedule = "buffered"', '[personal] name = "clusters"', '"ditto"', '"rounds"'),
        ),
        (
            'layers = [{ type = "dense", units = 4 }]\n' + BUFFERED + '[personal]\nname = "head"',
            ('[rounds] schedule = "buffered"', '[personal] name = "head"', '"ditto"', '"rounds"'),
        ),
    ],
)
def test_what_cannot_work_is_refused_and_says_what_would(
    tmp_path: Path, text: str, names: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    for name in names:
        assert name in str(error.value)


@pytest.mark.parametrize("extension", ["tests.aggregator.toys:NOTHING", "no.such.module:X", "not-installed"])
def test_an_extension_that_is_not_there_is_named(tmp_path: Path, extension: str) -> None:
    path = tmp_path / "federation.toml"
    path.write_text(f'extensions = ["{extension}"]\n[federation]\nname = "lab"\n[model]\nfeatures = 2\n')
    with pytest.raises(ConfigError, match=r"federation\.toml: extensions: ") as error:
        FederationSettings.load(path, {})
    assert extension in str(error.value)


def test_an_update_with_all_its_vectors_has_to_fit_into_a_message() -> None:
    alone, both = Parts(), Parts(local=Part("toy-controlled"))
    size = MAX_SIZE // 4 - 65_536  # of float32: four bytes each
    assert incompatibility(alone, size) is None
    assert incompatibility(both, size // 2) is None
    assert "float32" in (incompatibility(both, size // 2 + 65_536) or "")
    assert "float32" in (incompatibility(alone, size + 65_536) or "")
