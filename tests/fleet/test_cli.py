"""The command `fedge`: what it refuses, and how it says so."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

import fedge
from fleet.cli.commands import app
from tests.wording import assert_tells

ROOT = Path(__file__).parents[2]


def fedge_command(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "fleet", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"{fedge.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices", "21"], "--devices 21: .*1 to 20 "),
        (["--devices", "26", "--dataset", "digits"], "--devices 26: .*1 to 25 "),
        (["--broker", "rabbit"], "--broker rabbit: .*'auto', 'mosquitto', 'iotcore'.*mqtt://"),
        (["--broker", "mqtt://127.0.0.1:1"], r"127\.0\.0\.1.*\b1\b"),
        (["--seed", str(2**63)], r"\[federation\] seed"),
    ],
)
def test_an_option_that_cannot_be_ends_with_78_and_a_sentence(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["demo", "--json", "--out", str(tmp_path / "out"), *arguments])
    assert result.exit_code == os.EX_CONFIG, result.output
    assert re.search(message, result.stderr)
    assert result.stdout == ""


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years")
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path)])
    assert result.exit_code == os.EX_CONFIG
    assert str(tmp_path) in result.stderr
    assert (tmp_path / "thesis.txt").read_text() == "ten years"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["foo"], 64),
        (["world", "--seeds", "x"], 64),
        (["world", "--seeds", "3:3"], 64),
        (["world", "--seeds", "5:3"], 64),
        (["demo", "--devices", "0"], 64),
        (["enroll"], 64),
        (["revoke"], 64),
        (["--help"], 0),
        (["enroll", "--help"], 0),
    ],
)
def test_a_wrong_call_ends_as_those_of_the_other_programs(arguments: list[str], status: int) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == status


def test_the_program_ends_with_64_after_a_wrong_call() -> None:
    result = fedge_command("foo")
    assert (result.returncode, result.stdout) == (os.EX_USAGE, "")
    assert "'foo'" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "command", "extra"),
    [
        ("typer", "demo", "demo"),
        ("plotly", "demo", "demo"),
        ("onnxruntime", "demo", "demo"),
        ("typer", "try", "demo"),
        ("plotly", "try", "demo"),
        ("plotly", "simulate", "demo"),
        ("typer", "init", "aggregator"),
        ("cryptography", "init", "aggregator"),
    ],
)
def test_a_missing_extra_is_named_in_one_sentence(
    module: str, command: str, extra: str, tmp_path: Path
) -> None:
    # None in sys.modules makes an import fail as if the package were not installed.
    out = str(tmp_path / "out")
    options = {
        "demo": ["--out", out],
        "try": [str(tmp_path), "--label", "x", "--out", out],
        "init": ["pumps", "--folder", out],
        "simulate": [str(ROOT / "examples" / "study.toml"), "--out", out],
    }
    code = f"import sys; sys.modules[{module!r}] = None; from fleet.__main__ import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, command, *options[command]],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == os.EX_CONFIG, result.stderr
    assert_tells(result.stderr, f"'{extra}'", module, f"pip install 'fedge[{extra}]'")
    assert "Traceback" not in result.stderr


def test_only_demo_try_and_simulate_draw() -> None:
    """Every other command is content with the extra `aggregator`, which brings no plotly."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): imports(path.read_text(encoding="utf-8"))
        for path in (ROOT / "fleet").rglob("*.py")
    }
    commands = {"fleet.cli.commands", "fleet.trial.cli", "fleet.cli.study"}  # where the three begin
    drawing, named = set[str](), {"plotly"}
    while named:
        found = {
            name
            for name, brought in modules.items()
            if name not in drawing and any(imported(brought, one) for one in named)
        }
        named = found - commands
        drawing |= found
    assert "fleet.demo.report" in drawing
    assert drawing & {name for name in modules if "cli" in name} == commands
    code = (
        "import importlib, sys; sys.modules['plotly'] = None; import fleet.cli.commands\n"
        f"for name in {sorted(set(modules) - drawing - {'fleet.__main__'})}: importlib.import_module(name)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def imports(text: str) -> list[ast.Import | ast.ImportFrom]:
    """What a module imports, at its top or inside a function."""
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]


def imported(imports: list[ast.Import | ast.ImportFrom], module: str) -> bool:
    """Whether another module is among them."""
    package, _, name = module.rpartition(".")
    for node in imports:
        names = {alias.name for alias in node.names}
        brought = names if isinstance(node, ast.Import) else {str(node.module)}
        if any(f"{one}.".startswith(f"{module}.") for one in brought):
            return True
        if isinstance(node, ast.ImportFrom) and node.module == package and name in names:
            return True
    return False


def test_no_word_of_the_help_is_taken_for_markup() -> None:
    """`[model]` in a help text would vanish from the terminal."""
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    texts = [
        text.replace("\b", "")
        for one in command.commands.values()
        for text in (one.help, *(getattr(parameter, "help", None) for parameter in one.params))
        if text
    ]
    assert len(texts) > 50
    assert [text for text in texts if Text.from_markup(text).plain != text] == []
