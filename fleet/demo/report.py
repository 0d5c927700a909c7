"""The report of a fleet on this machine: one HTML file that needs no network."""

import html
from pathlib import Path
from string import Template

import plotly.graph_objects as go
from plotly.subplots import make_subplots
from rich.filesize import decimal

from fleet.demo import look
from fleet.demo.figure import ACCURACY
from fleet.demo.look import ALONE, CENTRAL, DOWN, FONT, INK, TOGETHER
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
        _accuracy_figure(outcome),
        _loss_figure(outcome),
        _bytes_figure(outcome),
        _devices_figure(outcome),
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


def _accuracy_figure(outcome: Outcome) -> go.Figure:
    points, shown = outcome.curve, outcome.figure.shown
    share = outcome.figure is ACCURACY
    form = "%{y:.1%}" if share else "%{y:.4g}"
    figure = look.figure(380)
    figure.add_scatter(
        x=[x for x, _ in points],
        y=[y for _, y in points],
        mode="lines",
        name="together",
        line={"color": TOGETHER, "width": 3},
        hovertemplate=f"after round %{{x}}: {form}<extra></extra>",
    )
    for value, text, colour, anchor in (
        (outcome.central, "all data in one place", CENTRAL, "bottom" if share else "top"),
        (outcome.alone_mean, "alone, on average", ALONE, "top" if share else "bottom"),
    ):
        figure.add_hline(y=value, line={"color": colour, "width": 2, "dash": "dash"})
        figure.add_annotation(
            x=0.55,  # not at the end, where the curve may lie on the same height
            xref="paper",
            xanchor="center",
            y=value,
            yanchor=anchor,
            text=f"{text}: {shown(value)}",
            showarrow=False,
            font={"color": colour, "size": 14},
        )
    x, y = outcome.chosen, outcome.together
    figure.add_scatter(
        x=[x],
        y=[y],
        mode="markers",
        marker={"color": TOGETHER, "size": 10},
        hovertemplate=f"final: {form}<extra></extra>",
    )
    figure.add_annotation(
        x=x,
        y=y,
        text=f"<b>together: {shown(y)}</b>",
        showarrow=False,
        xanchor="right" if 2 * x > points[-1][0] else "left",  # towards the middle, not over the axis
        yanchor="top",
        yshift=-10,
        font={"color": TOGETHER, "size": 15},
    )
    if share:
        figure.update_yaxes(title="accuracy", tickformat=".0%", range=[0, 1.06], dtick=0.2)
    else:
        figure.update_yaxes(title=outcome.figure.title, rangemode="tozero")
    figure.update_xaxes(title="round")
    return figure


def _loss_figure(outcome: Outcome) -> go.Figure:
    figure = look.figure(320, legend=True)
    for name, field, colour, dash in (
        ("shared model", "loss_before", TOGETHER, "solid"),
        ("after local training", "loss", ALONE, "dot"),
    ):
        rows = [row for row in outcome.training if getattr(row, field) is not None]
        figure.add_scatter(
            x=[row.round for row in rows],
            y=[getattr(row, field) for row in rows],
            mode="lines",
            name=name,
            line={"color": colour, "width": 2.5, "dash": dash},
            hovertemplate=f"{name}, round %{{x}}: %{{y:.3g}}<extra></extra>",
        )
    figure.update_yaxes(title="loss (logarithmic)", type="log", dtick=1, exponentformat="none")
    figure.update_xaxes(title="round")
    return figure


def _bytes_figure(outcome: Outcome) -> go.Figure:
    figure = look.figure(320, legend=True)
    for name, field, colour in (
        ("to the devices", "bytes_down", DOWN),
        ("from the devices", "bytes_up", TOGETHER),
    ):
        figure.add_bar(
            x=[row.round for row in outcome.rows],
            y=[getattr(row, field) / 1000 for row in outcome.rows],
            name=name,
            marker={"color": colour, "line": {"width": 0}},
            hovertemplate=f"round %{{x}}, {name}: %{{y:.0f}} kB<extra></extra>",
        )
    figure.update_layout(barmode="stack", bargap=0.15)
    figure.update_yaxes(title="kB", rangemode="tozero")
    figure.update_xaxes(title="round")
    return figure


def _devices_figure(outcome: Outcome) -> go.Figure:
    share = outcome.figure is ACCURACY
    form = ".1%" if share else ".4g"
    ordered = sorted(outcome.alone, key=lambda one: one.everyone)
    names = [one.device for one in ordered]
    figure = make_subplots(
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=("on the samples of all devices", "on its own samples"),
    )
    shared = [outcome.together] * len(ordered)
    own = [outcome.together_by_device[one.device] for one in ordered]
    panels = (([one.everyone for one in ordered], shared), ([one.own for one in ordered], own))
    for column, (before, after) in enumerate(panels, 1):
        figure.add_scatter(
            x=[x for pair in zip(before, after, strict=True) for x in (*pair, None)],
            y=[name for name in names for _ in range(3)],
            mode="lines",
            line={"color": "#cbd5e1", "width": 3},
            hoverinfo="skip",
            showlegend=False,
            row=1,
            col=column,
        )
        for label, values, colour in (
            ("before: alone", before, ALONE),
            ("after: the shared model", after, TOGETHER),
        ):
            figure.add_scatter(
                x=values,
                y=names,
                mode="markers",
                name=label,
                legendgroup=label,
                showlegend=column == 1,
                marker={"color": colour, "size": 11, "line": {"color": "#fff", "width": 1}},
                hovertemplate=f"%{{y}}, {label}: %{{x:{form}}}<extra></extra>",
                row=1,
                col=column,
            )
    look.style(figure, 150 + 24 * len(ordered), legend=True)
    if share:
        figure.update_xaxes(title="accuracy", tickformat=".0%", range=[-0.02, 1.04], dtick=0.2)
    else:
        figure.update_xaxes(title=outcome.figure.title, rangemode="tozero")
    figure.update_yaxes(tickfont={"size": 13}, showgrid=False, range=[-0.7, len(ordered) - 0.3])
    figure.update_layout(legend={"y": 1 + 28 / (24 * len(ordered) + 20), "x": 0}, margin={"t": 70})
    return figure
