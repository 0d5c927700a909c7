"""The files the demo writes are ones the programs read, and say what was meant."""

from pathlib import Path

import numpy as np
import pytest

from agent.config import AgentSettings
from agent.data.dataset import fit
from agent.settings.sources import CsvSettings
from agent.sources import open_source
from aggregator.config import FederationSettings
from aggregator.settings.rounds import RoundsSection
from aggregator.settings.state import StateSection
from fedge.algorithms.plan import Plan
from fleet.datasets import FederatedDataset, load_digits, load_watch
from fleet.demo.provision import (
    Federation,
    _toml,
    end_after,
    provision,
    while_trying,
    write_agent,
    write_federation,
    write_toml,
)

PLAN = Plan(epochs=5, batch_size=16, learning_rate=0.05, momentum=0.9)


def written(folder: Path, dataset: FederatedDataset) -> Federation:
    return provision(
        folder,
        dataset,
        federation="watch",
        broker_url="mqtt://127.0.0.1:1884",
        plan=PLAN,
        rounds=7,
        seed=3,
        deadline_s=60.0,
    )


def test_the_aggregator_reads_what_was_meant(tmp_path: Path) -> None:
    dataset = load_watch(3)
    settings = FederationSettings.load(written(tmp_path, dataset).settings)
    assert settings.federation.name == "watch"
    assert settings.federation.seed == 3
    assert settings.federation.devices == tuple(data.device for data in dataset.devices)
    assert settings.broker.url == "mqtt://127.0.0.1:1884"
    assert settings.plan.first() == PLAN
    assert (settings.rounds.target, settings.rounds.quorum, settings.rounds.fraction) == (3, 3, 1.0)
    assert settings.stopping.rounds == 7
    assert settings.state.folder == tmp_path / "state"
    assert settings.export.folder == tmp_path / "export"
    task = settings.task()
    assert task.features == dataset.features
    assert task.classes == dataset.classes
    assert [layer.type for layer in task.network.layers] == ["dense", "relu", "dense"]


@pytest.mark.parametrize(("load", "overlap"), [(load_watch, True), (load_digits, False)])
def test_an_agent_reads_its_own_rows_and_holds_out_without_overlap(
    tmp_path: Path, load: type[FederatedDataset], overlap: bool
) -> None:
    dataset = load(2)  # type: ignore[call-arg]
    files = written(tmp_path, dataset)
    task = FederationSettings.load(files.settings).task()
    for data in dataset.devices:
        settings = AgentSettings.load(files.agents[data.device])
        assert (settings.device, settings.federation) == (data.device, "watch")
        assert isinstance(settings.data, CsvSettings)
        found = fit(open_source(settings.data).read(), task, settings.data)
        series = np.array(data.series)
        training, held = [], []
        for name in dict.fromkeys(data.series):
            rows = np.flatnonzero(series == name)
            kept = len(rows) // 5
            held += list(rows[len(rows) - kept :])
            training += list(rows[: len(rows) - kept - (1 if overlap and kept else 0)])
        np.testing.assert_array_equal(found.X, data.features[sorted(training)])
        np.testing.assert_array_equal(found.held_X, data.features[sorted(held)])
        assert [dataset.classes[index] for index in found.held_y] == [
            data.labels[row] for row in sorted(held)
        ]


def test_what_only_a_trial_needs_holds_by_variables_and_stands_in_no_file(tmp_path: Path) -> None:
    """So the files are fit for use even where a trial is cut off before it could change them."""
    settings = write_federation(
        tmp_path,
        name="phones",
        seed=1,
        devices=["a", "b", "c"],
        broker_url="mqtt://127.0.0.1:1883",
        model={"features": ["x"], "classes": ["no", "yes"], "layers": []},
        plan=Plan(),
        rounds=60,
        quorum=2,
    )
    agent = write_agent(
        tmp_path,
        federation="phones",
        device="a",
        broker_url="mqtt://127.0.0.1:1883",
        data={"source": "csv", "path": "data.csv"},
    )
    used = FederationSettings.load(settings, {})
    assert used.rounds == RoundsSection(quorum=2)
    assert used.state == StateSection(folder=tmp_path / "state")
    variables = while_trying("mqtt://broker.example:10007", 3, 60, 45.0)
    tried = FederationSettings.load(settings, variables)
    assert (tried.rounds.target, tried.rounds.quorum, tried.rounds.deadline_s) == (3, 3, 45.0)
    assert (tried.state.keep_rounds, tried.state.keep_bytes) == (62, 500_000_000)
    for one in (tried, AgentSettings.load(agent, variables)):
        assert (one.broker.url, one.broker.insecure) == ("mqtt://broker.example:10007", True)
    assert FederationSettings.load(settings, variables | end_after(12)).stopping.rounds == 12


def test_values_become_toml_that_reads_back(tmp_path: Path) -> None:
    import tomllib

    tables = {
        "name": 'a "quoted" \\ naïve\nname',
        "one": {"x": 0.05, "n": 3, "on": True, "names": ["a", "b"]},
        "two": {"layers": [{"type": "dense", "units": 64}, {"type": "relu"}], "none": []},
    }
    write_toml(tmp_path / "file.toml", tables)
    assert tomllib.loads((tmp_path / "file.toml").read_text(encoding="utf-8")) == tables
    assert _toml(1e-07) == "1e-07"
