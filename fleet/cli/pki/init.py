"""`fedge init`: make a federation's folder."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fleet.cli.pki.command import reporting
from fleet.cli.pki.reach import is_here_only, unreached

app = typer.Typer()


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="The federation's name: a-z, 0-9 and hyphens, at most 31.")],
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="The broker's name or address for devices; of several they use the first. Without it "
            "only this machine can reach the broker."
        ),
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Where to make it; by default ./NAME.")] = None,
    beside: Annotated[
        Path | None, typer.Option(help="A federation's folder whose authority and broker serve this one too.")
    ] = None,
    port: Annotated[
        int, typer.Option(help="The broker's port for clients with a certificate.", min=1)
    ] = 8883,
    provisioning_port: Annotated[
        int, typer.Option(help="The broker's port for devices that request one.", min=1)
    ] = 8884,
    ca_days: Annotated[int, typer.Option(help="Days for which the authority is valid.", min=1)] = 20 * 365,
    server_days: Annotated[
        int, typer.Option(help="Days for which a server's certificate is valid.", min=1)
    ] = 730,
    device_days: Annotated[
        int, typer.Option(help="Days for which a device's certificate is valid.", min=1)
    ] = 365,
    like: Annotated[
        Path | None,
        typer.Option(
            help="A CSV, a folder of them or an .npz: propose the model from it. Or the folder that "
            "`fedge try` made: use the settings that were tried there."
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="With --like: the CSV's column of class names.", show_default="label")
    ] = None,
    regression: Annotated[
        str | None, typer.Option(help="With --like: the column to predict as a number, instead of classes.")
    ] = None,
) -> None:
    """Make a federation's folder with authority, identities, signing key and configuration.

    It is the operator's first command. It overwrites nothing: run again, it
    adds what is missing, and tells the broker about topics of a newer version.
    To replace a key that others have seen, remove its file and run this again:
    then its old certificate is refused.

    With --like it prints which columns it uses, and which it leaves out and
    why.

    \b
      fedge init phones --like out/try                         settings of a trial
      fedge init phones --like data.csv --label activity       proposal from one file
    """
    if like is None and (label is not None or regression is not None):
        raise typer.BadParameter("--label and --regression describe a file: use them with --like")
    if label is not None and regression is not None:
        raise typer.BadParameter("--label is for classes and --regression for a number: use one of them")
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
                typer.echo(f"{path} existed before, so --like has not changed it", err=True)
    if unused:
        hosts = "--host " + " --host ".join(unused)
        typer.echo(
            f"{hosts} was ignored, because the broker already had its certificate: "
            f"`fedge renew {hosts} --folder {root}` adds to it; "
            f"{FederationFolder(root).registrar_settings} says where devices find the broker"
            + (f"; {unreached(FederationFolder(root))}" if here_only else ""),
            err=True,
        )
