import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from aggregator.ledger.views import RoundRow
from fleet.demo.baselines import Alone
from fleet.demo.broker import _find_mosquitto
from fleet.demo.figure import ACCURACY
from fleet.demo.outcome import Outcome

KINDS = {"mosquitto": _find_mosquitto(), "iotcore": importlib.util.find_spec("iotcore")}


def kinds(*, second: Sequence[pytest.MarkDecorator] = ()) -> list[Any]:
    """Each broker that we can start; where there are both, the embedded one has the marks `second`."""
    return [
        pytest.param(
            kind,
            marks=[
                pytest.mark.skipif(not found, reason=f"{kind} is not installed"),
                *(second if kind == "iotcore" and KINDS["mosquitto"] else ()),
            ],
        )
        for kind, found in KINDS.items()
    ]


@pytest.fixture(params=kinds())
def kind(request: pytest.FixtureRequest) -> str:
    """Each broker that we can start."""
    found: str = request.param
    return found


@pytest.fixture
def make_row() -> Callable[..., RoundRow]:
    return row


def row(number: int, *, closed: bool = True, accuracy: float | None = None) -> RoundRow:
    """Round 0 is the survey."""
    training = number > 0
    return RoundRow(
        generation=1,
        round=number,
        kind="train" if training else "survey",
        attempt=0,
        closed=closed,
        devices=2 if closed else 0,
        samples=100 if closed else 0,
        seconds=number / 10 if closed else None,
        accuracy=accuracy,
        held_loss=1.0 if training and closed else None,
        loss_before=1.0 / number if training and closed else None,
        loss=0.5 / number if training and closed else None,
        weight_change=0.1 if training and closed else None,
        bytes_up=1_000 if closed else 0,
        bytes_down=2_000 if closed else 0,
    )


@pytest.fixture
def outcome(tmp_path: Path) -> Outcome:
    accuracies = (None, 0.25, 0.5, 0.75)
    return Outcome(
        title="Exercises <seen> & named",
        dataset="watch",
        broker="mosquitto",
        seed=1,
        devices=2,
        rows=tuple(row(number, accuracy=accuracy) for number, accuracy in enumerate(accuracies)),
        figure=ACCURACY,
        chosen=3,
        together=0.875,
        together_by_device={"left": 1.0, "right": 0.75},
        alone=(Alone("left", 0.5, 1.0), Alone("right", 0.625, 0.75)),
        central=0.9375,
        held_out=8,
        onnx_max_abs_diff=2.5e-7,
        folder=tmp_path,
        safetensors=tmp_path / "model.safetensors",
        onnx=tmp_path / "model.onnx",
        manifest=tmp_path / "manifest.json",
        report=tmp_path / "report.html",
        seconds_learning=2.0,
        seconds=3.0,
    )
