"""The commands of `fedge` and their options."""

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from typer.core import TyperGroup

import fedge
from fedge.errors import FedgeError
from fedge.service import interrupts
from fedge.service.collision import ADVICE, collisions
from fleet.cli import evaluation, privacy, registrar, signing, simulation, study
from fleet.cli.interruption import interruptible
from fleet.cli.pki.app import app as identities
from fleet.trial import cli as cli_trial

if TYPE_CHECKING:
    from fleet.demo.outcome import Outcome
    from fleet.demo.own_models import OwnModels

TYPERS_USAGE = 2
"""Typer's exit code for a wrong call."""


class Commands(TyperGroup):
    """All commands. After a wrong call or Ctrl-C the exit code is the same as in the other programs."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command that the arguments name."""
        try:
            return super().main(*arguments, **options)
        except SystemExit as end:
            if end.code == TYPERS_USAGE:
                sys.exit(os.EX_USAGE)
            why = end.__context__
            if isinstance(why, typer.Abort) or (isinstance(why, typer.Exit) and end.code == interrupts.CODE):
                raise KeyboardInterrupt from None  # typer turned that into an exit code without a message
            raise


app = typer.Typer(
    name="fedge",
    cls=Commands,
    help="Teach one model to a fleet of small devices without moving their data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(evaluation.app)
app.add_typer(cli_trial.app)
app.add_typer(simulation.app)
app.add_typer(study.app)
app.add_typer(privacy.app)
app.add_typer(identities)
app.add_typer(signing.app)
app.add_typer(registrar.app)


class DatasetName(StrEnum):
    """The data sets of the demo."""

    WATCH = "watch"
    DIGITS = "digits"


class PersonalName(StrEnum):
    """The personal models of the demo: those that leave the shared model whole."""

    FINETUNE = "finetune"
    DITTO = "ditto"
    NONE = "none"


@app.callback(invoke_without_command=True)
def fedge_command(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Teach one model to a fleet of small devices without moving their data."""
    if version:
        typer.echo(fedge.__version__)
        raise typer.Exit
    for sentence in collisions():
        typer.echo(f"warning: {sentence}: {ADVICE}", err=True)


@app.command()
def demo(
    devices: Annotated[int, typer.Option(help="How many devices; each is a process.", min=1)] = 20,
    rounds: Annotated[int, typer.Option(help="How many rounds of training.", min=1)] = 60,
    seed: Annotated[int, typer.Option(help="The same seed gives the same model, bit for bit.", min=0)] = 1,
    out: Annotated[Path, typer.Option(help="The folder for everything that is made.")] = Path("out/demo"),
    dataset: Annotated[
        DatasetName, typer.Option(help="Smart watches, or digits dealt out by label.")
    ] = DatasetName.WATCH,
    broker: Annotated[
        str, typer.Option(help="auto, mosquitto, iotcore (embedded), or mqtt://host:port of one that runs.")
    ] = "auto",
    personal: Annotated[
        PersonalName, typer.Option(help="The devices' personal model; none: FedAvg alone.")
    ] = PersonalName.FINETUNE,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Show a whole federation at work on this machine, with data that Fedge brings along.

    It starts a broker, the aggregator and a process for every device, and
    compares the shared model with what each device learns alone. The devices
    also have personal models, and say whether they are worse off than alone. It
    is for a first look; `fedge try` does the same with your own files.

    \b
      fedge demo --dataset digits --devices 8 --rounds 6
    """
    from fleet.demo.progress import Bar, Silent
    from fleet.demo.run import Options, run

    options = Options(out, dataset.value, devices, rounds, seed, broker, personal.value)
    with interruptible("fedge demo"):
        if as_json:
            outcome = run(options, Silent())
            typer.echo(json.dumps(outcome.as_json()))
        else:
            console = Console()
            with Bar(rounds, devices, console) as bar:
                outcome = run(options, bar)
            _print(outcome, console)


@app.command()
def replay(
    number: Annotated[
        int, typer.Argument(metavar="ROUND", help="The round's number; 0 is the survey.", min=0)
    ],
    config: Annotated[Path, typer.Option(help="The aggregator's configuration.")] = Path("federation.toml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Compute a kept round again from the ledger, and compare its model with the announced one.

    It is for operators and auditors: it also lists the devices that counted,
    with their samples. It only reads, and the aggregator may work meanwhile. It
    exits with 1 if the models differ.

    \b
      fedge replay 12 --config federation.toml
    """
    from fleet.cli import replay as replaying

    try:
        replayed = replaying.run(config, number)
    except FedgeError as error:
        typer.echo(f"fedge replay: {error}", err=True)
        sys.exit(error.exit_code)
    if as_json:
        typer.echo(json.dumps(replaying.as_json(replayed)))
    else:
        replaying.show(replayed, Console())
    sys.exit(0 if replayed.same else 1)


@app.command()
def verdicts(
    number: Annotated[
        int | None,
        typer.Option(
            "--round", help="The round's number.", min=0, show_default="the newest closed round of training"
        ),
    ] = None,
    config: Annotated[Path, typer.Option(help="The aggregator's configuration.")] = Path("federation.toml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Show the verdict on each device's update in a round, how much it counted, and how far it lay.

    It is for operators. 'counted' is the part of the update that the bounds and
    the rule let count. 'distance' is in median distances of the round; a device
    that is far in update after update has a rare site, a broken sensor, or lies.
    It only reads, and the aggregator may work meanwhile.

    \b
      fedge verdicts --round 12 --config federation.toml
    """
    from fleet.cli import verdicts as showing

    try:
        found = showing.run(config, number)
    except FedgeError as error:
        typer.echo(f"fedge verdicts: {error}", err=True)
        sys.exit(error.exit_code)
    if as_json:
        typer.echo(json.dumps(showing.as_json(found)))
    else:
        showing.show(found, Console())


@app.command()
def world(
    seeds: Annotated[
        str, typer.Option(help="The worlds' seeds: FIRST:END (without END), or one number.")
    ] = "0:1000",
    devices: Annotated[int, typer.Option(help="Devices in each.", min=2)] = 5,
    rounds: Annotated[int, typer.Option(help="Rounds of training in each.", min=1)] = 5,
    jobs: Annotated[
        int | None, typer.Option(help="Processes that run worlds at once.", min=1, show_default="one a core")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Run the programs in simulated worlds with many faults, and check invariants after every event.

    It is for developers of Fedge. Each world follows from its seed alone, so a
    violation can be repeated. It exits with 1 if an invariant breaks.

    \b
      fedge world --seeds 0:150
    """
    from fleet.simulator.campaign import Size, run_parallel, story

    first, colon, end = seeds.partition(":")
    try:
        chosen = range(int(first), int(end) if colon else int(first) + 1)
    except ValueError:
        raise typer.BadParameter(f"{seeds!r}: expected FIRST:END or a number", param_hint="--seeds") from None
    if not chosen:
        raise typer.BadParameter(f"{seeds!r}: contains no seed; END itself is left out", param_hint="--seeds")
    size = Size(devices, rounds)
    tally = run_parallel(chosen, size, jobs or len(os.sched_getaffinity(0)))
    if as_json:
        typer.echo(json.dumps(tally.as_json()))
    else:
        typer.echo(
            f"{tally.worlds} worlds, {tally.events} events, {len(tally.violations)} violations, "
            f"{tally.worlds_per_s:.1f} worlds per second and core"
        )
        for kind, times in tally.faults.items():
            typer.echo(f"{times:>8}  {kind}")
        for outcome in tally.violations:
            typer.echo(f"\n{story(outcome)}")
    if tally.violations:
        raise typer.Exit(1)


def own_rows(own: "OwnModels") -> Table:
    """The table of the models on each device's own held-out rows."""
    table = Table(title="each device on its own held-out rows", title_justify="left")
    table.add_column("model")
    table.add_column("mean", justify="right")
    table.add_column("worst device", justify="right")
    for name, which in (("alone", "alone"), ("shared", "shared"), (f"its own ({own.name})", "used")):
        table.add_row(name, f"{own.mean(which):.3f}", f"{own.worst(which):.3f}")
    return table


def _print(outcome: "Outcome", console: Console) -> None:
    """Print the short table and the paths of the files."""
    console.print(
        f"[bold]{outcome.title}[/bold]: accuracy on {outcome.held_out} held-out samples",
        highlight=False,
        soft_wrap=True,
    )
    table = Table()
    table.add_column("training")
    table.add_column("accuracy", justify="right")
    table.add_row(f"alone (mean of {outcome.devices} devices)", f"{outcome.alone_mean:.3f}")
    table.add_row(f"together ({outcome.rounds} rounds)", f"[bold]{outcome.together:.3f}[/bold]")
    table.add_row("all data in one place", f"{outcome.central:.3f}")
    console.print(table)
    if outcome.own is not None:
        console.print(own_rows(outcome.own))
        promise = f"{outcome.own.worse_off} of {len(outcome.own.devices)}"
        console.print(
            f"worse off than alone: [bold]{promise}[/bold] devices by more than one row; with the shared "
            f"model {outcome.own.shared_worse_off}",
            highlight=False,
            soft_wrap=True,
        )
    traffic, median_ms = outcome.traffic, outcome.seconds_per_round_median * 1000
    console.print(
        f"{outcome.rounds} rounds of {outcome.devices} devices over {outcome.broker}: "
        f"{outcome.seconds:.1f} s, median {median_ms:.0f} ms a round, "
        f"{decimal(traffic.up)} up, {decimal(traffic.down)} down",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"ONNX differs from the devices' own model by at most {outcome.onnx_max_abs_diff:.1e}",
        highlight=False,
    )
    for path in (outcome.safetensors, outcome.onnx, outcome.manifest, outcome.report):
        console.print(f"  {path}", highlight=False, soft_wrap=True)
