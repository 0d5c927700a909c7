"""The README's "on your own devices", step by step, with exactly the files it names."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.broker import free_port

ROOT = Path(__file__).parents[2]
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PUMPS = ("pump-1", "pump-2", "pump-3")

pytestmark = [pytest.mark.system]


@pytest.fixture
def folder() -> Iterator[Path]:
    """The files, copied to where Mosquitto may read them; only the port is another."""
    with tempfile.TemporaryDirectory(prefix="fedge-") as name:
        folder, port = Path(name), free_port()
        folder.chmod(0o755)  # under root, Mosquitto becomes a user of its own
        ignore = shutil.ignore_patterns("state", "export", "__pycache__")
        shutil.copytree(ROOT / "examples", folder / "examples", ignore=ignore)
        shutil.copy(ROOT / "deploy" / "mosquitto" / "try-out.conf", folder / "mosquitto.conf")
        for file in (folder / "mosquitto.conf", *folder.rglob("*.toml")):
            file.write_text(
                re.sub(r"\b1883\b", str(port), file.read_text(encoding="utf-8")), encoding="utf-8"
            )
        yield folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(MOSQUITTO is None, reason="the examples are for Mosquitto, which is not installed")
def test_the_examples_learn_with_our_mosquitto_conf(folder: Path) -> None:
    (folder / "broker").mkdir()
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "mosquitto", "broker"], cwd=folder, check=True)

    checked = run(folder, "aggregator", "--config", "examples/federation.toml", "--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "the configuration is valid" in checked.stdout
    for pump in PUMPS:
        checked = run(folder, "agent", "--config", f"examples/{pump}/agent.toml", "--check")
        assert (checked.returncode, checked.stderr) == (0, "")
        assert "160" in checked.stdout

    children: list[subprocess.Popen[bytes]] = []
    logs = (folder / "log").open("wb")
    try:
        assert MOSQUITTO is not None
        for command in (
            [MOSQUITTO, "-c", "mosquitto.conf"],
            *([sys.executable, "-m", "agent", "--config", f"examples/{pump}/agent.toml"] for pump in PUMPS),
        ):
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            children.append(
                subprocess.Popen(command, cwd=folder, env=environment, stdout=logs, stderr=subprocess.STDOUT)
            )
        done = run(folder, "aggregator", "--config", "examples/federation.toml", "--exit-when-done")
        assert done.returncode == 0, done.stderr + (folder / "log").read_text()
        assert "Permission denied" not in (folder / "log").read_text()
        assert (folder / "broker" / "mosquitto.db").exists()  # what must survive a power cut is kept
    finally:
        for child in children:
            child.terminate()
        codes = [child.wait(timeout=10) for child in children]
        logs.close()
    assert codes == [0, 0, 0, 0]

    for name in ("model.onnx", "model.safetensors", "manifest.json"):
        assert (folder / "examples" / "export" / name).stat().st_size > 0
    predicted = run(
        folder, "agent", "--config", "examples/pump-1/agent.toml", "predict", "examples/pump-2/data.csv"
    )
    lines = predicted.stdout.splitlines()
    assert lines[0] == "row,class,probability"
    truth = [line.rsplit(",", 1)[1] for line in (folder / "examples/pump-2/data.csv").read_text().split()[1:]]
    found = [line.split(",")[1] for line in lines[1:]]
    right = sum(a == b for a, b in zip(truth, found, strict=True))
    # Always guessing the most frequent state, `normal`, is right for about 60 %; the three overlap a little.
    assert right / len(truth) > 0.9
