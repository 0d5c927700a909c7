"""The report of a fleet on this machine: one HTML file that needs no network."""

import html
from pathlib import Path
from string import Template

from rich.filesize import decimal

from fleet.demo import look, own_report, report_figures
from fleet.demo.figure import ACCURACY
from fleet.demo.look import ALONE, FONT, INK, TOGETHER
from fleet.demo.outcome import Outcome

_PAGE = Path(__file__).with_name("report.html")


def render(outcome: Outcome, verdict: str = "", details: str = "") -> str:
    """The whole page, with plotly's own code in it (about 5 MB).

    Args:
        outcome: the data of the report.
        verdict: HTML before the figures.
        details: HTML sections after them.
    """
    figures = [
        report_figures.accuracy_figure(outcome),
        report_figures.loss_figure(outcome),
        report_figures.bytes_figure(outcome),
        report_figures.devices_figure(outcome),
    ]
    accuracy, loss, traffic, devices = (
        look.drawn(figure, first=index == 0) for index, figure in enumerate(figures)
    )
    return Template(_PAGE.read_text(encoding="utf-8")).substitute(
        title=html.escape(outcome.title),
        ink=INK,
        font=FONT,
        together=TOGETHER,
        alone=ALONE,
        lead=html.escape(_lead(outcome)),
        verdict=verdict,
        details=details,
        measure_title=outcome.figure.title[0].upper() + outcome.figure.title[1:],
        loss_name="cross-entropy" if outcome.figure is ACCURACY else "squared error in standard units",
        cards="\n".join(
            f'<div class="card{" main" if index == 0 else ""}"><b>{html.escape(value)}</b>'
            f"<span>{html.escape(label)}</span></div>"
            for index, (value, label) in enumerate(_cards(outcome))
        ),
        accuracy_note=html.escape(_note(outcome)),
        devices_note=(
            "Left: on the held-out samples of all devices, also of classes that a device has not seen. "
            "Right: on its own held-out samples. Alone, a device trains for as many epochs as the fleet."
        ),
        accuracy_figure=accuracy,
        loss_figure=loss,
        bytes_figure=traffic,
        devices_figure=devices,
        facts="\n".join(
            f"<tr><td>{html.escape(name)}</td><td>{value}</td></tr>" for name, value in _facts(outcome)
        ),
    )


def _lead(outcome: Outcome) -> str:
    return (
        f"{outcome.devices} devices taught one model in {outcome.rounds} rounds. Each trained on its own "
        "samples and published only its weights over MQTT; one aggregator averaged them by sample count "
        "(FedAvg)."
    ) + (
        ""
        if outcome.own is None
        else f" Each device also made a personal model of it ({outcome.own.name}), which never leaves the "
        "device."
    )


def _note(outcome: Outcome) -> str:
    dashed = "The dashed lines: the same training without sharing, and with all data in one place."
    if outcome.figure is ACCURACY:
        return (
            f"Share of the {outcome.held_out} held-out samples of all devices that the shared model "
            f"classifies correctly after each round. {dashed}"
        )
    return (
        f"Root of the mean squared error on the {outcome.held_out} held-out samples of all devices, in the "
        f"target's own unit, after each round: less is better. {dashed}"
    )


def _cards(outcome: Outcome) -> list[tuple[str, str]]:
    shown = outcome.figure.shown
    each = (outcome.traffic.up + outcome.traffic.down) / outcome.devices
    return [
        (shown(outcome.together), "together: the shared model"),
        (shown(outcome.alone_mean), "alone: mean of the devices' own models"),
        (shown(outcome.central), "all data in one place"),
        *([own_report.card(outcome.own)] if outcome.own is not None else []),
        (f"{outcome.seconds_per_round_median * 1000:.0f} ms", f"a round (median of {outcome.rounds})"),
        (decimal(round(each)), "sent and received by a device in all"),
        (f"{outcome.onnx_max_abs_diff:.0e}", "largest difference of the ONNX file"),
    ]


def _facts(outcome: Outcome) -> list[tuple[str, str]]:
    def path(value: object) -> str:
        return f"<code>{html.escape(str(value))}</code>"

    return [
        ("Broker", html.escape(outcome.broker)),
        ("Seed", str(outcome.seed)),
        (
            "Time",
            f"{outcome.seconds_learning:.1f} s from starting the programs until every device held the newest "
            f"model; {outcome.seconds:.1f} s with preparing, measuring and the two comparisons",
        ),
        (
            outcome.figure.title.capitalize() if outcome.figure is ACCURACY else "RMSE",
            "by onnxruntime with model.onnx on raw features, on samples no training has seen",
        ),
        ("Model (ONNX)", path(outcome.onnx)),
        ("Weights", path(outcome.safetensors)),
        ("Manifest", path(outcome.manifest)),
        ("Settings, logs, data", path(outcome.folder)),
    ]
