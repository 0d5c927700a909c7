"""`fedge init`: a federation's folder is made."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.pki.command import reporting
from fleet.cli.pki.reach import is_here_only, unreached

if TYPE_CHECKING:
    pass

app = typer.Typer()


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="The federation's name: a-z, 0-9 and hyphens, at most 31.")],
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="The broker's name or address for devices; more than one: the first is told. Without it "
            "only this machine reaches the broker."
        ),
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Where to make it; by default ./NAME.")] = None,
    beside: Annotated[
        Path | None, typer.Option(help="A federation's folder whose authority and broker serve this one too.")
    ] = None,
    port: Annotated[int, typer.Option(help="Where those who have a certificate connect.", min=1)] = 8883,
    provisioning_port: Annotated[
        int, typer.Option(help="Where those who ask for a certificate connect.", min=1)
    ] = 8884,
    ca_days: Annotated[int, typer.Option(help="How long the authority lasts.", min=1)] = 20 * 365,
    server_days: Annotated[int, typer.Option(help="How long a server's certificate lasts.", min=1)] = 730,
    device_days: Annotated[int, typer.Option(help="How long a device's certificate lasts.", min=1)] = 365,
    like: Annotated[
        Path | None,
        typer.Option(
            help="A CSV, a folder of them or an .npz: propose from it what is learnt. Or the folder that "
            "`fedge try` made: take up what was tried there."
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="With --like: the CSV's column of class names.", show_default="label")
    ] = None,
    regression: Annotated[
        str | None, typer.Option(help="With --like: the column to predict as a number, instead of classes.")
    ] = None,
) -> None:
    """Make a federation's folder: authority, identities, signing key, configuration; overwrites nothing.

    Run again it completes what is missing, and tells the broker of topics that a newer version has.
    To replace a key that others saw, remove its file and run this again: its certificate counts no more.

    With --like it says which columns it took, which it left out and why.

    \b
      fedge init phones --like out/try                         what `fedge try` has tried
      fedge init phones --like data.csv --label activity       proposed from one file
    """
    if like is None and (label is not None or regression is not None):
        raise typer.BadParameter("--label and --regression are a file's: they go with --like")
    if label is not None and regression is not None:
        raise typer.BadParameter("--label is for classes and --regression for a number: give one of them")
    from fleet.pki.folder import FederationFolder
    from fleet.pki.init_federation import found
    from fleet.pki.init_options import Founding
    from fleet.pki.renewal import ignored

    root = folder or Path(name)
    founding = Founding(
        name, host or ["localhost"], port, provisioning_port, ca_days, server_days, device_days
    )
    with reporting("init"):
        told = ""
        if like is not None:
            from fleet.trial.settings import is_trial, tried

            if is_trial(like):
                if label is not None or regression is not None:
                    raise typer.BadParameter("the trial has its own --label or --regression: leave it out")
                trial = tried(like)
                told = trial.summary
                founding = replace(founding, model=trial.model, learning=trial.learning, data=trial.data)
            else:
                from fleet.trial.settings_text import data_table, model_table, proposed, summary

                proposal = proposed(like, label, regression)
                told = summary(proposal, like.name)
                founding = replace(
                    founding,
                    model=model_table(proposal, like.name),
                    data=data_table(like, label, regression),
                )
        made = found(
            FederationFolder(root), founding, FederationFolder(beside) if beside is not None else None
        )
        unused = ignored(FederationFolder(root), host or ())
        here_only = is_here_only(FederationFolder(root))
    for path in made:
        typer.echo(path)
    if not made:
        typer.echo(f"{root} is complete; nothing was changed")
    elif here_only and FederationFolder(root).mosquitto_conf in made:
        typer.echo("the broker listens on this machine only: for devices elsewhere use --host", err=True)
    if told:
        typer.echo(told, err=True)
        for path in (FederationFolder(root).settings, FederationFolder(root).device_settings):
            if path not in made:
                typer.echo(f"{path} was there before, so --like has not changed it", err=True)
    if unused:
        hosts = "--host " + " --host ".join(unused)
        typer.echo(
            f"{hosts} was ignored, as the broker had its certificate before: "
            f"`fedge renew {hosts} --folder {root}` adds to it; "
            f"{FederationFolder(root).registrar_settings} says where devices find the broker"
            + (f"; {unreached(FederationFolder(root))}" if here_only else ""),
            err=True,
        )
