"""`fedge evaluate`: score an exported model on a file."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fedge.errors import FedgeError

app = typer.Typer()


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL.ONNX", help="As the aggregator exports it.")],
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="A CSV, a folder of them or an .npz, with the true answers."),
    ],
    label: Annotated[
        str | None, typer.Option(help="A CSV's column of class names.", show_default="label")
    ] = None,
    said: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="KEY=VALUE",
            help="A key of the section data of agent.toml: first_class=1, missing_values=[-9999].",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Score an exported model on rows whose answers are known: by class, or by target.

    It is for users of a model. For a regression the output also has the errors
    of always answering the mean. Columns are matched by the names in the model.
    Use rows on which it was not trained.

    \b
      fedge evaluate out/try/model.onnx new.csv --label activity
    """
    from fedge.data import scorecard
    from fedge.service.escapes import printable
    from fleet import evaluation
    from fleet.cli.data_options import HINT, data_options, names_a_key, with_hint

    try:
        found = evaluation.evaluate(model, data, label, data_options(said or (), evaluation.ELSEWHERE))
    except FedgeError as error:
        typer.echo(f"fedge evaluate: {with_hint(str(error))}", err=True)
        sys.exit(error.exit_code)
    for warning in found.warnings:
        typer.echo(f"warning: {printable(warning)}", err=True)
    if any(map(names_a_key, found.warnings)):
        typer.echo(HINT, err=True)
    if as_json:
        document = {
            "federation": found.federation,
            "generation": found.generation,
            "round": found.round,
            "gaps": found.gaps,
            "warnings": list(found.warnings),
            **scorecard.as_json(found.scores, found.left_out),
        }
        typer.echo(json.dumps(document, allow_nan=False, indent=2))
        return
    whose = f"{found.generation}.{found.round}" if found.round is not None else "?"
    typer.echo(f"{printable(found.federation)}, the model of round {whose}: ", nl=False)
    typer.echo(scorecard.as_text(found.scores, found.left_out), nl=False)
    if found.gaps:
        typer.echo(f"rows with a missing value, given to the model as they are: {found.gaps}")
