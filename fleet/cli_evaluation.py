"""`fedge evaluate`: how good an exported model is on a file."""

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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Say how good a model is where answers are known: by class, or by target beside always the mean.

    Columns are found by the names that stand in the model. Take rows that it was not trained on.
    """
    from fedge import scorecard
    from fedge.escapes import printable
    from fleet import evaluation

    try:
        found = evaluation.evaluate(model, data, label)
    except FedgeError as error:
        typer.echo(f"fedge evaluate: {error}", err=True)
        sys.exit(error.exit_code)
    if as_json:
        document = {
            "federation": found.federation,
            "generation": found.generation,
            "round": found.round,
            "gaps": found.gaps,
            **scorecard.as_json(found.scores, found.left_out),
        }
        typer.echo(json.dumps(document, allow_nan=False, indent=2))
        return
    whose = f"{found.generation}.{found.round}" if found.round is not None else "?"
    typer.echo(f"{printable(found.federation)}, the model of round {whose}: ", nl=False)
    typer.echo(scorecard.as_text(found.scores, found.left_out), nl=False)
    if found.gaps:
        typer.echo(f"rows with a missing value, given to the model as they are: {found.gaps}")
