"""Where each device keeps layers to itself, the shared model lacks them: files and commands say so."""

import io
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from agent.cli.export import export
from agent.cli.predict import predict
from agent.core.lifecycle import step
from agent.shell import model_file
from agent.shell.startup import unjudged_parts
from fedge.algorithms.codecs import float32
from fedge.algorithms.kept_parameters import kept_parameters
from fedge.algorithms.plan import Plan
from fedge.nn.spec import Dense, NetworkSpec, ReLU
from fedge.wire.capabilities import can
from fedge.wire.frames import split
from fedge.wire.messages.envelope import seal
from fedge.wire.messages.message import pack
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task
from fedge.wire.reasons import Reason
from tests.agent.besieged import FRAME_BYTES, LAB, Device, blob
from tests.agent.besieged import manifest as done
from tests.agent.lifecycle.stories import HOLDS, announced, manifest
from tests.agent.test_own_models import settings_in, started, state
from tests.wording import assert_tells, lines_telling

DEEP = Task(
    network=NetworkSpec(inputs=2, layers=(Dense(units=3), ReLU(), Dense(units=2)), loss="cross-entropy"),
    features=("u", "v"),
    classes=("0", "1"),
)
HEAD = ("1.weight", "1.bias")
"""The last layer's parameters, by the names of exported files: only layers with parameters count."""


def a_model(round_: int, task: Task = DEEP) -> bytes:
    weights = np.full(task.network.schema.size, 0.5, np.float32)
    return pack(Model(generation=1, round=round_, body=float32.encode(weights)))


def ended(round_: int, plan: Plan, task: Task = DEEP) -> dict[str, bytes]:
    """The retained messages of the end of learning."""
    packed, slot = a_model(round_, task), round_ % 2
    said = done(round_, model=blob(packed, slot), task=blob(pack(task), 0), plan=plan)
    frames = split(pack(task), FRAME_BYTES), split(packed, FRAME_BYTES)
    return {
        **{LAB.task(0, i): frames[0][i] for i in range(len(frames[0]))},
        **{LAB.model(slot, i): frames[1][i] for i in range(len(frames[1]))},
        LAB.round: seal(said),
    }


def test_they_are_those_of_the_layers_that_stay() -> None:
    mask = np.ones(DEEP.network.schema.size, np.bool_)
    assert kept_parameters(None, DEEP.network) == kept_parameters(mask, DEEP.network) == ()
    mask[-8:] = False  # 3 · 2 weights and 2 biases
    assert kept_parameters(mask, DEEP.network) == HEAD


@pytest.mark.parametrize("plan", [Plan(personal="head"), Plan(personal="ditto"), Plan()])
def test_the_file_of_the_shared_model_names_what_nobody_trains(tmp_path: Path, plan: Plan) -> None:
    device = Device(tmp_path, None)
    device.hears(ended(7, plan))
    held = model_file.require(device.folder / model_file.FILE)
    assert held.local == (HEAD if plan.personal == "head" else ())


def test_export_and_predict_of_such_a_model_name_the_parameters(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_in(tmp_path)
    path = tmp_path / "state" / model_file.FILE
    for names in (HEAD, ()):
        model_file.save(path, pack(DEEP), a_model(7), local=names)
        line = export(settings, tmp_path / "shared.onnx", shared=True)
        told = {each.key: each.value for each in onnx.load(tmp_path / "shared.onnx").metadata_props}
        np.savez(tmp_path / "new.npz", X=[[1.0, 2.0]], features=["u", "v"])
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            predict(settings, tmp_path / "new.npz", io.StringIO(), as_json=True)
        if names:
            assert_tells(line, *HEAD)
            assert_tells(told["untrained"], *HEAD)
            assert lines_telling(caplog.text, *HEAD)
        else:
            assert "1.bias" not in line
            assert "untrained" not in told
            assert "1.bias" not in caplog.text


def test_a_file_of_an_earlier_program_names_none(tmp_path: Path) -> None:
    model_file.save(tmp_path / "model.held", pack(DEEP), a_model(7))
    assert model_file.require(tmp_path / "model.held").local == ()


# The owner's gate


def test_a_gate_judges_whole_models_alone() -> None:
    assert unjudged_parts() == {"personal:head", "personal:clusters"}


@pytest.mark.parametrize("name", ["head", "clusters", "ditto"])
def test_a_device_with_a_gate_declines_what_its_gate_cannot_judge(name: str) -> None:
    unjudged = unjudged_parts()
    gated = replace(HOLDS, gated=True, can=can() - unjudged, unjudged=unjudged)
    after, _ = step(gated, announced(manifest(plan=Plan(personal=name))))
    if name == "ditto":
        assert after.declined is None
        return
    assert after.declined is not None
    assert after.declined.reason is Reason.UNSUPPORTED
    assert_tells(after.declined.detail, f"personal:{name}", "[predict] tolerance")
    free, _ = step(HOLDS, announced(manifest(plan=Plan(personal=name))))
    assert free.declined is None


@pytest.mark.parametrize("tolerance", [None, 0.05])
def test_its_status_says_so_before_the_first_round(tmp_path: Path, tolerance: float | None) -> None:
    device = Device(tmp_path, None, predict={"tolerance": tolerance})
    told = device.status.can or ()
    assert ("personal:head" in told) == (tolerance is None)
    assert "personal:ditto" in told


# A plan without personal models


@pytest.mark.parametrize("plan", [Plan(), Plan(personal="finetune"), Plan(compare=True)])
def test_an_own_model_whose_memory_is_lost_goes_when_the_plan_has_none(tmp_path: Path, plan: Plan) -> None:
    """agent.db is gone, and with it what would say that the shared model is used from now on."""
    device = Device(tmp_path, None)
    device.hears(ended(7, plan))
    own = model_file.Own("personal", "ditto", "1.7", bytes(32))
    path = device.folder / model_file.PERSONAL
    model_file.save(path, pack(DEEP), a_model(7), own=own)
    assert model_file.in_use(device.folder, gated=False) == path
    device.hears(ended(8, plan))
    assert path.exists() == (plan.personal is not None)
    used = path if plan.personal else device.folder / model_file.FILE
    assert model_file.in_use(device.folder, gated=False) == used


def test_it_stays_as_long_as_nothing_is_announced(tmp_path: Path) -> None:
    path = started(tmp_path, state())
    (tmp_path / "state" / "agent.db").unlink()
    started(tmp_path, None)
    assert path.exists()
