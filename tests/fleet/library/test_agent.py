"""`fedge.Agent`: what it is given in place of a source."""

from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import fedge
import fleet.library.agent
from agent.config import AgentSettings
from fedge import Agent, ConfigError


def settings(folder: Path) -> AgentSettings:
    tables = {"federation": "f", "device": "pi-1", "state": {"folder": folder / "state"}}
    data = {"source": "python", "callable": "nobody:reads"}
    return AgentSettings.model_validate({**tables, "data": data})


@pytest.mark.parametrize("source", [3, ([[1.0]], ["a"])], ids=["number", "arrays"])
def test_a_source_that_is_no_function_is_refused(tmp_path: Path, source: Any) -> None:
    with pytest.raises(ConfigError, match="source"):
        Agent(settings(tmp_path), source)


def test_whatever_can_be_called_is_a_source(tmp_path: Path) -> None:
    agent = Agent(settings(tmp_path), partial(tuple, "Xy"))
    agent.stop()
    agent.run()


def test_values_that_the_owner_excludes_are_missing_in_what_a_function_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in any other source: `[data] missing_values` and `range` do not depend on where samples are."""
    loop = Mock()
    monkeypatch.setattr(fleet.library.agent, "Loop", loop)
    told = settings(tmp_path)
    data = told.data.model_copy(update={"missing_values": (-99.0,), "range": {"1": (0.0, 50.0)}})
    Agent(told.model_copy(update={"data": data}), lambda: ([[-99.0, 1.0], [2.0, 80.0]], ["a", "b"]))
    _, sources = loop.call_args.args
    (source,) = sources.values()
    assert np.isnan(source.read().X).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("told", [None, {"device": "pi-1"}, 3], ids=["nothing", "tables", "number"])
def test_settings_that_are_no_file_are_refused(told: Any) -> None:
    with pytest.raises(ConfigError, match="settings"):
        Agent(told)


def test_an_agent_runs_once(tmp_path: Path) -> None:
    agent = Agent(settings(tmp_path), partial(tuple, "Xy"))
    agent.stop()
    agent.run()
    with pytest.raises(RuntimeError):
        agent.run()


def test_the_api_is_listed_for_who_looks_around() -> None:
    assert dir(fedge) == sorted(fedge.__all__)
