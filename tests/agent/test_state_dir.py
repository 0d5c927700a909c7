"""What an owner types about an installed agent: its state is where its service has it."""

import json
import os
import re
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.shell import model_file, state_dir
from agent.shell.memory_layout import FILE, MIGRATIONS
from fedge.deployment import units
from fedge.storage.databases import open_database
from fedge.wire.messages.message import pack
from tests.agent.program.programs import configure, model, task


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of an installed agent that has followed a model."""
    monkeypatch.setattr(state_dir, "CONFIGURATIONS", tmp_path / "etc")
    monkeypatch.setattr(state_dir, "STATES", tmp_path / "states")
    for folder in ("etc/lab", "states/lab"):
        (tmp_path / folder).mkdir(parents=True)
    model_file.save(tmp_path / "states/lab" / model_file.FILE, pack(task()), pack(model(task(), 4)))
    return configure(tmp_path / "etc/lab")


def test_the_folder_of_a_service_is_that_of_its_unit() -> None:
    unit = units.shipped("systemd/fedge-agent@.service").decode()
    said = re.findall(r"^Environment=(FEDGE_AGENT_\w+__FOLDER)=%S/fedge-agent/%i/?(.*)$", unit, re.M)
    assert dict(said) == state_dir.FOLDERS
    assert state_dir.STATES == units.STATE / "fedge-agent"


def test_predict_uses_the_model_that_the_service_holds(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.csv"
    new.write_text("v,u\n1.0,2.0\n")
    assert main(["--config", str(config), "predict", str(new), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["round"] == 4


def test_a_variable_and_a_configuration_elsewhere_mean_what_they_say(config: Path, tmp_path: Path) -> None:
    said = {name: str(tmp_path / "mine") for name in state_dir.FOLDERS}
    assert state_dir.load(config, said).state.folder == tmp_path / "mine"
    assert state_dir.load(configure(tmp_path), {}).state.folder == tmp_path / "state"


def test_check_leaves_the_state_to_the_services_user(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "states/lab"
    open_database(state / FILE, MIGRATIONS).close()
    if os.geteuid() == 0:
        for path in (state, *state.iterdir()):
            os.chown(path, 12345, 12346)
    assert main(["--config", str(config), "--check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == str(state)
    assert len({path.stat().st_uid for path in (state, *state.iterdir())}) == 1
