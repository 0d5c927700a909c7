"""The aggregator can never make a device run code, or open a file: nothing it says is ever more than data.

Three proofs: what Python itself reports (audit events, PEP 578) while a device works on a hostile task; what
the source text of the device's packages contains; and that messages have no room for such things.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedge.errors import ProtocolError
from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire import encoding
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.task import Task

ROOT = Path(__file__).parent.parent.parent
MARK = "gotcha"
"""Stands in every text that is sent; it may turn up in nothing that Python opens, imports or compiles."""
HOSTILE = (
    f"__import__('os').system('touch {MARK}')",
    f"../../../../tmp/{MARK}",
    f"{MARK}:read",
    f"{MARK}.npz\0",
    f"{{0.__class__.__init__.__globals__[{MARK}]}}",
    f"%({MARK})s",
    f"!!python/object/apply:os.system ['{MARK}']",
)

# A device at work on what stands in its first argument; it prints each audit event that names the mark, and
# what became of the work.
DEVICE = """\
import json, sys
from pathlib import Path

from agent.__main__ import main  # the program's own imports, before anything is watched
from agent.cli import check, predict
from agent.core import lifecycle
from agent.core.events import Done
from agent.shell import loop, model_file
from agent.config import AgentSettings
from agent.sources import open_sources
from agent.trainers.assignment import Assignment
from agent.trainers.worker import Worker
from fedge.wire.messages.envelope import unseal
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import unpack
from fedge.wire.messages.task import Task
import numpy as np
import numpy.random  # the first training imports NumPy's generators, whatever the message says

settings = AgentSettings.load(Path("agent.toml"), {})
trainer = Worker(settings, open_sources(settings), print)
warm = [unpack(bytes.fromhex(text), kind) for text, kind in zip(json.loads(sys.argv[1]), (Task, Manifest))]
trainer.work(Assignment(warm[1], warm[0], None, {}))

events = []
def watch(event, arguments):
    if event.split(".")[0] in ("import", "exec", "compile", "open", "os", "subprocess", "ctypes", "marshal",
                               "pickle", "socket", "shutil", "glob", "tempfile", "code", "builtins"):
        events.append((event, repr(arguments)))
sys.addaudithook(watch)

task, survey, training = [unpack(bytes.fromhex(text), kind)
                          for text, kind in zip(json.loads(sys.argv[2]), (Task, Manifest, Manifest))]
outcomes = [trainer.work(Assignment(survey, task, None, {}))]
weights = np.zeros(task.network.schema.size, np.float32)
outcomes.append(trainer.work(Assignment(training, task, weights, {})))
seen = list(events)
print(json.dumps({"done": [isinstance(o, Done) for o in outcomes],
                  "details": [getattr(o, "detail", "") for o in outcomes], "events": seen}))
"""


def manifest(kind: str) -> dict[str, object]:
    blob = {"digest": bytes(32), "slot": 0, "frames": 1, "size": 100}
    said: dict[str, object] = {
        "v": 1,
        "type": "round",
        "generation": 1,
        "round": 0 if kind == "survey" else 1,
        "kind": kind,
        "state": "open",
        "seed": 1,
        "task": blob,
        "cohort": {"fraction": 1.0, "seed": 1},
        "seconds_left": 60.0,
        # What no message has: a newer field is ignored, whatever it says.
        "callable": f"{MARK}:read",
        "path": f"/tmp/{MARK}",
        "run": HOSTILE[0],
    }
    if kind == "train":
        plan = {"epochs": 1, "optimizer": f"{MARK}:step", "source": f"{MARK}.py", "hook": HOSTILE[0]}
        said |= {"model": blob, "plan": plan}
    return said


def task(features: tuple[str, ...], classes: tuple[str, ...]) -> bytes:
    network = NetworkSpec(inputs=len(features), layers=(Dense(units=len(classes)),), loss="cross-entropy")
    said = encoding.decode(pack(Task(network=network, features=features, classes=classes)))
    more = {"data": {"source": "python", "callable": f"{MARK}:read"}, "sources": {MARK: {"path": MARK}}}
    return encoding.encode({**said, **more})


@pytest.mark.parametrize("named", [True, False], ids=["columns it has", "columns it lacks"])
def test_a_hostile_task_opens_imports_and_compiles_nothing(tmp_path: Path, named: bool) -> None:
    columns = [f"column {number}" for number in range(len(HOSTILE))]
    if named:  # the device's own data have columns of these names, so that the work goes on to its end
        columns = [text.replace("\0", "") for text in HOSTILE]
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "data.npz",
        X=rng.normal(size=(60, len(HOSTILE))),
        y=np.array([HOSTILE[0], HOSTILE[1]] * 30),
        features=np.array(columns),
    )
    (tmp_path / "agent.toml").write_text(
        'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "npz"\npath = "data.npz"\n'
    )
    # A trap: a module of that name is there to be imported.
    (tmp_path / f"{MARK}.py").write_text("import pathlib; pathlib.Path('trapped').touch(); read = None\n")
    before = set(tmp_path.rglob("*"))
    wanted = tuple(columns) if named else HOSTILE
    harmless = [encoding.encode(manifest("survey")).hex()]
    warm = [task(tuple(columns), ("a", "b")).hex(), *harmless]
    hostile = [task(wanted, HOSTILE[:2]).hex(), *harmless, encoding.encode(manifest("train")).hex()]
    done = subprocess.run(
        [sys.executable, "-c", DEVICE, json.dumps(warm), json.dumps(hostile)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["done"] == [named, named], (report["details"], done.stderr)
    touched = [event for event in report["events"] if MARK in event[1]]
    assert touched == []
    for event, arguments in report["events"]:
        match event:
            case "open":
                assert str(tmp_path / "data.npz") in arguments, "the owner's data"
            case "compile":
                assert "'descr'" in arguments, "the header of the owner's arrays, read as a literal"
            case "builtins.id":
                pass  # pydantic builds a message's check at its first use, and asks objects for their id
            case _:
                raise AssertionError((event, arguments))
    assert set(tmp_path.rglob("*")) == before, "nothing was written, and the trap has not snapped"


RUNS_TEXT = {
    ("", "eval"), ("", "exec"), ("", "compile"), ("", "__import__"), ("", "import_module"),
    ("importlib", "import_module"), ("runpy", "run_path"), ("runpy", "run_module"),
    ("os", "system"), ("os", "popen"), ("pickle", "loads"), ("pickle", "load"), ("marshal", "loads"),
}  # fmt: skip
"""Functions, with their module where they are called by it, that make code of text or bytes."""


def test_what_imports_by_name_reads_only_the_owners_settings() -> None:
    found = []
    for file in sorted([*(ROOT / "agent").rglob("*.py"), *(ROOT / "fedge").rglob("*.py")]):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            match node.func:
                case ast.Name(id=name):
                    called = ("", name)
                case ast.Attribute(value=ast.Name(id=module), attr=name):
                    called = (module, name)
                case _:
                    continue
            if called in RUNS_TEXT:
                found.append(f"{file.relative_to(ROOT)}: {'.'.join(filter(None, called))}")
    public_names = "fedge/__init__.py: import_module"  # from a table in that file, for `from fedge import …`
    # Modules of a folder of ours, and extensions that an owner or an operator lists.
    parts = ["fedge/algorithms/registry.py: import_module"] * 3
    owners = [
        "agent/sources/function.py: importlib.import_module",  # of [data] callable
        "agent/trainers/extensions.py: importlib.import_module",  # of [trainer] use
    ]
    assert found == [*owners, public_names, *parts]
    opened = (ROOT / "agent" / "sources" / "__init__.py").read_text(encoding="utf-8")
    assert "FunctionSource(data.callable, data.path, data.newest)" in opened, "data is a table of agent.toml"


def test_the_owners_code_is_loaded_when_the_program_starts_and_at_no_other_time() -> None:
    loaders = {"load", "load_extensions", "trainer_of"}
    calls = [
        f"{file.relative_to(ROOT)}: {ast.unparse(node)}"
        for file in sorted((ROOT / "agent").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in loaders
    ]
    assert [call for call in calls if "load(options.config)" not in call] == [
        "agent/cli/check.py: load_extensions(settings)",
        "agent/cli/check.py: trainer_of(settings.trainer)",
        "agent/cli/export.py: load_extensions(settings)",
        "agent/cli/predict.py: load_extensions(settings)",
        "agent/shell/loop.py: load_extensions(settings)",
        "agent/shell/loop.py: trainer_of(settings.trainer)",
        "agent/trainers/extensions.py: load(extension)",
    ]


@pytest.mark.parametrize("name", ["../data", "os:system", "a/b", "A", "", "-x", "a" * 32, "a\n"])
def test_a_source_is_named_by_a_plain_word_or_the_task_is_refused(name: str) -> None:
    said = {**encoding.decode(task(("u",), ("a", "b"))), "source": name}
    with pytest.raises(ProtocolError, match="task: source: "):
        unpack(encoding.encode(said), Task)
    assert unpack(encoding.encode({**said, "source": "heart_rate-2"}), Task).source == "heart_rate-2"
