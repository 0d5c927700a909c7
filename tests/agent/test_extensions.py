"""Code of the owner's that takes part in training: loaded at the start, or said to be wrong and where."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import AgentSettings
from agent.settings.trainer import TrainerSettings
from agent.trainers.built_in import BuiltIn
from agent.trainers.extensions import load_extensions, trainer_of
from fedge.algorithms.registry import CODECS
from fedge.errors import ConfigError
from fedge.wire.capabilities import can


def settings(folder: Path, text: str = "", trainer: str = "") -> AgentSettings:
    (folder / "agent.toml").write_text(
        f'federation = "lab"\ndevice = "pi-1"\n{text}\n[data]\nsource = "csv"\npath = "d.csv"\n'
        f"[trainer]\n{trainer}"
    )
    return AgentSettings.load(folder / "agent.toml", {})


@pytest.fixture
def registry() -> Iterator[None]:
    yield
    CODECS.remove("counting")


@pytest.mark.usefixtures("registry")
def test_an_extension_is_what_the_device_can_from_then_on(tmp_path: Path) -> None:
    found = settings(tmp_path, 'extensions = ["tests.counting_codec:ENTRY"]')
    assert "codec:counting" not in can()
    load_extensions(found)
    load_extensions(found)  # --check, or a second life in one process
    assert "codec:counting" in can()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no_such_module:ENTRY", "no_such_module"),
        ("tests.counting_codec:NOTHING", "NOTHING"),
        ("tests.counting_codec:HEAD", "int"),
        ("no-such-entry-point", "no-such-entry-point"),
    ],
)
def test_an_extension_that_cannot_be_loaded_is_named(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_extensions(settings(tmp_path, f'extensions = ["{name}"]'))


CODE = """
from fedge.algorithms.trainer import Trained
class Mine:
    mine = True
    def work(self, job, cancelled):
        return Trained({"weights": job.weights}, 1, 1.0, 1.0)
def make(): return Mine()
def broken(): raise RuntimeError("it says this")
def none(): return None
NUMBER = 7
"""


def test_the_trainer_that_its_owner_names_trains(tmp_path: Path) -> None:
    (tmp_path / "own_trainer_a.py").write_text(CODE)
    found = settings(tmp_path, trainer='use = "own_trainer_a:make"\npath = "."')
    assert found.trainer.path == tmp_path, "relative paths are those of the file"
    assert getattr(trainer_of(found.trainer), "mine", False)
    assert isinstance(trainer_of(TrainerSettings()), BuiltIn)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no_such_trainer:make", "no_such_trainer"),
        ("own_trainer_b:lacking", "lacking"),
        ("own_trainer_b:NUMBER", "NUMBER"),
        ("own_trainer_b:broken", "RuntimeError"),
        ("own_trainer_b:none", "NoneType"),
        ("own_trainer_c:make", "SyntaxError"),
    ],
)
def test_one_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "own_trainer_b.py").write_text(CODE)
    (tmp_path / "own_trainer_c.py").write_text("def make(:")
    with pytest.raises(ConfigError, match=told) as error:
        trainer_of(TrainerSettings(use=name, path=tmp_path))
    assert "[trainer] use" in str(error.value)
    assert "it says this" not in str(error.value), "an exception's words may quote samples"


@pytest.mark.parametrize("name", ["make", "a b:c", "../x:make", "x:make()", ""])
def test_what_is_no_name_of_a_function_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        settings(tmp_path, trainer=f'use = "{name}"')
