"""Every write of the programs goes through `fedge.storage.folders`, or stands here with the reason.

What root writes below a folder of a service may be led anywhere by a link that its user has put there (see
`hostile_services/`). So no other module opens a file to write, or makes, renames, links or removes
one, or changes whose it is, unless it works only where nobody but root, or the user himself, can put a
link.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("fedge", "agent", "aggregator", "fleet")
KERNEL = {
    *(f"fedge/storage/{name}.py" for name in ("batches", "files", "folders", "paths", "pinning", "segments")),
    *(f"fedge/storage/{name}.py" for name in ("atomic_files", "databases", "locks", "temporary")),
}
OF_PATHS = {
    "write_text", "write_bytes", "chmod", "lchmod", "mkdir", "touch", "symlink_to", "hardlink_to",
    "rename", "unlink", "rmdir",
}  # fmt: skip
OF_OS = {
    "open", "chmod", "fchmod", "lchmod", "chown", "fchown", "lchown", "mkdir", "makedirs", "rename",
    "renames", "replace",
    "link", "symlink", "unlink", "remove", "rmdir", "removedirs", "truncate", "mkfifo", "mknod", "utime",
}  # fmt: skip
OPENERS = {
    "open",
    "fdopen",
    "NamedTemporaryFile",
    "TemporaryFile",
    "TemporaryDirectory",
    "mkdtemp",
    "mkstemp",
}

OF_THE_SYSTEM = "in a folder of the system, where nobody but root writes"
OWN = "the user's own, or a test's: nothing of a service is there"
ALLOWED: dict[str, dict[str, str]] = {
    "fedge/deployment/backoff.py": {
        "unlink": "run by the service as its own user",
        "write_text": "run by the service as its own user",
    },
    "fedge/deployment/machine.py": {"rmdir": OF_THE_SYSTEM},
    "fedge/deployment/program.py": {
        "rmtree": f"environments {OF_THE_SYSTEM}",
        "unlink": f"links {OF_THE_SYSTEM}",
        "rmdir": OF_THE_SYSTEM,
    },
    "fedge/deployment/units.py": {"unlink": OF_THE_SYSTEM, "rmdir": OF_THE_SYSTEM},
    "agent/__main__.py": {"os.open": "/dev/null"},
    "agent/cli/installation/commands.py": {"rmtree": OF_THE_SYSTEM},
    "agent/enrolment/pending.py": {"rmtree": "its own folder; rmtree follows no link"},
    "aggregator/cli/installation/folder.py": {
        "move": "of the folder that whoever types the command owns, to one of root's",
    },
    "aggregator/cli/installation/commands.py": {
        "rmtree": f"the federation's folder {OF_THE_SYSTEM}; rmtree follows no link",
        "unlink": OF_THE_SYSTEM,
    },
    "aggregator/export/exporter.py": {"rmdir": "run by the service as its own user; rmdir follows no link"},
    "fleet/datasets/federated.py": {"open": OWN},
    "fleet/demo/partition.py": {"mkdir": OWN, "replace": OWN},
    "fleet/demo/run.py": {"write_text": OWN},
    "fleet/demo/folders.py": {"rmtree": OWN, "mkdir": OWN, "touch": OWN, "rename": OWN},
    "fleet/demo/learning.py": {"mkdir": OWN},
    "fleet/trial/files.py": {"mkdir": OWN, "write_text": OWN, "copyfile": OWN},
    "fleet/trial/run.py": {"write_text": OWN, "rmtree": OWN},
    "fleet/cli/settings_reference.py": {"write_text": OWN},
    "fleet/cli/api_reference.py": {"write_text": OWN},
    "fleet/cli/algorithms.py": {"write_text": OWN},
    "fleet/library/fast/federation.py": {"mkdir": OWN},
    "fleet/study/book.py": {"open": OWN, "mkdir": OWN, "truncate": OWN},
    "fleet/study/study.py": {"write_text": OWN, "replace": OWN},
    "fleet/library/fast/memory.py": {"unlink": OWN, "os.open": OWN},
    "fleet/library/simulation.py": {"mkdir": OWN},
    "fleet/library/virtual_aggregator.py": {"mkdir": OWN},
    "fleet/library/virtual_device.py": {"mkdir": OWN},
    "fleet/cli/transitions.py": {"write_text": OWN},
    "fleet/demo/broker.py": {"mkdir": OWN, "write_text": OWN},
    "fleet/demo/processes.py": {"open": OWN},
    "fleet/demo/provision.py": {"mkdir": OWN, "write_text": OWN},
    "fleet/simulator/machines.py": {"mkdir": OWN, "write_bytes": OWN},
    "fleet/simulator/settings.py": {"write_text": OWN},
    "fleet/simulator/injection.py": {"copy": OWN},
    "fleet/simulator/disks.py": {"copy": OWN, "copytree": OWN},
    "fleet/simulator/operator.py": {"unlink": OWN, "write_bytes": OWN},
    "fleet/simulator/fastpaths.py": {"write_bytes": OWN},
}  # fmt: skip


def writes(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """What may change a disk, and in which line."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Attribute(value=ast.Name(id="os"), attr=name):
                if name in OF_OS:
                    yield f"os.{name}" if name == "open" else name, node.lineno
            case ast.Attribute(value=ast.Name(id="shutil"), attr=name):
                if name != "which":
                    yield name, node.lineno
            case ast.Attribute(value=ast.Name(id="tarfile"), attr="open"):
                if not any(keyword.arg == "fileobj" for keyword in node.keywords):
                    yield "tarfile.open", node.lineno
            case ast.Attribute(attr="replace"):
                if len(node.args) == 1 and not node.keywords:  # of a path; a text's takes two
                    yield "replace", node.lineno
            case ast.Attribute(attr=name) | ast.Name(id=name):
                if name in OF_PATHS or (name in OPENERS and (name != "open" or _opens_to_write(node))):
                    yield name, node.lineno
            case _:
                pass


def _opens_to_write(call: ast.Call) -> bool:
    """Whether `open(path, mode)` or `path.open(mode)` has a mode that writes, or is not spelt out."""
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    modes += call.args[1:2] if isinstance(call.func, ast.Name) else call.args[:1]
    if not modes:
        return False
    mode = modes[0]
    if not isinstance(mode, ast.Constant):
        return isinstance(call.func, ast.Name)  # `link.open(broker)` opens no file
    return isinstance(mode.value, str) and bool(set(mode.value) & set("wxa+"))


@cache
def found() -> dict[str, dict[str, list[int]]]:
    seen: dict[str, dict[str, list[int]]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if name in KERNEL:
                continue
            for what, line in writes(ast.parse(path.read_text(encoding="utf-8"))):
                seen.setdefault(name, {}).setdefault(what, []).append(line)
    return seen


def test_nothing_else_writes() -> None:
    unknown = [
        f"{module}:{line}: {what}"
        for module, calls in found().items()
        for what, lines in calls.items()
        for line in lines
        if what not in ALLOWED.get(module, {})
    ]
    assert not unknown, "write through fedge.storage.files or fedge.storage, or say in ALLOWED why not"


def test_the_list_names_nothing_that_is_gone() -> None:
    seen = found()
    gone = [
        f"{module}: {what}"
        for module, allowed in ALLOWED.items()
        for what in allowed
        if what not in seen.get(module, {})
    ]
    assert not gone


def test_each_way_to_write_is_seen() -> None:
    ways = """\
open(path, "w")
open(path, mode="xb")
path.open("a")
os.open(path, flags)
open(path, mode)
path.write_text("")
path.write_bytes(b"")
path.chmod(0o600)
path.mkdir()
path.rename(other)
path.replace(other)
path.touch()
path.symlink_to(other)
os.chown(path, 0, 0)
os.replace(path, other)
shutil.copy(path, other)
tempfile.mkstemp()
tarfile.open(path, "w")
"""
    lines = {line for _, line in writes(ast.parse(ways))}
    assert lines == set(range(1, len(ways.splitlines()) + 1))
    harmless = 'open(path)\npath.open("rb")\ntext.replace("a", "b")\nreplace(state, a=1)\nlink.open()\n'
    assert not list(writes(ast.parse(harmless)))
