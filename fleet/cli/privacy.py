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
    from fleet.privacy.expectation import Expectation

app = typer.Typer(name="privacy", help="Plan differential privacy for the devices of a federation.")

OPEN = "what a federation does with this noise, and what not: docs/privacy.md"
CLIPS, RATES = (0.5, 2.0), (0.5, 2.0, 8.0)
"""The grid that is tried where neither clip nor rate is given: the length of the gradient that is clipped to,
and the learning rate; the clip of the change is their product."""


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
        float | None,
        typer.Option(
            help="The length that a device's change is shortened to.",
            min=1e-9,
            max=1e9,
            show_default="1; with --on the best of a few",
        ),
    ] = None,
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
    on: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Simulate the accuracy on digits, watch, a CSV or NPZ file, or a study.toml."
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="With --on: the learning rate.", min=1e-6, max=1e6, show_default="the best of a few"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="With --on: how many seeds.", min=1, max=100)] = 3,
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
      fedge privacy plan --on digits --devices 1000 --rounds 100
      fedge privacy plan --on study.toml --epsilon 2

    --on also tells the accuracy to expect, with noise that the server adds and
    without, over --seeds. Each device of the data stands for as many equal ones
    as --devices needs. Devices go one step with all of their rows in a round.
    Learning rate and clip are the best of a few with a seed of their own. The
    time that it takes is told first.

    \b
    exit codes: 0 done; 64 the call is wrong, or no noise is enough;
                65 the data cannot be read; 78 the extra 'privacy' is not
                installed, or the study cannot be used
    """
    from fedge.privacy.forecast import Wanted, forecast

    chosen = min(1e-5, 0.1 / devices) if delta is None else delta
    expected = None
    try:
        if on is not None:
            expected = expected_on(on, epsilon, chosen, rounds, devices, clip, rate, seeds)
            weights, clip = expected.weights, expected.course.clip
        elif rate is not None:
            raise ValueError("--rate is for --on, which names the data to learn from")
        found = forecast(
            Wanted(epsilon, chosen, rounds, devices, weights, 1.0 if clip is None else clip, missing)
        )
    except FedgeError as error:
        typer.echo(f"fedge privacy plan: {error}", err=True)
        sys.exit(error.exit_code)
    except ValueError as error:
        typer.echo(f"fedge privacy plan: {error}", err=True)
        sys.exit(os.EX_USAGE)
    if as_json:
        typer.echo(json.dumps(forecast_as_json(found, expected)))
    else:
        show(found, Console(), expected)


def expected_on(
    name: str,
    epsilon: float,
    delta: float,
    rounds: int,
    devices: int,
    clip: float | None,
    rate: float | None,
    seeds: int,
) -> "Expectation":
    """Simulate the accuracy on these data; how long it takes is told on standard error.

    Raises:
        FedgeError: the data cannot be used, or dp-accounting is not installed.
        ValueError: no noise is enough.
    """
    from fleet.privacy.expectation import Expecting, Question
    from fleet.privacy.study import deal_of
    from fleet.privacy.training import Course

    rates = RATES if rate is None else (rate,)
    clips = [(length * each, each) for each in rates for length in CLIPS]
    if clip is not None:
        clips = [(clip, each) for each in rates]
    courses = tuple(Course(rounds, length, each) for length, each in clips)
    question = Question(epsilon, delta, courses, tuple(range(1, seeds + 1)), devices)
    expecting = Expecting(question, deal_of(name))
    typer.echo(
        f"fedge privacy plan: {expecting.rounds:,} rounds are simulated, about {expecting.seconds():.0f} s",
        err=True,
    )
    return expecting.found()


def forecast_as_json(found: "Forecast", expected: "Expectation | None" = None) -> dict[str, Any]:
    """The forecast for programs, and what it rests on."""
    return {
        **asdict(found),
        "composition": "RDP",
        "adjacency": {"central": "add-remove", "distributed": "add-remove", "local": "replace-one"},
        "sampling": "open",
        "accuracy": None if expected is None else accuracy_as_json(expected),
    }


def accuracy_as_json(expected: "Expectation") -> dict[str, Any]:
    """The accuracy for programs: with the server's noise, and without."""
    return {
        "private": {**asdict(expected.private), "mean": expected.private.mean},
        "without": {**asdict(expected.without), "mean": expected.without.mean},
        "course": asdict(expected.course),
        "multiplier": expected.multiplier,
        "simulated_devices": expected.devices,
        "devices": expected.cohort,
    }


def show(found: "Forecast", console: Console, expected: "Expectation | None" = None) -> None:
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
    lines: tuple[str, ...] = (
        f"signal: the mean change of {wanted.devices:,} devices is {found.agreed:.3g} long if all agree, "
        f"which is {found.agreed / wanted.weights**0.5:.3g} in a weight, and {found.unlike:.3g} if they have "
        "nothing in common",
        f"composition: RDP over {wanted.rounds:,} rounds, discrete Gaussian noise, no amplification by "
        "sampling; one device more or less (alone: one value in another's place)",
        f"open: {OPEN}",
    )
    if expected is not None:
        lines = (*accuracy_lines(expected), *lines)
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def accuracy_lines(expected: "Expectation") -> tuple[str, ...]:
    """The accuracy in words, and what it rests on."""
    private, without, course = expected.private, expected.without, expected.course
    seeds = len(private.by_seed)
    return (
        f"accuracy to expect: {private.mean:.3f} ± {private.spread:.3f} with noise added by the server, "
        f"{without.mean:.3f} ± {without.spread:.3f} without noise ({seeds} seeds)",
        f"simulated: {expected.devices:,} devices, each for {expected.cohort // expected.devices:,} equal "
        f"ones of {expected.cohort:,}; {course.rounds:,} rounds of one step with all rows, learning rate "
        f"{course.rate:g}, clip {course.clip:g}",
    )
