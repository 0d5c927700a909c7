"""`fedge try` and its options."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fleet.cli.interruption import interruptible

app = typer.Typer(rich_markup_mode=None)


@app.command("try")
def try_(
    place: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A CSV or a folder of CSVs for each device; or one file.")
    ],
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of the class names.")
    ] = None,
    regression: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Instead of --label: a column of numbers to predict.")
    ] = None,
    devices_from: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Split by this column, which names the device of each row."),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The column of recordings; each is divided by itself."),
    ] = None,
    features: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Learn from these columns; default: proposed.")
    ] = None,
    holdout: Annotated[
        float, typer.Option(help="The share of the rows that is kept for measuring.", min=0.05, max=0.8)
    ] = 0.2,
    by: Annotated[
        str | None,
        typer.Option(
            help="Which rows those are: time (the last), every (each n-th), random, series; default: time, "
            "and every where files are sorted by class."
        ),
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(
            help="Rows with a missing value: refuse, drop or fill; default: fill where there are some."
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A further key of section data in every agent.toml: gap=1."),
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of training; default: 60.", min=1)] = None,
    seconds: Annotated[
        float | None, typer.Option(help="End after about this many seconds, with the results so far.", min=5)
    ] = None,
    leave_one_out: Annotated[
        bool, typer.Option("--leave-one-out", help="Also measure the model on devices that it never saw.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same model, bit for bit.", min=0)] = 1,
    out: Annotated[Path, typer.Option(help="The folder for everything that is made.")] = Path("out/try"),
    broker: Annotated[
        str, typer.Option(help="auto, mosquitto, iotcore (embedded), or mqtt://host:port of one that runs.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Try on this machine, with your own files, whether it pays to let your devices learn together.

    \b
      fedge try data/ --label activity           a CSV or a folder for each device
      fedge try all.csv --label activity --devices-from phone
      fedge try stations/ --regression pm25 --missing drop --seconds 60

    It proposes features, classes and a network; runs a broker, the aggregator
    and the devices as they run in the field; and compares the shared model with
    what each device learns alone, and with all data in one place. The result is
    a verdict with its reasons, report.html, model.onnx, and federation.toml and
    agent.toml to take into use. Nothing leaves this machine, and your files are
    only read.

    \b
    exit codes: 0 done, whatever the verdict; 64 the options are wrong;
                65 the files cannot be used; 78 --out or --broker cannot be
                used; 130 Ctrl-C
    """
    from fleet.cli.data_options import data_options, with_hint
    from fleet.demo.progress import Bar, Silent
    from fleet.trial.options import ELSEWHERE, Options
    from fleet.trial.proposal import ROUNDS, Wish
    from fleet.trial.run import run
    from fleet.trial.terminal import show

    with interruptible("fedge try", with_hint):
        _check_choice("--missing", missing, ("refuse", "drop", "fill"))
        _check_choice("--by", by, ("time", "every", "random", "series"))
        options = Options(
            place=place,
            wish=Wish(
                label=label,
                target=regression,
                series=series,
                features=None if features is None else tuple(name.strip() for name in features.split(",")),
                holdout=holdout,
                by=by,
                missing=missing,
                rounds=rounds,
            ),
            out=out,
            devices_from=devices_from,
            data=data_options(data or (), ELSEWHERE),
            leave_one_out=leave_one_out,
            seconds=seconds,
            seed=seed,
            broker=broker,
        )
        if as_json:
            typer.echo(json.dumps(run(options, Silent()).as_json()))
        else:
            console = Console()
            with Bar(rounds or ROUNDS, 0, console) as bar:
                trial = run(options, bar)
            show(trial, console)


def _check_choice(option: str, value: str | None, choices: tuple[str, ...]) -> None:
    from fleet.trial.usage import UsageError

    if value is not None and value not in choices:
        raise UsageError(f"{option} {value}: expected {', '.join(choices)}")
