"""Configurations that are wrong: the error names the file or variable, the key, and what puts it right."""

from pathlib import Path
from typing import Any

import pytest

from agent.config import AgentSettings
from aggregator.config import FederationSettings
from fedge.errors import ConfigError
from tests.bad_input import AGENT, assert_told, rows_of

MODEL_TABLE = """\
[model]
features = ["heat", "rain"]
classes = ["dry", "wet"]
"""
FEDERATION = f"""\
[federation]
name = "farm"
{MODEL_TABLE}"""
CLASSES = 'classes = ["dry", "wet"]'

FEDERATIONS: dict[str, tuple[Any, ...]] = {
    # what is wrong: (federation.toml, the key as the message names it, what it must name to be put right)
    "no TOML": (FEDERATION.replace("name =", "name"), "", "line 2"),
    "capitals": (FEDERATION.replace("farm", "Farm"), "[federation] name: ", "'Farm'", "31"),
    "no model": (FEDERATION.replace(MODEL_TABLE, ""), "[model]: ", "missing"),
    "no classes and no targets": (FEDERATION.replace(CLASSES, ""), "[model] classes: ", "classes", "targets"),
    "one class": (FEDERATION.replace(', "wet"', ""), "[model] classes: ", "2", "1"),
    "a feature twice": (FEDERATION.replace("rain", "heat"), "[model] features: ", "['heat']"),
    "no feature": (FEDERATION.replace('["heat", "rain"]', "0"), "[model] features: ", "65536", "got 0"),
    "a source with a slash": (FEDERATION + 'source = "../heart"', "[model] source: ", "'../heart'"),
    "a layer of nowhere": (
        FEDERATION + 'layers = [{ type = "relu" }, { type = "conv" }]',
        "[model.layers[1]] type: ",
        "'conv'",
        "dense, relu, sigmoid, tanh",
    ),
    "a layer without width": (
        FEDERATION + 'layers = [{ type = "dense" }]',
        "[model.layers[0]] units: ",
        "missing",
    ),
    "too large a network": (
        FEDERATION + "layers = [" + '{ type = "dense", units = 60000 },' * 2 + "]",
        "[model] layers: ",
        "3600360002",
        "50000000",
    ),
    "a misspelt key": (FEDERATION + "[plan]\nlearning_rat = 0.1", "[plan] learning_rat: ", "'learning_rate'"),
    "no step": (FEDERATION + "[plan]\nlearning_rate = 0", "[plan] learning_rate: ", "0"),
    "half an epoch": (FEDERATION + "[plan]\nepochs = 0.5", "[plan] epochs: ", "0.5"),
    "more than all": (FEDERATION + "[rounds]\nfraction = 1.5", "[rounds] fraction: ", "1.5"),
    "a target below the quorum": (
        FEDERATION + "[rounds]\nquorum = 3\ntarget = 1",
        "[rounds] target: ",
        "3",
        "got 1",
    ),
    "a quorum out of reach": (
        FEDERATION.replace("[model]", 'devices = ["pi-1"]\n[model]'),
        "[rounds] quorum: ",
        "2 ",
        "1 device",
    ),
    "accuracy of a regression": (
        FEDERATION.replace(CLASSES, 'targets = ["yield"]') + "[stopping]\naccuracy = 0.9",
        "[stopping] accuracy: ",
        "rmse, patience or weight_change",
    ),
    "scaffold with weights by samples": (
        FEDERATION + '[plan]\nlocal = "scaffold"\nmomentum = 0.9',
        '[plan] local = "scaffold"',
        '[rule] weights = "samples"',
        "[plan] momentum = 0.0",
        '[rule] weights = "uniform"',
    ),
    "the rule of another local algorithm": (
        FEDERATION + '[rule]\nname = "nova"',
        '[rule] name = "nova"',
        '[plan] local = "sgd"',
        '[plan] local = "nova"',
        '"mean"',
    ),
    "plaintext over the network": (
        FEDERATION + '[broker]\nurl = "mqtt://broker.lan"',
        "[broker] url: ",
        "mqtts://",
        "insecure = true",
    ),
}

AGENTS: dict[str, tuple[Any, ...]] = {
    # what is wrong: (agent.toml, the key as the message names it, what it must name to be put right)
    "a slash": (AGENT.replace("pi-1", "pi/1"), "device: ", "'pi/1'"),
    "no data": (AGENT.partition("[data]")[0], "[data]: ", "missing"),
    "an unknown source": (AGENT.replace("csv", "excel", 1), "[data] source: ", "'excel'", "csv, npz, python"),
    "no path": (AGENT.replace("path =", "label ="), "[data] path: ", "missing"),
    "a guess": (AGENT + 'missing = "guess"', "[data] missing: ", "'refuse'", "'drop'", "'fill'", "'guess'"),
    "all held out": (AGENT + "holdout = 1.0", "[data] holdout: ", "0.9", "1.0"),
    "a password in the address": (
        AGENT + '[broker]\nurl = "mqtts://me:hunter2@broker.lan"',
        "[broker] url: ",
        "username",
        "password_file",
    ),
    "hours without minutes": (
        AGENT + '[conditions]\nhours = "22-6"',
        "[conditions] hours: ",
        "22:00-06:00",
        "'22-6'",
    ),
    "no hours at all": (AGENT + '[conditions]\nhours = "06:00-06:00"', "[conditions] hours: ", "06:00"),
    "a boiling limit": (
        AGENT + "[conditions]\ntemperature_c = 400",
        "[conditions] temperature_c: ",
        "150",
        "400",
    ),
    "a load below nothing": (AGENT + "[conditions]\nload = -1", "[conditions] load: ", "0", "-1"),
    "a condition of another program": (
        AGENT + "[conditions]\nbattery = false",
        "[conditions] battery: ",
        "hours, mains, temperature_c, load",
    ),
    "no epoch": (AGENT + "[limits]\nepochs = 0", "[limits] epochs: ", "1", "got 0"),
    "no time": (AGENT + "[limits]\nseconds = 0", "[limits] seconds: ", "got 0"),
    "a budget in words": (AGENT + '[limits]\nbytes_per_day = "10 MB"', "[limits] bytes_per_day: ", "'10 MB'"),
    "a limit on a source of nobody": (
        AGENT + '[limits]\nsources = ["heart"]',
        "[limits] sources: ",
        "'heart'",
        "data",
    ),
    "a source by the default's name": (
        AGENT + '[sources.data]\nsource = "npz"\npath = "x.npz"',
        "[sources.data]: ",
        "[data]",
    ),
    "a source that is called in capitals": (
        AGENT + '[sources.Heart]\nsource = "npz"\npath = "x.npz"',
        "[sources] Heart: ",
    ),
    "a source without a path": (
        AGENT + '[sources.heart]\nsource = "npz"',
        "[sources.heart] path: ",
        "missing",
    ),
    "a source of no kind": (
        AGENT + '[sources.heart]\npath = "x.npz"',
        "[sources.heart] source: ",
        "missing",
        "csv, npz, python",
    ),
    "a misspelt key of a source": (
        AGENT + '[sources.heart]\nsource = "npz"\npath = "x.npz"\nholdut = 0.1',
        "[sources.heart] holdut: ",
        "'holdout'",
    ),
    "no such authority": (
        AGENT + '[broker]\nurl = "mqtts://broker.lan"\nca = "ca.pem"',
        "[broker] ca: ",
        "ca.pem",
    ),
}


def load(folder: Path, file: str, text: str, environment: dict[str, str]) -> None:
    (folder / file).write_text(text, encoding="utf-8")
    kind = FederationSettings if file == "federation.toml" else AgentSettings
    kind.load(folder / file, environment)


def test_what_the_broken_ones_are_made_of_is_right(tmp_path: Path) -> None:
    load(tmp_path, "federation.toml", FEDERATION, {})
    load(tmp_path, "agent.toml", AGENT, {})


@pytest.mark.parametrize(("text", "key", "facts"), rows_of(FEDERATIONS))
def test_broken_federations(tmp_path: Path, text: str, key: str, facts: list[str]) -> None:
    assert_explained(tmp_path, "federation.toml", text, key, facts)


@pytest.mark.parametrize(("text", "key", "facts"), rows_of(AGENTS))
def test_broken_agents(tmp_path: Path, text: str, key: str, facts: list[str]) -> None:
    assert_explained(tmp_path, "agent.toml", text, key, facts)


def assert_explained(folder: Path, file: str, text: str, key: str, facts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(folder, file, text, {})
    assert_told(caught.value, f"{folder / file}: {key}", facts)
    assert len(str(caught.value).splitlines()) == 1
    assert "hunter2" not in str(caught.value), "no secret in a message"


VARIABLES: dict[str, tuple[Any, ...]] = {
    # what is wrong: (the variable, its value, what the message must name to have it put right)
    "text for a number": ("FEDGE_AGGREGATOR_ROUNDS__QUORUM", "many", "1", "1.0"),
    "a key of nothing": ("FEDGE_AGENT_DATA__PAHT", "x", "'path'"),
    "no JSON": ("FEDGE_AGGREGATOR_MODEL__CLASSES", "[dry, wet]", "JSON"),
}


@pytest.mark.parametrize(("variable", "value", "facts"), rows_of(VARIABLES))
def test_broken_variables(tmp_path: Path, variable: str, value: str, facts: list[str]) -> None:
    agent = variable.startswith("FEDGE_AGENT_")
    file, text = ("agent.toml", AGENT) if agent else ("federation.toml", FEDERATION)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, file, text, {variable: value})
    assert_told(caught.value, f"environment variable {variable}: ", facts)
