"""`fedge simulate` and its options."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fleet.cli.interruption import interruptible

app = typer.Typer(rich_markup_mode=None)


@app.command()
def simulate(
    file: Annotated[
        Path, typer.Argument(metavar="STUDY.TOML", help="What is compared; see docs/simulate.md.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The folder for everything that is made.", show_default="out/study/NAME"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the runs that are not done yet.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(help="Runs at once; each is a process.", min=1, show_default="one a core")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Compare algorithms without a network: over seeds, and one grid of learning rates for all.

    \b
      fedge simulate examples/study.toml
      fedge simulate study.toml --out out/mine --resume

    The devices are dealt the rows of one data set: by a column, at random, by
    label shards or by Dirichlet's distribution. They learn with the functions
    of the real programs. The results are a table, report.html and result.json.
    Ctrl-C keeps the runs that are done, and --resume goes on from there.

    \b
    exit codes: 0 done; 64 the call is wrong; 65 the data cannot be read;
                70 a run cannot be done; 74 the results cannot be read or
                written; 78 study.toml or --out cannot be used; 130 Ctrl-C
    """
    from fedge.errors import FedgeError
    from fleet.study.book import Book
    from fleet.study.report import extent, unequal
    from fleet.study.settings import StudySettings
    from fleet.study.study import REPORT, Show, Study, folder_of, run
    from fleet.study.study import as_json as told_as_json
    from fleet.study.terminal import Display, shown, shown_own

    console = Console()
    with interruptible("fedge simulate"):
        settings = StudySettings.load(file)
        study = Study.checked(settings)
        folder = folder_of(settings, out)
        with (Book.resume if resume else Book.new)(folder, settings, study.data) as book:

            @contextmanager
            def display(runs: int) -> Iterator[Show]:
                if as_json:
                    yield lambda told: None
                    return
                most = settings.study
                with Display(runs, most.rounds, console, seconds=most.seconds) as shows:
                    yield shows.show

            try:
                found = run(study, book, jobs or len(os.sched_getaffinity(0)), display)
            except (KeyboardInterrupt, FedgeError):
                typer.echo(
                    f"fedge simulate: {len(book.runs)} runs are kept in {folder}; go on with --resume",
                    err=True,
                )
                raise
            if as_json:
                typer.echo(json.dumps(told_as_json(study, found, book)))
                return
            console.print(
                f"[bold]{settings.study.name}[/bold]: {study.devices} devices with {study.training} rows"
                f"{f' and {study.held} held-out rows' if study.held else ''}, "
                f"{study.test} test rows, {len(book.runs)} runs of {extent(study)}",
                highlight=False,
                soft_wrap=True,
            )
            console.print(shown(found))
            if text := unequal(study, book.runs):
                console.print(text, highlight=False, markup=False, soft_wrap=True)
            if (own := shown_own(found)) is not None:
                console.print("The models that devices use, on the rows that they hold out:")
                console.print(own)
            console.print(f"  {folder / REPORT}", highlight=False, soft_wrap=True)
