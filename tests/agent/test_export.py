"""`fedge-agent export`: the model that `predict` uses, as an ONNX file with the same answers."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from agent.__main__ import main
from agent.cli.export import export
from agent.shell import model_file
from fedge.errors import ConfigError, StateError
from fedge.wire.messages.message import pack
from tests.agent.test_own_models import TASK, model, settings_in, started, state
from tests.wording import assert_tells


def answers(file: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"features": np.float32([[1.0]])})
    return np.asarray(found)


def metadata(file: Path) -> dict[str, str]:
    return {each.key: each.value for each in onnx.load(file).metadata_props}


def test_it_is_the_devices_own_model_and_with_shared_the_shared_one(tmp_path: Path) -> None:
    started(tmp_path, state())
    settings = settings_in(tmp_path)
    own, shared = tmp_path / "own.onnx", tmp_path / "shared.onnx"
    assert_tells(export(settings, own, shared=False), "own.onnx", "personal", "1.4")
    assert_tells(export(settings, shared, shared=True), "shared.onnx", "shared", "1.3")
    sure = np.e / (1 + np.e)  # the logits are 0 and 1
    np.testing.assert_allclose(answers(own), [[1 - sure, sure]], rtol=1e-6)
    np.testing.assert_allclose(answers(shared), [[sure, 1 - sure]], rtol=1e-6)
    told = metadata(own)
    assert (told["kind"], told["personal"], told["made_in"]) == ("personal", "ditto", "1.4")
    assert (told["federation"], told["generation"], told["round"]) == ("lab", "1", "3")
    assert metadata(shared)["kind"] == "shared"
    assert "personal" not in metadata(shared)


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started(tmp_path, state())
    file = tmp_path / "model.onnx"
    assert main(["export", str(file), "--config", str(tmp_path / "agent.toml")]) == 0
    assert_tells(capsys.readouterr().out, "model.onnx", "personal", "1.4")
    assert metadata(file)["kind"] == "personal"


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started(tmp_path, None)
    for name in [name for name in sys.modules if name.startswith("fedge.export")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError) as caught:
        export(settings_in(tmp_path), tmp_path / "model.onnx", shared=False)
    assert_tells(str(caught.value), "pip install 'fedge[onnx]'")
    assert not (tmp_path / "model.onnx").exists()


def test_a_device_without_a_model_or_a_folder_to_write_to_says_so(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with pytest.raises(StateError):
        export(settings, tmp_path / "model.onnx", shared=False)
    model_file.save(tmp_path / "state" / model_file.FILE, pack(TASK), model("no"))
    with pytest.raises(StateError) as caught:
        export(settings, tmp_path / "nowhere" / "model.onnx", shared=False)
    assert_tells(str(caught.value), "nowhere")
