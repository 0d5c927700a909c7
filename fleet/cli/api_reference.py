"""Write docs/api.md, which has every public name of the library, from the docstrings.

`python -m fleet.cli.api_reference FILE` writes the page.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import fedge
from fedge import testing

SECTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Learn": (
        "The model to learn, the way to learn it, and a whole federation in this process.",
        (
            "Task",
            "NetworkSpec",
            "Plan",
            "fedsgd",
            "Algorithm",
            "simulate",
            "Progress",
            "Result",
            "Point",
            "RoundRow",
        ),
    ),
    "Use what was learnt": (
        "Read models and rounds from the files of devices and aggregators.",
        ("load_model", "Model", "read_rounds", "Network", "Schema"),
    ),
    "Run a device": ("Run the agent in a program of your own.", ("Agent",)),
    "Errors": (
        "Every error that a caller can act on is a `FedgeError`.",
        ("FedgeError", "ConfigError", "DataError", "StateError", "Conflict", "ProtocolError"),
    ),
}
"""The names of `import fedge` in the order of the page."""
PARTS: Mapping[str, tuple[str, ...]] = {
    "fedge.algorithms.registry": ("Entry", "Need", "Options", "registered"),
    "fedge.algorithms.protocols": ("Codec", "LocalAlgorithm", "Updates", "Rule", "ServerOptimizer"),
    "fedge.algorithms.trainer": ("Job", "Trained", "Trainer", "Diverged", "Cancelled"),
    "fedge.algorithms.rules.mean": ("Contribution",),
}
"""The names of which an extension consists, by module."""
_INTRODUCTION = """\
# The library

This page describes what `import fedge` offers to notebooks and scripts, the protocols for parts of an
algorithm, and the checks for such parts. `make docs` generates it from the docstrings. Any other name is
private and may change with any version. `examples/notebook.py` uses most of the library; `examples/extend/`
has a part of each kind.

The base installation has everything except `simulate` and `Result`, which need the extra `aggregator`.
"""
_HEADS = {"Args": "Arguments", "Returns": "Returns", "Raises": "Raises", "Yields": "Yields"}


def reference() -> str:
    """Return the whole page."""
    parts = [_INTRODUCTION]
    for title, (about, names) in SECTIONS.items():
        parts.append(f"\n## {title}\n\n{about}\n")
        parts += [_entry(f"fedge.{name}", getattr(fedge, name)) for name in names]
    parts.append(
        "\n## Parts of an algorithm\n\nThe protocols of parts, and the entries that register them.\n"
    )
    for module, names in PARTS.items():
        parts += [_entry(f"{module}.{name}", getattr(import_module(module), name)) for name in names]
    parts.append("\n## Checks of parts\n\nEach check is one line in a test of your own.\n")
    parts += [_entry(f"fedge.testing.{name}", getattr(testing, name)) for name in testing.__all__]
    return "".join(parts)


def _entry(path: str, found: Any) -> str:
    """The part of the page about one class or function."""
    source = found.__wrapped__ if hasattr(found, "__wrapped__") else found
    tree = ast.parse(textwrap.dedent(inspect.getsource(source))).body[0]
    lines = [f"\n### `{path}`\n"]
    if isinstance(tree, ast.FunctionDef):
        lines += [_code(_signature(tree)), _prose(ast.get_docstring(tree) or "")]
        return "\n".join(lines)
    assert isinstance(tree, ast.ClassDef)
    init = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is not None:
        lines.append(_code(_signature(init, tree.name)))
    lines.append(_prose(ast.get_docstring(tree) or ""))
    lines += [f"- {text}" for text in _fields(tree.body)]
    for method in tree.body:
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
            lines.append(f"\n#### `{path.rpartition('.')[2]}.{method.name}`\n")
            lines += [_code(_signature(method)), _prose(ast.get_docstring(method) or "")]
    return "\n".join(lines) + "\n"


def _signature(function: ast.FunctionDef, name: str = "") -> str:
    """Format a call: a method without `self`, a property as its type."""
    arguments = function.args
    plain = [each for each in arguments.args if each.arg not in ("self", "cls")]
    for each in plain:
        if isinstance(each.annotation, ast.Constant):  # quoted, because its module is not loaded
            each.annotation = ast.Name(str(each.annotation.value))
    arguments.args = plain
    returns = f" -> {ast.unparse(function.returns)}" if function.returns is not None and not name else ""
    if any(isinstance(each, ast.Name) and each.id == "property" for each in function.decorator_list):
        return f"{function.name}: {returns.removeprefix(' -> ')}"
    parts = _split(ast.unparse(arguments))
    called = name or function.name
    line = f"{called}({', '.join(parts)}){returns}"
    if len(line) <= 100:
        return line
    return f"{called}(\n" + "".join(f"    {part},\n" for part in parts) + f"){returns}"


def _split(arguments: str) -> list[str]:
    """Split arguments at the commas outside brackets."""
    parts, depth = [""], 0
    for sign in arguments:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]


def _fields(body: Sequence[ast.stmt]) -> Iterator[str]:
    """The attributes that have a type and a docstring below."""
    for here, below in zip(body, [*body[1:], ast.Pass()], strict=True):
        if not isinstance(here, ast.AnnAssign) or not isinstance(here.target, ast.Name):
            continue
        name, kind = here.target.id, ast.unparse(here.annotation).strip("'")
        if name.startswith("_") or kind == "ClassVar[str]":
            continue
        told = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        text = " ".join(str(below.value.value).split()) if told else ""  # type: ignore[attr-defined]
        default = f" = {value}" if (value := _default(here.value)) else ""
        yield f"`{name}: {kind}{default}`" + (f": {text}" if text else "")


def _default(value: ast.expr | None) -> str:
    """The default of a field as its definition has it; "": there is none, or a factory makes it."""
    if isinstance(value, ast.Call):
        value = next((each.value for each in value.keywords if each.arg == "default"), None)
    return "" if value is None else ast.unparse(value)


def _prose(docstring: str) -> str:
    """Convert a docstring to Markdown; its sections become lists."""
    lines: list[str] = []
    for block in docstring.split("\n\n"):
        head, _, rest = block.partition("\n")
        title = _HEADS.get(head.rstrip(":")) if head.endswith(":") else None
        if block.startswith(">>> "):
            lines += [_code(block)]
        elif title is None:
            lines += [block, ""]
        elif title == "Returns":
            lines += [f"**{title}** {' '.join(rest.split())}", ""]
        else:
            items = re.split(r"\n(?=\S)", textwrap.dedent(rest))
            lines += [f"**{title}**", "", *(_item(item) for item in items), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _item(text: str) -> str:
    name, colon, about = " ".join(text.split()).partition(": ")
    names = ", ".join(f"`{each}`" for each in name.split(", "))
    return f"- {names}: {about}" if colon else f"- {name}"


def _code(text: str) -> str:
    return f"```python\n{text}\n```\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
