"""The README's "on your own devices", command by command, with exactly the files it names."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.demo.broker import free_port
from tests import milestones
from tests.system.fleet_of_processes import PATIENCE_S
from tests.wording import assert_tells, lines_telling

ROOT = Path(__file__).parents[2]
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PUMPS = ("pump-1", "pump-2", "pump-3")
PROGRAMS = {
    "server/bin/fedge": "fleet",
    "server/bin/fedge-aggregator": "aggregator",
    "device/bin/fedge-agent": "agent",
}
INSTALLING = ("sudo", "make", "python3", "server/bin/pip", "device/bin/pip")
"""What is installed already where tests run."""

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(MOSQUITTO is None, reason="the README is for Mosquitto, which is not installed"),
]


def commands(heading: str) -> list[list[str]]:
    """What a section of the README tells to type."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.split(r"^##", readme.split(f"\n{heading}\n")[1], maxsplit=1, flags=re.M)[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, flags=re.M | re.S)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


class Terminal:
    """A folder to type commands in; what serves goes on beside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, words: list[str]) -> str:
        done = subprocess.run(
            self._command(words),
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def start(self, words: list[str]) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self._command(words),
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._running.append(process)
        return process

    def end(self) -> list[int]:
        for process in self._running:
            process.terminate()
        return [process.wait(timeout=PATIENCE_S) for process in self._running]

    def _command(self, words: list[str]) -> list[str]:
        program, *rest = words
        if program in PROGRAMS:
            return [sys.executable, "-m", PROGRAMS[program], *rest]
        return [str(MOSQUITTO) if program.endswith("/mosquitto") else program, *rest]


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """The files, copied to where Mosquitto may read them."""
    with tempfile.TemporaryDirectory(prefix="fedge-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # under root, Mosquitto becomes a user of its own
        ignore = shutil.ignore_patterns("state", "export", "__pycache__")
        shutil.copytree(ROOT / "examples", folder / "examples", ignore=ignore)
        shutil.copytree(ROOT / "deploy", folder / "deploy")
        terminal = Terminal(folder)
        try:
            yield terminal
        finally:
            terminal.end()


@pytest.mark.slow
def test_the_readmes_steps_lead_from_nothing_to_a_model_over_mutual_tls(terminal: Terminal) -> None:
    steps = [words for words in commands("## On your own devices") if words[0] not in INSTALLING]
    of_a_device = [words for words in steps if any("pump-1" in word for word in words)]
    predict = of_a_device.pop()
    assert "predict" in predict
    of_the_server = [words for words in steps if words not in of_a_device and words is not predict]
    ports = ["--port", str(free_port()), "--provisioning-port", str(free_port())]

    learning = None
    for words in of_the_server:
        match words[0].rsplit("/", 1)[-1], words[1]:
            case "fedge", "init":
                terminal.run([*words, *ports])
            case "fedge-aggregator", _ if "--check" in words:
                assert_tells(terminal.run(words), "mqtts://localhost")
            case "fedge-aggregator", _:
                learning = terminal.start([*words, "--exit-when-done"])
            case "mosquitto", _:
                terminal.start(words)
            case _:
                raise AssertionError(f"{words}: who runs this?")
    assert learning is not None
    for pump in PUMPS:
        for words in of_a_device:
            words = [word.replace("pump-1", pump) for word in words]
            if words[0] in PROGRAMS and words[1] == "--config" and "--check" not in words:
                terminal.start(words)
            elif "--check" in words:
                assert pump != PUMPS[0] or "160" in terminal.run(words)
            else:
                terminal.run(words)

    assert learning.wait(timeout=PATIENCE_S) == 0, terminal.log.read_text()
    log = terminal.log.read_text()
    assert "Permission denied" not in log
    assert lines_telling(log, milestones.CONNECTED, "mqtts://localhost")
    assert (
        terminal.folder / "pumps/broker/data/mosquitto.db"
    ).exists()  # what must survive a power cut is kept
    holds_a_model(terminal, terminal.folder / "pumps/export", predict)
    assert terminal.end() == [0] * (2 + len(PUMPS))


@pytest.mark.slow
def test_the_examples_learn_without_certificates_on_one_machine(terminal: Terminal) -> None:
    port = str(free_port())
    for file in (*terminal.folder.rglob("*.toml"), *terminal.folder.rglob("try-out.conf")):
        file.write_text(re.sub(r"\b1883\b", port, file.read_text(encoding="utf-8")), encoding="utf-8")
    make, broker, serve, take_part = commands("### Without certificates, on one machine")
    terminal.run(make)
    if os.geteuid() == 0:
        shutil.chown(terminal.folder / "broker", "mosquitto")
    assert json.loads(terminal.run([*serve, "--check", "--json"]))["broker"].endswith(f":{port}")
    terminal.start(broker)
    learning = terminal.start([*serve, "--exit-when-done"])
    for pump in PUMPS:
        terminal.start([word.replace("pump-1", pump) for word in take_part])
    assert learning.wait(timeout=PATIENCE_S) == 0, terminal.log.read_text()
    holds_a_model(
        terminal, terminal.folder / "examples/export", [*take_part, "predict", "examples/pump-2/data.csv"]
    )
    assert terminal.end() == [0] * (2 + len(PUMPS))


def holds_a_model(terminal: Terminal, export: Path, predict: list[str]) -> None:
    """The files are there, and a device that has seen little of one state knows it of the others."""
    for name in ("model.onnx", "model.safetensors", "manifest.json"):
        assert (export / name).stat().st_size > 0
    lines = terminal.run(predict).splitlines()
    assert lines[0] == "row,class,probability"
    truth = [line.rsplit(",", 1)[1] for line in (ROOT / predict[-1]).read_text().split()[1:]]
    found = [line.split(",")[1] for line in lines[1:]]
    right = sum(a == b for a, b in zip(truth, found, strict=True))
    # Always guessing the most frequent state, `normal`, is right for about 60 %; the three overlap a little.
    assert right / len(truth) > 0.9
