"""Write a proposal as text for `federation.toml` and `agent.toml`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agent.data.model_scores import misgivings
from agent.settings.data import DataSettings
from agent.settings.sources import LABEL
from agent.sources import CsvSource, NpzSource
from fedge.data.disclosure import listing
from fedge.service.escapes import printable
from fleet.trial.column_proposal import Proposal, propose

WIDTH = 100
"""Lists that are longer than this are written on several lines."""


def proposed(path: Path, label: str | None, regression: str | None) -> Proposal:
    """Propose a model for a CSV, a folder of CSVs, or an `.npz`; see `propose`.

    Raises:
        DataError: it cannot be read, or the requested model cannot be learnt from it.
    """
    if path.suffix == ".npz":
        return propose(NpzSource(path).read(), label, regression)
    named = label if label is not None or regression is not None else LABEL
    samples = CsvSource(path, named, growing=False).read()
    doubts = misgivings(samples, DataSettings(), None)
    return replace(propose(samples, named, regression), doubts=tuple(map(str, doubts)))


def model_table(proposal: Proposal, origin: str) -> str:
    """`[model]` of `federation.toml`; `origin` is the file that it was proposed from."""
    lines = [f"# The model, proposed from {printable(origin)}: check it before the devices learn."]
    lines += [f"# Left out: {printable(repr(name))} {printable(why)}." for name, why in proposal.left_out]
    lines += ["[model]", f"features = {_list(proposal.features)}"]
    if proposal.classes is not None:
        lines.append(f"classes = {_list(proposal.classes)}")
    if proposal.targets is not None:
        lines.append(f"targets = {_list(proposal.targets)}")
    layers = ", ".join(
        "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in layer.model_dump().items()) + " }"
        for layer in proposal.layers
    )
    lines.append(f"layers = [{layers}]    # the output layer is added")
    return "".join(f"{line}\n" for line in lines)


def data_table(path: Path, label: str | None, regression: str | None) -> str:
    """`[data]` of the devices' `agent.toml`, for files like the one at `path`."""
    kind = "npz" if path.suffix == ".npz" else "csv"
    lines = [
        "[data]",
        f'source = "{kind}"',
        f'path = "data.{kind}"     # '
        + (
            "one file" if kind == "npz" else "one file, or a folder of them; it may grow while the agent runs"
        ),
    ]
    if kind == "csv" and regression is None:
        lines.append(f"label = {quoted(label or LABEL)}    # the column that names each row's class")
    lines.append(
        "holdout = 0.2         # the last part by time is kept to measure the model, and never trained on"
    )
    return "".join(f"{line}\n" for line in lines)


def summary(proposal: Proposal, origin: str) -> str:
    """The used columns, and the others with reasons, as lines for people."""
    count = len(proposal.features)
    lines = [f"from {origin}: {count} feature{'s' * (count > 1)} ({listing(proposal.features)})"]
    if proposal.classes is not None:
        lines.append(f"{len(proposal.classes)} classes ({listing(proposal.classes)})")
    if proposal.targets is not None:
        lines.append(f"the target {', '.join(proposal.targets)}")
    lines += [f"left out: {name!r} {why}" for name, why in proposal.left_out]
    if proposal.incomplete:
        lines.append(
            f"rows that lack a value: {proposal.incomplete}; [data] missing says what to do with them"
        )
    lines += [f"check this: {doubt}" for doubt in proposal.doubts]
    return "\n".join(printable(line) for line in lines)


def quoted(text: str) -> str:
    """A text as a basic string of TOML 1.0, which is JSON's except that it escapes the character DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(names: Sequence[str]) -> str:
    items = [quoted(name) for name in names]
    line = f"[{', '.join(items)}]"
    return line if len(line) <= WIDTH else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
