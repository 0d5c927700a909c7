"""Files of rows with a time, and what is read of them."""

from pathlib import Path
from typing import Any

import pytest

from agent.config import AgentSettings
from agent.settings.sources import CsvSettings
from agent.sources import Samples, open_source
from agent.sources import newest_rows as thinning
from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire.messages.task import Task

TASK = Task(
    network=NetworkSpec(inputs=1, layers=(Dense(units=2),), loss="cross-entropy"),
    features=("v",),
    classes=("walk", "sit"),
)
HEADER = "t,v,label\n"
DAY = 86_400


def read(path: Path, **settings: Any) -> Samples:
    return open_source(CsvSettings(source="csv", path=path, **settings)).read()


def values(samples: Samples) -> list[float]:
    assert samples.columns is not None
    found: list[float] = samples.X[:, samples.columns.index("v")].tolist()
    return found


def line(t: object, v: object) -> str:
    return f"{t},{v},walk\n"


def settings(folder: Path, data: str) -> AgentSettings:
    (folder / "agent.toml").write_text(f'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "csv"\n{data}')
    return AgentSettings.load(folder / "agent.toml", {})


@pytest.fixture(params=[0, 1 << 16], ids=["forgetting after every block", "at the end"])
def slack(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinning, "SLACK", request.param)
    monkeypatch.setattr("agent.sources.text_file.BLOCK", 7)
