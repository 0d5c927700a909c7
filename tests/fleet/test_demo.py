"""The demo with real processes, small: it learns, repeats itself, and says which program died."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aggregator.export.manifest import ONNX, SAFETENSORS
from fedge.storage.atomic_files import make_folder
from fedge.storage.locks import lock
from fleet.demo import learning as whole
from fleet.demo.progress import Silent
from fleet.demo.run import Options, run
from tests.fleet.conftest import kinds
from tests.wording import assert_tells

pytestmark = pytest.mark.system


@pytest.fixture(autouse=True)
def can_be_interrupted() -> Iterator[None]:
    """Also where the tests run in the background of a shell: who ignores SIGINT hands that on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def demo(out: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "fleet", "demo", "--out", str(out), "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def learning(out: Path) -> Iterator["subprocess.Popen[str]"]:
    """A demo that has closed its survey and would go on for a long time."""
    program = demo(out, "--devices", "2", "--rounds", "5000")
    try:
        log = out / "logs" / "aggregator.log"
        wait_until(lambda: log.exists() and "train closed" in log.read_text())
        yield program
    finally:
        program.kill()
        program.communicate()


def wait_until(condition: object, limit_s: float = 90.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.02)


def children(out: Path) -> dict[str, int]:
    """The running processes that were started for this folder, by the last of their arguments."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            arguments = (entry / "cmdline").read_bytes().decode().split("\0")[:-1]
        except OSError:
            continue
        if state != "Z" and any(str(out) in argument for argument in arguments) and "fleet" not in arguments:
            path = next(argument for argument in arguments if str(out) in argument)
            found[Path(path).parent.name if path.endswith("agent.toml") else Path(path).stem] = int(
                entry.name
            )
    return found


@pytest.mark.parametrize("kind", kinds(second=[pytest.mark.slow]))
def test_a_small_fleet_learns(kind: str, tmp_path: Path) -> None:
    outcome = run(Options(tmp_path / "out", devices=3, rounds=4, broker=kind), Silent())
    assert (outcome.devices, outcome.rounds, outcome.broker) == (3, 4, kind)
    assert [(row.kind, row.closed, row.devices) for row in outcome.rows] == [
        ("survey", True, 3),
        *[("train", True, 3)] * 4,
        ("evaluate", True, 3),
    ]
    assert outcome.together > outcome.alone_mean
    # 3 devices, 4 rounds, 48·64 + 64 + 64·7 + 7 weights of 4 bytes
    assert outcome.traffic.up > 3 * 4 * 3591 * 4
    assert outcome.onnx_max_abs_diff <= 1e-5
    assert json.loads(outcome.manifest.read_text())["files"][ONNX]["sha256"] == digest(outcome.onnx)
    assert outcome.report.stat().st_size > 1_000_000
    assert outcome.own is not None
    assert [one.device for one in outcome.own.devices] == sorted(outcome.together_by_device)
    for one in outcome.own.devices:  # told by the device, and computed here by onnxruntime
        assert one.shared == pytest.approx(outcome.together_by_device[one.device])


@pytest.mark.slow
def test_devices_that_share_a_process_learn_the_same_model_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []
    for processes in (3, 1):
        monkeypatch.setattr(whole, "PROCESSES", processes)
        outcome = run(Options(tmp_path / "out", devices=3, rounds=2), Silent())
        files.append(digest(outcome.safetensors))
        logs = {log.name for log in (tmp_path / "out" / "logs").iterdir()}
        assert ("agents-01.log" in logs) == (processes == 1)
    assert files[0] == files[1]


@pytest.mark.slow
def test_an_agent_that_cannot_work_ends_those_of_its_process_and_is_named(tmp_path: Path) -> None:
    outcome = run(Options(tmp_path / "out", devices=2, rounds=1), Silent())
    configs = sorted((outcome.folder / "devices").glob("*/agent.toml"))
    folder = make_folder(configs[1].parent / "state")
    held = lock(folder)  # another agent is at work with it
    try:
        result = subprocess.run(
            [sys.executable, "-m", "fleet.demo.hosting", *map(str, configs)],
            capture_output=True,
            text=True,
            timeout=90,
        )
    finally:
        os.close(held)
    assert result.returncode == os.EX_TEMPFAIL, result.stderr
    assert str(folder) in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.chaos  # for its half a minute
def test_twenty_wrists_learn_together_what_none_learns_alone(tmp_path: Path) -> None:
    """The demo as it stands in the README, nothing chosen."""
    program = demo(tmp_path / "out")
    output, errors = program.communicate(timeout=220)
    assert program.returncode == 0, errors
    outcome = json.loads(output)
    assert (outcome["devices"], outcome["broker"]) == (20, "mosquitto")
    assert outcome["rounds"] <= 60
    assert outcome["accuracy"] >= 0.95
    assert outcome["accuracy_alone_mean"] < 0.7
    assert outcome["onnx_max_abs_diff"] <= 1e-5


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model_bit_for_bit(tmp_path: Path) -> None:
    files = []
    for _ in range(2):  # the second run replaces what the first has made
        outcome = run(Options(tmp_path / "out", dataset="digits", devices=2, rounds=2, seed=5), Silent())
        files.append([digest(outcome.onnx.parent / file) for file in (SAFETENSORS, ONNX)])
    assert files[0] == files[1]


@pytest.mark.slow
def test_an_agent_that_dies_is_told_with_its_log_and_the_others_end(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with learning(out) as program:
        running = children(out)
        assert running.keys() >= {"person-01-left", "person-01-right", "federation"}
        os.kill(running["person-01-right"], signal.SIGKILL)
        output, errors = program.communicate(timeout=90)
    assert program.returncode == os.EX_SOFTWARE
    assert output == ""
    assert_tells(errors, "person-01-right", "SIGKILL", ".log")
    assert "INFO    round 1." in errors
    assert "Traceback" not in errors
    assert children(out) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_ctrl_c_ends_everything(number: signal.Signals, code: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with learning(out) as program:
        program.send_signal(number)
        output, errors = program.communicate(timeout=90)
    assert (program.returncode, output, errors) == (code, "", "fedge demo: stopped\n")
    assert children(out) == {}


def test_everything_dies_with_a_demo_that_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with learning(out) as program:
        assert children(out)
        program.kill()
    wait_until(lambda: not children(out))
