"""The part of a report on devices' own models: wrong answers by device, and who is worse off than alone."""

import plotly.graph_objects as go

from fleet.demo import look
from fleet.demo.own_models import OwnModel, OwnModels

BAR_PX, AROUND_PX = 34, 110
"""The height in pixels of a device in the figure, and of the figure's margins."""
MOST_TICKS = 15
"""Up to this number of wrong answers each number has a tick."""
SHARED = "#60a5fa"
SERIES = (
    ("alone", "alone", look.ALONE),
    ("shared", "the shared model", SHARED),
    ("used", "the model that it uses", look.TOGETHER),
)
"""Field, label and colour of each bar, the uppermost first."""


def card(own: OwnModels) -> tuple[str, str]:
    """Value and label of the card on the promise."""
    return f"{own.worse_off} of {len(own.devices)}", "devices worse off than alone, with their own models"


def section(own: OwnModels) -> str:
    """HTML of the section: the sentence, the figure and the table."""
    count = len(own.devices)
    note = (
        f"Worse off than alone: {own.worse_off} of {count} devices; with the shared model it would be "
        f"{own.shared_worse_off}. A device is worse off if its model gets at least two of its own held-out "
        "rows fewer right than a model that it trained alone. Each device chooses between the shared model "
        f"and a personal one ({own.name}), by rows that neither of them was trained on and that are not "
        "counted here. If it chooses the personal one, it then trains that one with these rows too. It never "
        "uses the one alone."
    )
    if any(one.alone_all_rows is not None for one in own.devices):
        note += (
            " A model alone that also trains on the rows to choose by is better by at least two rows on "
            f"{own.behind_all_rows} of {count} devices."
        )
    head = ("device", "held-out rows", "alone", "shared model", "the model it uses", "it uses", "")
    cells = [
        (
            one.device,
            str(one.rows),
            *(f"{getattr(one, field):.1%}" for field, _, _ in SERIES),
            one.uses,
            "worse off than alone" if one.worse_off else "",
        )
        for one in own.devices
    ]
    means = (own.mean(field) for field, _, _ in SERIES)
    worst = (own.worst(field) for field, _, _ in SERIES)
    rows = sum(one.rows for one in own.devices)
    cells.append(("mean of the devices", str(rows), *(f"{mean:.1%}" for mean in means), "", ""))
    cells.append(("worst device", "", *(f"{least:.1%}" for least in worst), "", ""))
    body = look.drawn(figure(own)) + look.table(head, cells)
    return look.section("Shared, personal, alone: each device on its own rows", note, body)


def figure(own: OwnModels) -> go.Figure:
    """The wrong answers of the three models, by device."""
    made = look.figure(AROUND_PX + BAR_PX * len(own.devices), legend=True)
    names = [_label(one) for one in own.devices]
    for field, label, colour in SERIES:
        made.add_bar(
            y=names,
            x=[one.wrong(getattr(one, field)) for one in own.devices],
            orientation="h",
            name=label,
            marker={"color": colour, "line": {"width": 0}},
            hovertemplate=f"%{{y}}, {label}: %{{x}} wrong<extra></extra>",
        )
    made.update_layout(barmode="group", bargap=0.3, bargroupgap=0.05)
    made.update_yaxes(autorange="reversed", showgrid=False, ticksuffix="  ")
    made.update_xaxes(title="wrong answers on its own held-out rows", rangemode="tozero", tickformat="d")
    most = max(one.wrong(getattr(one, field)) for field, _, _ in SERIES for one in own.devices)
    if most <= MOST_TICKS:
        made.update_xaxes(dtick=1)
    return made


def _label(one: OwnModel) -> str:
    return f"{one.device} ({one.rows} rows)"
