"""The terminal's output of a trial: the proposal, the figures, the verdict, and the next steps."""

import shlex
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fedge.service.escapes import printable
from fleet.trial.result import Trial
from fleet.trial.words import proposed

SHOWN = 24
"""Devices in the table; the report and --json have all."""
WIDTH = 10
"""The width of the names before their texts."""


def show(trial: Trial, console: Console) -> None:
    """Print the result of a trial."""
    for name, text in proposed(trial.proposal).items():
        _say(console, f"{name:>{WIDTH}}  {text}")
    console.print(_figures(trial))
    console.print(_devices(trial))
    if len(trial.devices) > SHOWN:
        _say(console, f"and {len(trial.devices) - SHOWN} more devices: see the report")
    for warning in trial.warnings:
        _say(console, f"warning: {warning}", "yellow")
    _say(console, trial.conclusion.title, "bold")
    for sentence in trial.conclusion.sentences:
        _say(console, sentence)
    for name, text in _files(trial):
        _say(console, f"{name:>{WIDTH}}  {text}")


def _figures(trial: Trial) -> Table:
    outcome, figures = trial.outcome, trial.figures
    shown = outcome.figure.shown
    table = Table()
    table.add_column("training")
    table.add_column(
        f"{outcome.figure.title} on the {outcome.held_out} held-out rows of all devices", justify="right"
    )
    table.add_row(f"alone (mean of {len(outcome.alone)} devices' own models)", shown(figures.alone))
    table.add_row(f"together ({outcome.rounds} rounds)", shown(figures.together))
    table.add_row("all data in one place", shown(figures.central))
    table.add_row(trial.constant, shown(figures.constant))
    return table


def _devices(trial: Trial) -> Table:
    shown = trial.outcome.figure.shown
    table = Table(title=f"{trial.outcome.figure.title} on each device's own held-out rows")
    table.title_justify = "left"
    table.add_column("device", no_wrap=True)
    table.add_column("from")
    for name in ("rows", "held out", "together", "alone", "central"):
        table.add_column(name, justify="right")
    leaves = any(one.without is not None for one in trial.devices)
    if leaves:
        table.add_column("without", justify="right")
    for one in trial.devices[:SHOWN]:
        cells = [one.device, printable(one.origin), str(one.training), str(one.held_out), shown(one.together)]
        cells += ["–" if one.alone is None else shown(one.alone), shown(one.central)]
        if leaves:
            cells.append("–" if one.without is None else shown(one.without))
        table.add_row(*(cell.replace("[", r"\[") for cell in cells))
    return table


def _files(trial: Trial) -> list[tuple[str, str]]:
    """The paths of the files, and the next commands, each with its title."""
    folder = trial.settings.parent
    agent = shlex.quote(_short(next(iter(trial.agents.values()))))
    return [
        ("report", _short(trial.outcome.report)),
        ("model", _short(trial.outcome.onnx)),
        (
            "settings",
            f"{_short(trial.settings)}, and agent.toml of each device in {_short(folder / 'devices')}",
        ),
        ("predict", f"fedge-agent --config {agent} predict NEW.csv"),
        ("take up", f"fedge init NAME --like {shlex.quote(_short(folder))}"),
    ]


def _short(path: Path) -> str:
    """A path relative to the current folder, if it is in there."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(printable(text), style=style, markup=False, highlight=False, soft_wrap=True)
