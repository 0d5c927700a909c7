"""What is installed: one wheel, four packages, three commands, and on a device nothing it does not need."""

import configparser
import email
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import fedge

ROOT = Path(__file__).parent.parent
DEVICE = {"msgpack", "numpy", "paho-mqtt", "pydantic"}
"""The four distributions that a device needs."""


def names(requirements: list[str]) -> set[str]:
    """The distributions that requirements name, without versions, extras and markers."""
    return {re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0] for requirement in requirements}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return content


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    # An isolated build would download hatchling; where it is at hand that is not needed.
    at_hand = importlib.util.find_spec("hatchling") is not None
    here = ["--no-isolation", "--skip-dependency-check"] if at_hand else []
    command = [sys.executable, "-m", "build", "--wheel", *here, "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.iterdir()
    return zipfile.ZipFile(file)


def read(wheel: zipfile.ZipFile, name: str) -> str:
    """A file of the wheel's .dist-info."""
    return wheel.read(f"fedge-{fedge.__version__}.dist-info/{name}").decode()


def test_it_holds_four_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert top == {"fedge", "agent", "aggregator", "fleet", f"fedge-{fedge.__version__}.dist-info"}
    packaged = {name for name in wheel.namelist() if name.endswith(".py")}
    sources = {
        str(file.relative_to(ROOT))
        for package in ("fedge", "agent", "aggregator", "fleet")
        for file in (ROOT / package).rglob("*.py")
    }
    assert packaged == sources


def test_the_brokers_configuration_travels_with_it(wheel: zipfile.ZipFile) -> None:
    code = "import sys; from fleet.pki import mosquitto; sys.stdout.write(mosquitto.production_text())"
    done = run({**os.environ, "PYTHONPATH": str(wheel.filename)}, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (ROOT / "mosquitto.conf").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ["systemd/fedge-agent@.service", "mosquitto/quarantine-db"])
def test_what_services_need_travels_with_it(wheel: zipfile.ZipFile, path: str) -> None:
    code = "import sys; from fedge.deployment import units; print(units.shipped(sys.argv[1]).decode())"
    done = run({**os.environ, "PYTHONPATH": str(wheel.filename)}, "-c", code, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (ROOT / "deploy" / path).read_text(encoding="utf-8") + "\n"


def test_it_has_three_commands(wheel: zipfile.ZipFile) -> None:
    parser = configparser.ConfigParser()
    parser.read_string(read(wheel, "entry_points.txt"))
    assert dict(parser["console_scripts"]) == {
        "fedge": "fleet.__main__:main",
        "fedge-agent": "agent.__main__:main",
        "fedge-aggregator": "aggregator.__main__:main",
    }


def test_each_command_starts_as_pip_starts_it(wheel: zipfile.ZipFile) -> None:
    """The other tests start `python -m`; what pip writes into bin imports the function and calls it."""
    parser = configparser.ConfigParser()
    parser.read_string(read(wheel, "entry_points.txt"))
    for command, place in parser["console_scripts"].items():
        module, function = place.split(":")
        code = (
            f"import sys; from {module} import {function}; sys.argv[0] = {command!r}; sys.exit({function}())"
        )
        done = run({**os.environ, "PYTHONPATH": str(wheel.filename)}, "-c", code, "--version")
        assert (done.returncode, done.stderr) == (0, ""), command
        assert fedge.__version__ in done.stdout


def test_its_metadata_says_what_a_device_needs(wheel: zipfile.ZipFile) -> None:
    metadata = email.message_from_string(read(wheel, "METADATA"))
    assert metadata["Version"] == fedge.__version__
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert names(needed) == DEVICE
    assert set(metadata.get_all("Provides-Extra", [])) >= {"aggregator", "demo", "dev"}
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_version_is_said_once_and_the_same(project: dict[str, Any]) -> None:
    assert project["version"] == fedge.__version__
    assert names(project["dependencies"]) == DEVICE


# Without the extras

BLOCKER = """\
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""
IMPORT_NAMES = {
    "dp-accounting": "dp_accounting",
    "prometheus-client": "prometheus_client",
    "scikit-learn": "sklearn",
}


@pytest.fixture
def bare(tmp_path: Path, project: dict[str, Any]) -> dict[str, str]:
    """An environment in which nothing of any extra can be imported, as after `pip install fedge`."""
    extras = project["optional-dependencies"]
    blocked = {IMPORT_NAMES.get(name, name) for extra in extras.values() for name in names(extra)} - {"fedge"}
    assert blocked >= {"onnx", "onnxruntime", "plotly", "rich", "safetensors", "typer", "sklearn"}
    (tmp_path / "sitecustomize.py").write_text(BLOCKER.format(blocked=blocked))
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}


def run(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd="/", timeout=300
    )


@pytest.mark.slow
def test_an_aggregator_without_its_extra_says_so_in_one_sentence(
    bare: dict[str, str], tmp_path: Path
) -> None:
    config = tmp_path / "federation.toml"
    config.write_text('[federation]\nname = "a"\n[model]\nfeatures = 2\nclasses = ["x", "y"]\n')
    done = run(bare, "-m", "aggregator", "--config", str(config))
    assert done.returncode == os.EX_CONFIG
    (line,) = done.stderr.splitlines()
    assert "fedge-aggregator needs the extra 'aggregator'" in line
    assert "pip install 'fedge[aggregator]'" in line
    assert not (tmp_path / "state").exists(), "nothing was begun"
    assert run(bare, "-m", "aggregator", "--config", str(config), "--check").returncode == 0


@pytest.mark.slow
def test_a_device_needs_no_extra(bare: dict[str, str], tmp_path: Path) -> None:
    code = "import agent.__main__, agent.shell.loop, agent.cli.predict, fedge"
    done = run(bare, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "a.csv").write_text("x,label\n" + "1,a\n2,b\n" * 20)
    config = tmp_path / "agent.toml"
    config.write_text('federation = "a"\ndevice = "b"\n[data]\nsource = "csv"\npath = "a.csv"\n')
    done = run(bare, "-m", "agent", "--config", str(config), "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "the configuration is valid" in done.stdout


def test_the_agent_loads_none_of_the_heavy_packages() -> None:
    heavy = {"onnx", "onnxruntime", "plotly", "starlette", "typer", "rich", "cryptography", "safetensors"}
    code = (
        "import sys, agent.__main__, agent.shell.loop; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = run({**os.environ, "PYTHONPATH": str(ROOT)}, "-c", code)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert loaded >= {"agent", "fedge", "paho"}
    assert not loaded & (heavy | {"aggregator", "fleet"})


def test_a_name_of_before_is_still_read_with_a_hint() -> None:
    with pytest.warns(DeprecationWarning, match=r"fedge\.Conflict"):
        before = fedge.GaveWay
    assert before is fedge.Conflict


@pytest.mark.parametrize("name", fedge.__all__)
def test_the_api_has_what_it_promises(name: str) -> None:
    assert getattr(fedge, name) is not None
