"""The figures of a report: the score and the loss by round, the bytes by round, and the devices."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fleet.demo import look
from fleet.demo.figure import ACCURACY
from fleet.demo.look import ALONE, CENTRAL, DOWN, TOGETHER
from fleet.demo.outcome import Outcome


def accuracy_figure(outcome: Outcome) -> go.Figure:
    """The figure of the model after each round, with the two baselines as dashed lines."""
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


def loss_figure(outcome: Outcome) -> go.Figure:
    """The mean training loss by round, before and after local training."""
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


def bytes_figure(outcome: Outcome) -> go.Figure:
    """The MQTT payload of each round, in both directions."""
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


def devices_figure(outcome: Outcome) -> go.Figure:
    """The figure of each device alone and of the shared model, on all samples and on its own."""
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
