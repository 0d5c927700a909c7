"""The figures a demonstration ends with, its report and its progress bar."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace

from rich.console import Console

from aggregator.ledger.views import RoundRow
from fleet.demo.outcome import Outcome
from fleet.demo.progress import Bar, figures
from fleet.demo.report import render
from fleet.demo.report_figures import accuracy_figure, bytes_figure, devices_figure

PROMISED = {
    "devices",
    "rounds",
    "accuracy",
    "accuracy_alone_mean",
    "accuracy_central",
    "onnx",
    "onnx_max_abs_diff",
    "bytes_up",
    "bytes_down",
    "seconds",
    "seconds_per_round_median",
    "broker",
}


def test_the_json_object_has_what_scripts_rely_on(outcome: Outcome) -> None:
    found = json.loads(json.dumps(outcome.as_json()))
    assert found.keys() >= PROMISED
    assert found["rounds"] == 3
    assert found["accuracy_alone_mean"] == (0.5 + 0.625) / 2
    assert (found["bytes_up"], found["bytes_down"]) == (4_000, 8_000)  # the survey's and three rounds'
    assert found["seconds_per_round_median"] == 0.2  # of 0.1, 0.2 and 0.3: the survey is no round of training


def test_the_report_needs_no_network_and_escapes_names(outcome: Outcome) -> None:
    page = render(outcome)
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert page.count("Plotly.newPlot(") >= 4
    assert "<h1>Exercises &lt;seen&gt; &amp; named</h1>" in page
    assert "<seen>" not in page.split("<script", 1)[0]
    for figure in ("87.5%", "56.2%", "93.8%", "200 ms", "6.0 kB", "2e-07"):
        assert f"<b>{figure}</b>" in page
    assert str(outcome.onnx) in page


def test_accuracy_is_drawn_at_the_round_whose_model_it_is_of(outcome: Outcome) -> None:
    line = accuracy_figure(outcome).data[0]
    # A round's row tells the accuracy of the model it began from; the last point is the final file's.
    assert list(zip(line.x, line.y, strict=True)) == [(0, 0.25), (1, 0.5), (2, 0.75), (3, 0.875)]


def test_what_was_measured_here_is_drawn_rather_than_what_devices_told(outcome: Outcome) -> None:
    line = accuracy_figure(replace(outcome, measured={1: 0.625, 3: 0.875})).data[0]
    assert list(zip(line.x, line.y, strict=True)) == [(0, 0.25), (1, 0.625), (2, 0.75), (3, 0.875)]


def test_what_is_written_beside_a_round_stays_within_the_figure(outcome: Outcome) -> None:
    for chosen, anchor in ((1, "left"), (3, "right")):
        figure = accuracy_figure(replace(outcome, chosen=chosen))
        (note,) = (one for one in figure.layout.annotations if "together" in one.text)
        assert (note.x, note.xanchor) == (chosen, anchor)


def test_bytes_are_drawn_by_direction_and_the_survey_is_among_them(outcome: Outcome) -> None:
    down, up = bytes_figure(outcome).data
    assert tuple(up.x) == (0, 1, 2, 3)
    assert tuple(up.y) == (1.0,) * 4
    assert tuple(down.y) == (2.0,) * 4


def test_devices_are_drawn_before_and_after_in_both_senses(outcome: Outcome) -> None:
    points = [trace for trace in devices_figure(outcome).data if trace.mode == "markers"]
    drawn = [dict(zip(trace.y, trace.x, strict=True)) for trace in points]
    assert drawn == [
        {"left": 0.5, "right": 0.625},
        {"left": 0.875, "right": 0.875},
        {"left": 1.0, "right": 0.75},
        {"left": 1.0, "right": 0.75},
    ]


def test_the_bar_says_accuracy_devices_and_bytes(make_row: Callable[..., RoundRow]) -> None:
    rows = [make_row(0), make_row(1, accuracy=0.25), make_row(2, closed=False)]
    assert figures(rows, 2, 2) == "accuracy 0.250 · 2/2 devices · 6.0 kB"
    assert figures([make_row(0, closed=False)], 1, 2) == "1/2 devices · 0 bytes"
    assert figures([make_row(0, closed=False)], 1, 0) == "1 devices · 0 bytes"


def test_the_bar_is_one_line_on_a_narrow_terminal(make_row: Callable[..., RoundRow]) -> None:
    output = io.StringIO()
    console = Console(file=output, width=80, force_terminal=True, color_system=None)
    with Bar(60, 20, console) as bar:
        bar.say("preparing")
        bar.show([make_row(number, accuracy=0.5) for number in range(61)], 20)
        bar._progress.refresh()
    drawn = [
        line for line in re.split(r"[\r\n]|\x1b\[[0-9;?]*[A-Za-z]", output.getvalue()) if "60/60" in line
    ]
    assert drawn
    assert "accuracy 0.500 · 20/20 devices · 183.0 kB" in drawn[-1]
    assert len(drawn[-1]) <= 80
