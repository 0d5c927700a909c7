"""`agent.toml`, right and wrong."""

from pathlib import Path

import pytest

from agent.config import AgentSettings
from agent.core.hours import Hours
from agent.data.rules import Rules, effective
from agent.settings.conditions import ConditionsSettings
from agent.settings.data import Holdout
from agent.settings.limits import LimitsSettings
from agent.settings.sources import CsvSettings, NpzSettings, PythonSettings
from fedge.errors import ConfigError
from tests.wording import assert_tells

HEAD = 'federation = "watch"\ndevice = "anna-left"\n'


def load(folder: Path, text: str, environment: dict[str, str] | None = None) -> AgentSettings:
    file = folder / "agent.toml"
    file.write_text(text, encoding="utf-8")
    return AgentSettings.load(file, environment or {})


def test_the_shortest_configuration(tmp_path: Path) -> None:
    settings = load(tmp_path, HEAD + '[data]\nsource = "csv"\npath = "data/"')
    here = tmp_path.resolve()
    assert (settings.federation, settings.device) == ("watch", "anna-left")
    assert (settings.broker.host, settings.broker.port) == ("127.0.0.1", 1883)
    assert settings.state.folder == here / "state"
    assert settings.data == CsvSettings(source="csv", path=here / "data", label="label", series=None)
    data = settings.data
    assert (data.missing, data.holdout, data.gap) == (None, None, None), "the owner has said nothing"
    assert effective(data, None) == Rules("refuse", Holdout(part=0.2, by="time"), 0, "refuse", {})
    assert settings.data.minimum == 20


def test_each_source_has_keys_of_its_own(tmp_path: Path) -> None:
    npz = load(tmp_path, HEAD + '[data]\nsource = "npz"\npath = "a.npz"\nholdout = 0\nminimum = 50').data
    assert npz == NpzSettings(source="npz", path=tmp_path.resolve() / "a.npz", holdout=0.0, minimum=50)
    code = load(tmp_path, HEAD + '[data]\nsource = "python"\ncallable = "my.loader:read"').data
    assert code == PythonSettings(source="python", callable="my.loader:read")


def test_one_file_serves_many_devices(tmp_path: Path) -> None:
    text = HEAD + '[data]\nsource = "csv"\npath = "data/"'
    variables = {
        "FEDGE_AGENT_DEVICE": "ben-right",
        "FEDGE_AGENT_DATA__PATH": "ben.csv",
        "FEDGE_AGENT_DATA__GAP": "2",
        "FEDGE_AGENT_STATE__FOLDER": "/var/lib/fedge",
        "FEDGE_AGGREGATOR_PORT": "another program's",
    }
    settings = load(tmp_path, text, variables)
    assert settings.device == "ben-right"
    assert isinstance(settings.data, CsvSettings)
    assert (settings.data.path, settings.data.gap) == (tmp_path.resolve() / "ben.csv", 2)
    assert settings.state.folder == Path("/var/lib/fedge")


def test_without_limits_and_conditions_nothing_is_limited(tmp_path: Path) -> None:
    settings = load(tmp_path, CSV)
    assert set(dict(settings.limits).values()) == {None}
    assert dict(settings.conditions) == {"hours": None, "mains": False, "temperature_c": None, "load": None}
    assert settings.offered == {"data": settings.data}


def test_limits_and_conditions(tmp_path: Path) -> None:
    text = """
[limits]
epochs = 20
seconds = 90
bytes_per_day = 50_000_000
sources = ["heart"]

[conditions]
hours = "22:00-06:00"
mains = true
temperature_c = 70
load = 0.5

[sources.heart]
source = "npz"
path = "heart.npz"
holdout = 0.3
"""
    settings = load(
        tmp_path, CSV + text, {"FEDGE_AGENT_LIMITS__EPOCHS": "5", "FEDGE_AGENT_CONDITIONS__LOAD": "1"}
    )
    assert settings.limits == LimitsSettings(
        epochs=5, seconds=90.0, bytes_per_day=50_000_000, sources=("heart",)
    )
    assert settings.conditions == ConditionsSettings(
        hours=Hours(1320, 360), mains=True, temperature_c=70.0, load=1.0
    )
    heart = NpzSettings(source="npz", path=tmp_path.resolve() / "heart.npz", holdout=0.3)
    assert settings.offered == {"data": settings.data, "heart": heart}


OLD = "[manners]\nload = 0.5\n"


def test_the_former_name_of_the_conditions_is_read_with_a_hint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load(tmp_path, CSV + OLD).conditions == ConditionsSettings(load=0.5)
    assert "manners" in caplog.text
    assert "conditions" in caplog.text
    caplog.clear()
    found = load(tmp_path, CSV + OLD, {"FEDGE_AGENT_MANNERS__LOAD": "2"})
    assert found.conditions == ConditionsSettings(load=2.0)
    assert "FEDGE_AGENT_MANNERS__LOAD" in caplog.text


def test_the_former_name_beside_the_new_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="manners"):
        load(tmp_path, CSV + OLD + "[conditions]\nmains = true\n")
    old, new = "FEDGE_AGENT_MANNERS__LOAD", "FEDGE_AGENT_CONDITIONS__LOAD"
    with pytest.raises(ConfigError, match=f"{old} and {new}"):
        load(tmp_path, CSV, {old: "2", new: "3"})


def test_a_variable_of_today_overrides_a_table_of_the_former_name(tmp_path: Path) -> None:
    found = load(tmp_path, CSV + OLD + "mains = true\n", {"FEDGE_AGENT_CONDITIONS__LOAD": "3"})
    assert found.conditions == ConditionsSettings(load=3.0, mains=True)


CSV = HEAD + '[data]\nsource = "csv"\npath = "d"\n'
PYTHON = HEAD + '[data]\nsource = "python"\n'

BROKEN: dict[str, tuple[str, ...]] = {
    "empty": ("", "federation: "),
    "no device": (
        'federation = "a"\n[data]\nsource = "npz"\npath = "x"',
        "device: ",
    ),
    "no data": (
        HEAD,
        "[data]: ",
        "source",
        "csv",
        "npz",
        "python",
    ),
    "no source": (HEAD + '[data]\npath = "d"', "[data] source: ", "csv", "npz", "python"),
    "unknown source": (
        HEAD + '[data]\nsource = "sql"',
        "[data] source: ",
        "'sql'",
        "csv",
        "npz",
        "python",
    ),
    "no path": (HEAD + '[data]\nsource = "csv"', "[data] path: "),
    "device with a space": (
        'federation = "a"\ndevice = "Anna B"\n[data]\nsource = "csv"\npath = "d"',
        "device: ",
        "pattern",
    ),
    "device with a slash": (
        'federation = "a"\ndevice = "a/b"\n[data]\nsource = "csv"\npath = "d"',
        "device: ",
        "pattern",
    ),
    "federation with a wildcard": (
        'federation = "#"\ndevice = "a"\n[data]\nsource = "csv"\npath = "d"',
        "federation: ",
        "pattern",
    ),
    "unknown rule": (
        CSV + 'missing = "guess"',
        "[data] missing: ",
        "'refuse'",
        "'drop'",
        "'fill'",
        "'guess'",
    ),
    "all held out": (
        CSV + "holdout = 1.0",
        "[data] holdout: ",
        "0.9",
        "1.0",
    ),
    "negative hold-out": (
        CSV + "holdout = -0.1",
        "[data] holdout: ",
        "0",
        "-0.1",
    ),
    "hold-out is no number": (CSV + "holdout = nan", "[data] holdout: ", "nan"),
    "negative gap": (
        CSV + "gap = -1",
        "[data] gap: ",
        "0",
        "-1",
    ),
    "too small a minimum": (
        CSV + "minimum = 5",
        "[data] minimum: ",
        "20",
        "5",
    ),
    "empty label": (CSV + 'label = ""', "[data] label: ", "1"),
    "key of another source": (
        HEAD + '[data]\nsource = "npz"\npath = "d"\nlabel = "x"',
        "[data] label: ",
    ),
    "misspelt key": (CSV + "hold_out = 0.1", "[data] hold_out: ", "'holdout'"),
    "no function": (PYTHON, "[data] callable: ", "module:function"),
    "module only": (PYTHON + 'callable = "loader"', "[data] callable: ", "pattern"),
    "a call": (PYTHON + 'callable = "loader:read()"', "[data] callable: ", "pattern"),
    "a file": (PYTHON + 'callable = "./loader.py:read"', "[data] callable: ", "pattern"),
    "unknown table": (CSV + "[brokers]", "brokers: ", "'broker'"),
    "state as text": (
        CSV.replace("[data]", 'state = "s"\n[data]'),
        "[state]: ",
        "table",
    ),
}


@pytest.mark.parametrize(
    ("text", "place", "facts"),
    [(text, place, facts) for text, place, *facts in BROKEN.values()],
    ids=BROKEN.keys(),
)
def test_broken_configurations_are_explained(tmp_path: Path, text: str, place: str, facts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    lines = str(caught.value).splitlines()
    begins = f"{tmp_path / 'agent.toml'}: {place}"
    (line,) = [line for line in lines if line.startswith(begins)]
    assert_tells(line.removeprefix(begins), *facts)
