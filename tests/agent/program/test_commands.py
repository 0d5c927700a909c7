"""The device's program as its owner meets it: what it imports, says and exits with."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from agent.__main__ import main
from agent.shell import model_file
from fedge import __version__
from fedge.identity.ed25519 import public_pem
from fedge.storage.atomic_files import make_folder
from fedge.storage.locks import lock
from fedge.wire.messages.message import pack
from tests.agent.program.programs import PATIENCE_S, ROOT, configure, model, task
from tests.called import call
from tests.wording import assert_tells

EXTRAS = ("onnx", "onnxruntime", "plotly", "starlette", "typer", "rich", "cryptography", "sklearn", "pandas")


def run(*arguments: str | Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "agent", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


# ── imports ────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_imports_none_of_the_extras() -> None:
    script = (
        "import sys, agent.__main__, agent.shell.loop, agent.cli.predict, agent.sources\n"
        "print(' '.join(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "fedge.service.collision" not in done.stdout.split(), "only --check looks for others' packages"
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"agent", "numpy", "paho", "msgpack", "pydantic"} <= loaded
    assert not loaded & {*EXTRAS, "aggregator", "fleet", "safetensors", "torch", "scipy"}


# ── exit codes ─────────────────────────────────────────────────────────────────────────────────────


def test_check_says_what_it_understood(tmp_path: Path) -> None:
    configure(tmp_path)
    done = run("--check", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "      rows  60: 48 for training" in done.stdout
    assert "valid" in done.stdout.splitlines()[-1]
    done = call(main, "--check", "--json", folder=tmp_path)
    understood = json.loads(done.stdout)
    assert understood.pop("zone")
    assert understood == {
        "device": "pi-1",
        "federation": "lab",
        "broker": "mqtt://127.0.0.1:1",
        "tls": False,
        "data": str(tmp_path / "data.npz"),
        "samples": 60,
        "columns": 2,
        "labels": {"0": 30, "1": 30},
        "holdout": 0.2,
        "missing": "refuse",
        "sources": {},
        "limits": {},
        "conditions": {},
        "declines": {},
        "state": str(tmp_path / "state"),
        "trust": None,
        "roster": None,
        "task": None,
        "cap": None,
        "uses": {
            "data": {
                "files": {str(tmp_path / "data.npz"): 60},
                "waits": [],
                "rows": 60,
                "of_rows": 60,
                "training": 48,
                "held_out": 12,
                "gaps": 0,
                "left_out": 0,
                "series": 1,
                "series_without_held_out": 0,
                "columns": ["0", "1"],
                "unused_columns": [],
                "classes": [
                    {"name": "0", "written": "0", "training": 24, "held": 6},
                    {"name": "1", "written": "1", "training": 24, "held": 6},
                ],
                "held_unseen": 0,
                "excluded": [],
            }
        },
        "problems": [],
        "warnings": [],
    }
    assert not (tmp_path / "state").exists(), "a check does nothing"


def test_check_says_whose_models_are_taken(tmp_path: Path) -> None:
    path = configure(tmp_path)
    path.write_text(path.read_text() + '[trust]\nkey = "signing.pub"\n')
    done = call(main, "--check", folder=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    assert_tells(done.stderr, "signing.pub: ", os.strerror(errno.ENOENT))
    public = bytes(range(32))
    (tmp_path / "signing.pub").write_bytes(public_pem(public))
    done = call(main, "--check", "--json", folder=tmp_path)
    assert json.loads(done.stdout)["trust"] == public.hex()[:16]


def test_check_says_with_whom_rounds_are_masked(tmp_path: Path) -> None:
    path = configure(tmp_path)
    path.write_text(path.read_text() + '[trust]\nrequire = ["masked"]\nroster = "roster"\n')
    done = call(main, "--check", folder=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    assert_tells(done.stderr, "roster: ", os.strerror(errno.ENOENT))
    (tmp_path / "roster").write_text(f"pi-2 {'ab' * 32}\npi-3 {'cd' * 32}\n")
    done = call(main, "--check", "--json", folder=tmp_path)
    told = json.loads(done.stdout)["roster"]
    assert told == "masked rounds with 2 devices and no others: pi-2, pi-3"


def test_version_and_help(tmp_path: Path) -> None:
    assert call(main, "--version", folder=tmp_path).stdout == f"fedge-agent {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--nonsense"], 64, "--nonsense"),
        (["predict"], 64, "FILE"),
        (["--check", "--config", "no-data.toml"], 65, "gone.npz: "),
        (["predict", "data.npz"], 74, "model.held: "),
        (["--config", "no-state.toml"], 74, "data.npz: "),
        (["--config", "taken.toml"], 75, "process PID "),
        (["--config", "gone.toml"], 78, "gone.toml: "),
        (["--config", "wrong.toml"], 78, "wrong.toml: device: "),
    ],
)
def test_exit_codes(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    configure(tmp_path, state="data.npz").rename(tmp_path / "no-state.toml")
    configure(tmp_path, path="gone.npz").rename(tmp_path / "no-data.toml")
    configure(tmp_path, state="taken").rename(tmp_path / "taken.toml")
    wrong = configure(tmp_path).read_text().replace("pi-1", "Pi/1")
    (tmp_path / "wrong.toml").write_text(wrong)
    held_lock = lock(make_folder(tmp_path / "taken"))
    try:
        # The lock is held against other processes.
        done = run(*arguments, folder=tmp_path) if code == 75 else call(main, *arguments, folder=tmp_path)
    finally:
        os.close(held_lock)
    assert done.returncode == code, done.stderr
    assert message.replace("PID", str(os.getpid())) in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_predict_needs_no_network(tmp_path: Path) -> None:
    configure(tmp_path)
    (tmp_path / "state").mkdir()
    model_file.save(tmp_path / "state" / model_file.FILE, pack(task()), pack(model(task(), 4)))
    (tmp_path / "new.csv").write_text("v,u\n1.0,2.0\n-1.0,0.5\n")
    done = run("predict", "new.csv", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["row", "0", "1"]
    done = call(main, "predict", "new.csv", "--json", folder=tmp_path)
    answer = json.loads(done.stdout)
    assert (answer["generation"], answer["round"], len(answer["predictions"])) == (1, 4, 2)
    (tmp_path / "new.csv").write_text("u\n1.0\n")
    assert call(main, "predict", "new.csv", folder=tmp_path).returncode == 65


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--check"], ["predict", "new.csv"], ["predict", "new.csv", "--json"]])
@pytest.mark.parametrize("rows", [1, 5_000])
def test_output_that_cannot_be_written(arguments: list[str], rows: int, tmp_path: Path) -> None:
    """Little is written when the program ends, much before."""
    configure(tmp_path)
    (tmp_path / "state").mkdir()
    model_file.save(tmp_path / "state" / model_file.FILE, pack(task()), pack(model(task(), 4)))
    (tmp_path / "new.csv").write_text("v,u\n" + "1.0,2.0\n" * rows)
    command = [sys.executable, "-m", "agent", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def into(output: IO[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    with Path("/dev/full").open("w") as full:
        done = into(full)
    assert done.returncode == 74
    assert_tells(done.stderr.splitlines()[0], "standard output: ", os.strerror(errno.ENOSPC))
    assert len(done.stderr.splitlines()) == 1
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:  # `| head`
        done = into(closed)
    assert (done.returncode, done.stderr) == (0, "")
