"""The commands of `fedge` for simulated devices: `deal` makes their data, `relay` a bad network."""

import signal
import sys
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from fedge.errors import ConfigError, FedgeError

app = typer.Typer()


@app.command()
def deal(
    folder: Annotated[Path, typer.Argument(help="The folder in which each device gets its own.")],
    devices: Annotated[int, typer.Option(help="The number of devices.", min=1)] = 20,
) -> None:
    """Write real data for simulated devices: shoulder exercises that smart watches recorded.

    It is for trying Fedge without data of your own. Each device gets the data
    of one wrist. Existing files stay as they are.

    \b
      fedge deal data/ --devices 20
    """
    from fleet.datasets import load_watch
    from fleet.demo.partition import deal as deal_out

    try:
        new = deal_out(load_watch(devices), folder)
    except FedgeError as error:
        typer.echo(f"fedge deal: {error}", err=True)
        sys.exit(error.exit_code)
    typer.echo(f"{folder}: data of {devices} devices, {new} of them new")


@app.command()
def relay(
    target: Annotated[
        str, typer.Argument(metavar="HOST", help="The broker's machine; its ports are those of --listen.")
    ],
    listen: Annotated[list[str], typer.Option(metavar="ADDRESS:PORT", help="Where devices connect.")],
    trouble: Annotated[
        str,
        typer.Option(
            help="none, all, or several separated by commas: delay, slow, partition, half-open. (crash is "
            "accepted and ignored: the program that starts the devices does that.)"
        ),
    ] = "none",
    seed: Annotated[
        int, typer.Option(help="The same seed gives the same faults at the same times.", min=0)
    ] = 1,
) -> None:
    """Relay the traffic between devices and a broker, and inject network faults.

    It is for tests of a fleet: let the devices connect to the relay instead of
    the broker.

    \b
      fedge relay localhost --listen 0.0.0.0:8884 --trouble delay,partition
    """
    from fedge.service.logs import tell
    from fleet.demo import network_faults as troubles

    tell()
    stopped = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        kinds = troubles.parse(trouble)
        addresses = [_address(text) for text in listen]
        troubles.relay(target, addresses, kinds, seed, sleeps=lambda seconds: not stopped.wait(seconds))
    except FedgeError as error:
        typer.echo(f"fedge relay: {error}", err=True)
        sys.exit(error.exit_code)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ConfigError(f"--listen {text}: expected ADDRESS:PORT, as in 0.0.0.0:8883")
    return host.strip("[]"), int(port)
