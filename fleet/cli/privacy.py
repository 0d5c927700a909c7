"""`fedge privacy`: what differential privacy would cost."""

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fedge.errors import FedgeError

if TYPE_CHECKING:
    from fedge.privacy.forecast import Forecast, Noise

app = typer.Typer(name="privacy", help="Plan differential privacy for the devices of a federation.")

OPEN = "no federation adds this noise yet, and what it costs in accuracy is not simulated: docs/privacy.md"


@app.callback()
def privacy() -> None:
    """Plan differential privacy for the devices of a federation."""


@app.command()
def plan(
    epsilon: Annotated[
        float, typer.Option(help="ε for the whole training: 1 is strong, 8 is weak.", min=1e-3, max=100)
    ] = 4.0,
    rounds: Annotated[int, typer.Option(help="Rounds of training.", min=1, max=10**6)] = 200,
    devices: Annotated[
        int, typer.Option(help="Devices that take part in each round.", min=1, max=10**9)
    ] = 10_000,
    weights: Annotated[int, typer.Option(help="The model's weights.", min=1, max=10**10)] = 10_000,
    clip: Annotated[
        float, typer.Option(help="The length that a device's change is shortened to.", min=1e-9, max=1e9)
    ] = 1.0,
    delta: Annotated[
        float | None,
        typer.Option(help="δ.", show_default="1e-5, and at most a tenth of 1 / devices", min=1e-100, max=0.5),
    ] = None,
    missing: Annotated[
        float,
        typer.Option(
            help="With distributed noise: the share of devices that drop out, or help the server.",
            min=0,
            max=0.99,
        ),
    ] = 0.2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Tell how much noise an ε takes, beside what the devices' mean can say.

    It is for whoever decides whether a federation can afford differential
    privacy, before there is one. ε bounds what anybody can learn about whether
    one device took part, from all models of all rounds: with ε = 1 no observer's
    odds change by more than a factor of 2.7, with ε = 4 of 55, but for a
    probability of δ.

    \b
      fedge privacy plan --epsilon 4 --rounds 200 --devices 10000

    A device's change of the weights is shortened to the length --clip, and noise
    is added to the sum. Ten times as many devices mean a tenth of the noise in
    the mean. Four times as many rounds mean twice the noise. A larger model means
    a longer noise, and no longer a signal. Nothing is gained here by drawing a
    few devices for each round: that helps only where nobody sees who is drawn.

    The noise can be added by the server, which then sees each update; by the
    devices in shares that only their sum reveals (distributed); or by each
    device alone (local).

    \b
    exit codes: 0 done; 64 the call is wrong, or no noise is enough;
                78 the extra 'privacy' is not installed
    """
    from fedge.privacy.forecast import Wanted, forecast

    chosen = min(1e-5, 0.1 / devices) if delta is None else delta
    try:
        found = forecast(Wanted(epsilon, chosen, rounds, devices, weights, clip, missing))
    except FedgeError as error:
        typer.echo(f"fedge privacy plan: {error}", err=True)
        sys.exit(error.exit_code)
    except ValueError as error:
        typer.echo(f"fedge privacy plan: {error}", err=True)
        sys.exit(os.EX_USAGE)
    if as_json:
        typer.echo(json.dumps(forecast_as_json(found)))
    else:
        show(found, Console())


def forecast_as_json(found: "Forecast") -> dict[str, Any]:
    """The forecast for programs, and what it rests on."""
    return {
        **asdict(found),
        "composition": "RDP",
        "adjacency": {"central": "add-remove", "distributed": "add-remove", "local": "replace-one"},
        "sampling": "open",
        "accuracy": None,
        "integrated": False,
    }


def show(found: "Forecast", console: Console) -> None:
    """Print the noise of each way, what it stands beside, and what is not known."""
    wanted = found.wanted
    table = Table(title=f"ε = {wanted.epsilon:g} at δ = {wanted.delta:g}", title_justify="left")
    table.add_column("noise added by")
    for name in ("noise multiplier", "noise in a weight", "length of the noise", "noise / signal"):
        table.add_column(name, justify="right")
    ways: dict[str, Noise] = {
        "the server": found.central,
        "devices, in shares": found.distributed,
        "each device alone": found.local,
    }
    for name, noise in ways.items():
        cells = (noise.multiplier, noise.per_weight, noise.length, noise.length / found.agreed)
        table.add_row(name, *(f"{cell:.3g}" for cell in cells))
    console.print(table)
    lines = (
        f"signal: the mean change of {wanted.devices:,} devices is {found.agreed:.3g} long if all agree, "
        f"which is {found.agreed / wanted.weights**0.5:.3g} in a weight, and {found.unlike:.3g} if they have "
        "nothing in common",
        f"composition: RDP over {wanted.rounds:,} rounds, discrete Gaussian noise, no amplification by "
        "sampling; one device more or less (alone: one value in another's place)",
        f"open: {OPEN}",
    )
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
