"""Write docs/algorithms.md: the parts of an algorithm, what can be combined, and what it costs a device.

`python -m fleet.cli.algorithms FILE` writes the page. Its texts come from the parts: from the docstring of
a part's module (CONTRIBUTING.md, "Add a part"), from its options, and from the `needs` of its entry. The time
and the memory of a local algorithm are `MEASURED`, as `python -m benchmarks.algorithm_cost` printed them.
"""

import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedge.algorithms.composition import (
    KINDS,
    NAME_KEYS,
    TABLES,
    USUAL,
    Choice,
    Composition,
    mended,
)
from fedge.algorithms.local import descent
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import REGISTRIES, Entry, Need
from fedge.service.descriptions import described

SIZE = 1_000
"""The weights of the model with which bytes are counted."""
LARGE = 199_210
"""The weights of the network with which a codec's bits are counted."""
WIDTH = 112
"""The longest line of text."""
COMMAND = "python -m benchmarks.algorithm_cost"


@dataclass(frozen=True)
class Measured:
    """What the benchmark measured of a local algorithm."""

    ram: float
    """The memory that a round takes beyond that of `sgd`, in models of float32."""
    seconds: float
    """The time of a round, as a multiple of that of `sgd`."""


MEASURED: Mapping[str, Measured] = {
    "sgd": Measured(ram=0.0, seconds=1.0),
    "dyn": Measured(ram=3.0, seconds=1.5),
    "nova": Measured(ram=1.2, seconds=1.0),
    "prox": Measured(ram=1.0, seconds=1.3),
    "scaffold": Measured(ram=2.0, seconds=1.1),
}
"""By the name of the local algorithm; the middle of three runs."""
MACHINE = "2 cores, x86-64, Python 3.11, beside other work; the middle of three runs"

TITLES = {
    "local": "Local algorithms",
    "codec": "Codecs",
    "rule": "Rules",
    "server": "Server optimizers",
    "personal": "Personal models",
}
SETTINGS = {kind: f"`[{TABLES[kind]}] {NAME_KEYS[kind]}`" for kind in KINDS}

INTRODUCTION = """\
# Algorithms

For whoever chooses how a fleet learns: the parts that Fedge has, which of them work together, and what a
local algorithm costs a device. `make docs` generates this page from the parts themselves. Parts of your own
([examples/extend](../examples/extend/README.md)) are not on it. How much a device should train in a round
is in [plans.md](plans.md).

## A composition

An algorithm is a composition of parts, each of which is one file with its paper:

* The **local algorithm** is what a device does with its own rows: it makes new weights of the announced ones.
* The **codec** writes the vectors that a device sends as bytes.
* The **rule** makes one vector of the updates that were admitted, for example their mean.
* The **server optimizer** makes the next model of the present one and the rule's vector.
* The **schedule** says when rounds open and close: `rounds`, one after the other, or `buffered`, without
  waiting for slow devices ([buffered.md](buffered.md)).

The default is FedAvg. These lines of `federation.toml` say the same as leaving them out:

```toml
"""
BETWEEN = """\
```

The options of a rule or a server optimizer are further keys of its table. Those of a local algorithm or a
codec are in `local_options` and `codec_options`: `local_options = { mu = 0.1 }`.

Some parts work only together with certain others. The aggregator refuses anything else when it starts, with
exit code 78, and `fedge-aggregator --check` and `fedge.simulate` refuse it too. The error names both keys,
and says what to set instead.

Local algorithms and codecs run on the devices. A device whose program lacks one declines the round with
`unsupported`; the aggregator knows that from the device's status and does not wait for it. Rules and server
optimizers run on the aggregator alone, so they work with any device.

## Parts
"""
STEPS = """
### A step of gradient descent

All local algorithms take the steps of `fedge/algorithms/local/descent.py`, with terms of their own. Here w
are the weights, g is the mean gradient of a batch, and the plan has the learning rate α (`learning_rate`),
the momentum μ (`momentum`), the weight decay λ (`weight_decay`) and the bound G (`max_gradient`):

```
"""
COMBINED = """
## What can be combined

Each row is a local algorithm, and says which other parts work with it. An option in a cell is the value
that has to be set. With `server = "average"` a personal model works only with that server optimizer.
`clusters` works with codecs without a state alone: a residual belongs to one of the models.

"""
NEEDS = """
What the parts need of each other, and why:

"""
COST = """
## What a local algorithm costs a device

The unit is the model: four bytes a weight. A device receives `weights` and each further vector that the
algorithm receives, once a round. With the codec `float32` it sends a model's bytes for each vector that it
sends. Its state is on the device's disk between rounds; while an update waits for its answer, the next
state is there too. The limits of a device's owner ([device.md](device.md)) hold for each algorithm: a device
declines a round whose state or vectors would take more than `state_bytes` or `memory_bytes`.

"RAM" is the most memory of a round beyond that of `sgd`. "Seconds" is the CPU time of a round, as a
multiple of that of `sgd`. Both were measured with a network of 199,210 weights:

"""


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION, *_default(), BETWEEN]
    for kind in KINDS:
        parts += _kind(kind)
    parts += [STEPS, _block(inspect.getdoc(descent) or ""), "\n```\n", *_formulas()]
    parts += [COMBINED, *_combinations(), NEEDS, *_needs(), COST, _measurement(), *_costs()]
    return "".join(parts)


def about(entry: Entry[Any]) -> str:
    """What a part does: the first sentence of its module's docstring."""
    return _sentence(_paragraphs(entry)[0])


def paper(entry: Entry[Any]) -> str | None:
    """The paper of a part: the first sentence of the paragraph that has a title in quotation marks."""
    for paragraph in _paragraphs(entry)[1:]:
        if found := re.match(r'[^"]+"[^"]+".*?(?=[.:] |[.:]?$)', paragraph):
            return re.sub(r", line for .*", "", found[0])
    return None


def works(local: str, kind: str, name: str) -> Composition | None:
    """A composition of a local algorithm and a part of another kind; None: they do not work together."""
    usual = Composition.usual().having("local", Choice.of("local", local))
    chosen = usual.having(kind, Choice.of(kind, name))
    found = mended(chosen, frozenset({"local"}))
    return next((each for each in found if each.parts[kind].name == name), None)


def _default() -> Iterator[str]:
    tables: dict[str, list[str]] = {}
    for kind, name in USUAL.items():
        tables.setdefault(TABLES[kind], []).append(f'{NAME_KEYS[kind]} = "{name}"\n')
    tables["rounds"] = ['schedule = "rounds"\n']
    yield "\n".join(f"[{table}]\n{''.join(lines)}" for table, lines in tables.items())


def _kind(kind: str) -> Iterator[str]:
    local = kind == "local"
    heads = ["name", "what it does", "options with their defaults"]
    if local:
        heads += ["momentum of the plan", "weight decay of the plan", "receives", "sends", "partial work"]
    if kind == "codec":
        heads += ["exact", "unbiased", "bits a weight"]
    if kind == "rule":
        heads.append("fewest updates")
    heads += ["state", "paper"]
    yield f"\n### {TITLES[kind]}\n\n{SETTINGS[kind]}; the default is `{USUAL[kind]}`.\n\n"
    yield _row(heads) + _row(["---"] * len(heads))
    for name, entry in sorted(REGISTRIES[kind].built_in().items()):
        part = REGISTRIES[kind].make(name)
        cells = [f"`{name}`", about(entry), _options(entry)]
        if local:
            cells += [_of_plan(entry, field) for field in ("momentum", "weight_decay")]
            cells += [_vectors(part.receives), _vectors(part.sends)]
            cells.append("counts" if part.partial else "does not count")
        if kind == "codec":
            cells += [("no", "yes")[part.exact], ("no", "yes")[part.unbiased], f"{part.bits(LARGE):.2f}"]
        if kind == "rule":
            cells.append(str(part.fewest))
        cells.append(_state(part))
        yield _row([*cells, paper(entry) or "–"])


def _formulas() -> Iterator[str]:
    """Yield the rest of each local algorithm's docstring, behind the paper."""
    for name, entry in sorted(REGISTRIES["local"].built_in().items()):
        yield f"\n#### `{name}`\n"
        for paragraph in _text(entry).split("\n\n")[1:]:
            if paragraph.startswith("    "):
                yield f"\n```\n{_block(paragraph)}\n```\n"
            elif text := _behind(_line(paragraph), paper(entry) or ""):
                yield f"\n{textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)}\n"


def _behind(paragraph: str, source: str) -> str:
    """The paragraph without the source that it begins with."""
    if not source or not paragraph.startswith(source):
        return paragraph
    rest = paragraph.removeprefix(source).lstrip(".: ")
    return rest[:1].upper() + rest[1:]


def _combinations() -> Iterator[str]:
    kinds = [kind for kind in KINDS if kind != "local"]
    yield _row(["local", *kinds, "plan"]) + _row(["---"] * (len(kinds) + 2))
    for local, entry in sorted(REGISTRIES["local"].built_in().items()):
        plan = [_value(need) for need in entry.needs if need.kind == "plan"]
        yield _row([f"`{local}`", *(_working(local, kind) for kind in kinds), ", ".join(plan) or "any"])


def _working(local: str, kind: str) -> str:
    """The parts of a kind that work with a local algorithm, with the options that have to be set.

    A personal model that needs a part of another kind has that too: `server = "average"`.
    """
    cells = []
    for name in sorted(REGISTRIES[kind].built_in()):
        if (found := works(local, kind, name)) is not None:
            usual = Choice.of(kind, name).options
            options = {key: value for key, value in found.parts[kind].options.items() if value != usual[key]}
            if kind == "personal":
                needs = REGISTRIES[kind].entries()[name].needs
                options |= {
                    need.kind: need.names[0] for need in needs if need.kind in ("codec", "rule", "server")
                }
            told = ", ".join(f"`{key} = {json.dumps(value)}`" for key, value in options.items())
            cells.append(f"`{name}`" + (f" with {told}" if told else ""))
    return ", ".join(cells) or "none"


def _needs() -> Iterator[str]:
    yield _row(["part", "needs", "because"]) + _row(["---"] * 3)
    for kind in KINDS:
        for name, entry in sorted(REGISTRIES[kind].built_in().items()):
            for need in entry.needs:
                yield _row([f"`[{TABLES[kind]}] {_key(kind, name)}`", _value(need), need.why])


def _measurement() -> str:
    """The command that measures, and where it ran."""
    return f"```sh\n{COMMAND}      # here: {MACHINE}\n```\n\n"


def _costs() -> Iterator[str]:
    heads = ["local", "bytes received", "bytes sent", "state on disk", "RAM", "seconds"]
    yield _row(heads) + _row(["---"] * len(heads))
    codec = REGISTRIES["codec"].make(USUAL["codec"])
    for name in sorted(REGISTRIES["local"].built_in()):
        part, found = REGISTRIES["local"].make(name), MEASURED.get(name)
        sent = codec.max_bytes(SIZE) * (1 + len(part.sends)) / (4 * SIZE)
        kept = sum(array.nbytes for array in part.init(SIZE).values()) / (4 * SIZE)
        measured = (f"{found.ram:.1f}", f"{found.seconds:.1f}") if found else ("not measured",) * 2
        yield _row([f"`{name}`", f"{1 + len(part.receives)}", f"{sent:g}", f"{kept:g}", *measured])


def _key(kind: str, name: str) -> str:
    return f'{NAME_KEYS[kind]} = "{name}"'


def _value(need: Need) -> str:
    """What is needed, as keys of `federation.toml`."""
    table = TABLES[need.kind]
    cells = [f"`[{table}] {' or '.join(_key(need.kind, name) for name in need.names)}`"] if need.names else []
    prefix = "" if table == need.kind else f"{need.kind}_options."
    cells += [f"`[{table}] {prefix}{key} = {json.dumps(value)}`" for key, value in need.options]
    return ", ".join(cells)


def _of_plan(entry: Entry[Any], field: str) -> str:
    """Whether a local algorithm has this field of the plan in its steps, or refuses it."""
    usual = Plan.model_fields[field].default
    refused = any(need.kind == "plan" and (field, usual) in need.options for need in entry.needs)
    return f"refused: has to be {usual:g}" if refused else "as in the step below"


def _options(entry: Entry[Any]) -> str:
    told = []
    for name, field in described(entry.options).items():
        default = "" if field.is_required() else f" = {json.dumps(field.default)}"
        told.append(f"`{name}{default}`: {_line(field.description or '').rstrip('.')}")
    return "<br>".join(told) or "none"


def _vectors(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in ("weights", *names))


def _state(part: Any) -> str:
    """The arrays that a part keeps, with the size of each in models of float32."""
    kept = {name: np.asarray(array).nbytes / (4 * SIZE) for name, array in sorted(part.init(SIZE).items())}
    return ", ".join(f"`{name}`: {size:g} × the model" for name, size in kept.items()) or "none"


def _paragraphs(entry: Entry[Any]) -> list[str]:
    return [_line(paragraph) for paragraph in _text(entry).split("\n\n")]


def _text(entry: Entry[Any]) -> str:
    """The docstring of the part's file."""
    return inspect.getdoc(inspect.getmodule(entry.make)) or ""


def _block(text: str) -> str:
    """The first indented lines of a docstring, which have the formulas."""
    found = re.search(r"(?:^ {4}.*\n?)+", text, re.MULTILINE)
    return re.sub(r"^ {4}", "", found[0], flags=re.MULTILINE).rstrip() if found else ""


def _sentence(text: str) -> str:
    return re.split(r"(?<=\.) ", text)[0]


def _line(text: str) -> str:
    return " ".join(text.split())


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
