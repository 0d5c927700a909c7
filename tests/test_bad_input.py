"""Bad input of all three kinds: configurations, data files, messages.

One row each: what comes in, and what the error must say: where (file or variable, device or topic), the key
or place in it, and what would be right. Everything goes through the programs' own entry points.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.config import AgentSettings
from agent.dataset import fit
from agent.sources import open_source
from aggregator import effects as do
from aggregator import events as on
from aggregator import rounds
from aggregator.config import FederationSettings
from aggregator.federation import Federation, Phase, Rules
from aggregator.per_device import Devices
from aggregator.stopping import Stopping
from fedge import wire
from fedge.errors import ConfigError, DataError, ProtocolError
from fedge.frames import Refused, split
from fedge.freshness import RoundId
from fedge.messages.envelope import Signed, unseal
from fedge.messages.fields import MAX_SIZE
from fedge.messages.frame import Blob, Frame
from fedge.messages.manifest import Cohort, Manifest
from fedge.messages.message import Message, pack, unpack
from fedge.messages.model import Model
from fedge.messages.receipt import Receipt
from fedge.messages.service import Service
from fedge.messages.status import Status
from fedge.messages.survey import Survey
from fedge.messages.task import Task
from fedge.messages.update import Update
from fedge.nn.spec import Dense, NetworkSpec
from fedge.plan import Plan

# ── configurations ─────────────────────────────────────────────────────────────────────────────────────────

MODEL_TABLE = """\
[model]
features = ["heat", "rain"]
classes = ["dry", "wet"]
"""
FEDERATION = f"""\
[federation]
name = "farm"
{MODEL_TABLE}"""
AGENT = """\
federation = "farm"
device = "pi-1"
[data]
source = "csv"
path = "data.csv"
"""

CLASSES = 'classes = ["dry", "wet"]'

FEDERATIONS: dict[str, tuple[str, str, str]] = {
    # what is wrong: (federation.toml, the key as the message names it, what is right)
    "no TOML": (FEDERATION.replace("name =", "name"), "not valid TOML: ", "(at line 2, column "),
    "capitals": (
        FEDERATION.replace("farm", "Farm"),
        "[federation] name: ",
        "got 'Farm'. At most 31 lower-case letters, digits and hyphens",
    ),
    "no model": (FEDERATION.replace(MODEL_TABLE, ""), "[model]: ", "is missing. What is learnt."),
    "no classes and no targets": (
        FEDERATION.replace(CLASSES, ""),
        "[model] classes: ",
        "give classes for a classification, or targets for a regression",
    ),
    "one class": (FEDERATION.replace(', "wet"', ""), "[model] classes: ", "has at least 2, got 1"),
    "a feature twice": (
        FEDERATION.replace("rain", "heat"),
        "[model] features: ",
        "every name may stand once, these stand more often: ['heat']",
    ),
    "no feature": (
        FEDERATION.replace('["heat", "rain"]', "0"),
        "[model] features: ",
        "a number of features is 1 to 65536, got 0",
    ),
    "a source with a slash": (
        FEDERATION + 'source = "../heart"',
        "[model] source: ",
        "String should match pattern",
    ),
    "a layer of nowhere": (
        FEDERATION + 'layers = [{ type = "relu" }, { type = "conv" }]',
        "[model.layers[1]] type: ",
        "unknown value 'conv'; accepted: dense, relu, tanh, sigmoid",
    ),
    "a layer without width": (
        FEDERATION + 'layers = [{ type = "dense" }]',
        "[model.layers[0]] units: ",
        "is missing",
    ),
    "too large a network": (
        FEDERATION + "layers = [" + '{ type = "dense", units = 60000 },' * 2 + "]",
        "[model] layers: ",
        "3600360002 weights are more than the 50000000 allowed",
    ),
    "a misspelt key": (
        FEDERATION + "[plan]\nlearning_rat = 0.1",
        "[plan] learning_rat: ",
        "unknown key; did you mean 'learning_rate'?",
    ),
    "no step": (FEDERATION + "[plan]\nlearning_rate = 0", "[plan] learning_rate: ", "greater than 0, got 0"),
    "half an epoch": (FEDERATION + "[plan]\nepochs = 0.5", "[plan] epochs: ", "a valid integer, got 0.5"),
    "more than all": (
        FEDERATION + "[rounds]\nfraction = 1.5",
        "[rounds] fraction: ",
        "less than or equal to 1, got 1.5. C: the part of the fleet",
    ),
    "a target below the quorum": (
        FEDERATION + "[rounds]\nquorum = 3\ntarget = 1",
        "[rounds] target: ",
        "must be at least the quorum of 3, got 1",
    ),
    "a quorum out of reach": (
        FEDERATION.replace("[model]", 'devices = ["pi-1"]\n[model]'),
        "[rounds] quorum: ",
        "2 can never be reached by the 1 devices listed",
    ),
    "accuracy of a regression": (
        FEDERATION.replace(CLASSES, 'targets = ["yield"]') + "[stopping]\naccuracy = 0.9",
        "[stopping] accuracy: ",
        "a regression has no accuracy; use rmse, patience or weight_change",
    ),
    "plaintext over the network": (
        FEDERATION + '[broker]\nurl = "mqtt://broker.lan"',
        "[broker] url: ",
        "use mqtts://, or set insecure = true if you accept that",
    ),
}

AGENTS: dict[str, tuple[str, str, str]] = {
    # what is wrong: (agent.toml, the key as the message names it, what is right)
    "a slash": (AGENT.replace("pi-1", "pi/1"), "device: ", "got 'pi/1'. This device's name, no other's"),
    "no data": (AGENT.partition("[data]")[0], "[data]: ", "is missing. Where this device's samples are"),
    "an unknown source": (
        AGENT.replace("csv", "excel", 1),
        "[data] source: ",
        "unknown value 'excel'; accepted: csv, npz, python",
    ),
    "no path": (AGENT.replace("path =", "label ="), "[data] path: ", "is missing. One CSV file, or a folder"),
    "a guess": (
        AGENT + 'missing = "guess"',
        "[data] missing: ",
        "should be 'refuse', 'drop' or 'fill', got 'guess'",
    ),
    "all held out": (AGENT + "holdout = 1.0", "[data] holdout: ", "should be less than 0.9, got 1.0"),
    "a password in the address": (
        AGENT + '[broker]\nurl = "mqtts://me:hunter2@broker.lan"',
        "[broker] url: ",
        "use the keys username and password_file",
    ),
    "hours without minutes": (
        AGENT + '[manners]\nhours = "22-6"',
        "[manners] hours: ",
        """hours are written "22:00-06:00": from, until; 00:00 is midnight, got '22-6'. Only""",
    ),
    "no hours at all": (
        AGENT + '[manners]\nhours = "06:00-06:00"',
        "[manners] hours: ",
        "hours that end as they begin, at 06:00; leave the key out for all day",
    ),
    "a boiling limit": (
        AGENT + "[manners]\ntemperature_c = 400",
        "[manners] temperature_c: ",
        "less than or equal to 150, got 400. Only below this temperature of the processor",
    ),
    "a load below nothing": (
        AGENT + "[manners]\nload = -1",
        "[manners] load: ",
        "greater than or equal to 0, got -1. Only while the load average of the last minute",
    ),
    "manners of another": (
        AGENT + "[manners]\nbattery = false",
        "[manners] battery: ",
        "unknown key; accepted here: hours, mains, temperature_c, load",
    ),
    "no epoch": (
        AGENT + "[limits]\nepochs = 0",
        "[limits] epochs: ",
        "greater than or equal to 1, got 0. The most",
    ),
    "no time": (
        AGENT + "[limits]\nseconds = 0",
        "[limits] seconds: ",
        "greater than 0, got 0. The longest training",
    ),
    "a budget in words": (
        AGENT + '[limits]\nbytes_per_day = "10 MB"',
        "[limits] bytes_per_day: ",
        "a valid integer, unable to parse string as an integer, got '10 MB'. The most bytes",
    ),
    "a limit on a source of nobody": (
        AGENT + '[limits]\nsources = ["heart"]',
        "[limits] sources: ",
        "there is no source 'heart' here; there is data",
    ),
    "a source by the default's name": (
        AGENT + '[sources.data]\nsource = "npz"\npath = "x.npz"',
        "[sources.data]: ",
        "is the name of [data]; give it another",
    ),
    "a source that is called in capitals": (
        AGENT + '[sources.Heart]\nsource = "npz"\npath = "x.npz"',
        "[sources] Heart: ",
        "String should match pattern",
    ),
    "a source without a path": (
        AGENT + '[sources.heart]\nsource = "npz"',
        "[sources.heart] path: ",
        "is missing. One NumPy archive",
    ),
    "a source of no kind": (
        AGENT + '[sources.heart]\npath = "x.npz"',
        "[sources.heart] source: ",
        "is missing; accepted: csv, npz, python",
    ),
    "a misspelt key of a source": (
        AGENT + '[sources.heart]\nsource = "npz"\npath = "x.npz"\nholdut = 0.1',
        "[sources.heart] holdut: ",
        "unknown key; did you mean 'holdout'?",
    ),
    "no such authority": (
        AGENT + '[broker]\nurl = "mqtts://broker.lan"\nca = "ca.pem"',
        "[broker] ca: ",
        "cannot read the file",
    ),
}


def load(folder: Path, file: str, text: str, environment: dict[str, str]) -> None:
    (folder / file).write_text(text, encoding="utf-8")
    kind = FederationSettings if file == "federation.toml" else AgentSettings
    kind.load(folder / file, environment)


def test_what_the_broken_ones_are_made_of_is_right(tmp_path: Path) -> None:
    load(tmp_path, "federation.toml", FEDERATION, {})
    load(tmp_path, "agent.toml", AGENT, {})


@pytest.mark.parametrize(("text", "key", "right"), FEDERATIONS.values(), ids=FEDERATIONS.keys())
def test_broken_federations(tmp_path: Path, text: str, key: str, right: str) -> None:
    assert_explained(tmp_path, "federation.toml", text, key, right)


@pytest.mark.parametrize(("text", "key", "right"), AGENTS.values(), ids=AGENTS.keys())
def test_broken_agents(tmp_path: Path, text: str, key: str, right: str) -> None:
    assert_explained(tmp_path, "agent.toml", text, key, right)


def assert_explained(folder: Path, file: str, text: str, key: str, right: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(folder, file, text, {})
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{folder / file}: {key}")
    assert right in line
    assert "hunter2" not in line, "no secret in a message"


VARIABLES: dict[str, tuple[str, str, str]] = {
    # what is wrong: (the variable, its value, what is right)
    "text for a number": (
        "FEDGE_AGGREGATOR_ROUNDS__QUORUM",
        "many",
        "expected a number of updates, 1 or more, or a share of the devices, above 0 and up to 1.0",
    ),
    "a key of nothing": ("FEDGE_AGENT_DATA__PAHT", "x", "unknown key; did you mean 'path'?"),
    "no JSON": ("FEDGE_AGGREGATOR_MODEL__CLASSES", "[dry, wet]", "not valid JSON: "),
}


@pytest.mark.parametrize(("variable", "value", "right"), VARIABLES.values(), ids=VARIABLES.keys())
def test_broken_variables(tmp_path: Path, variable: str, value: str, right: str) -> None:
    agent = variable.startswith("FEDGE_AGENT_")
    file, text = ("agent.toml", AGENT) if agent else ("federation.toml", FEDERATION)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, file, text, {variable: value})
    assert str(caught.value).startswith(f"environment variable {variable}: {right}")


# ── data files ─────────────────────────────────────────────────────────────────────────────────────────────

TASK = Task(
    network=NetworkSpec(inputs=2, layers=(Dense(units=2),), loss="cross-entropy"),
    features=("heat", "rain"),
    classes=("dry", "wet"),
)
ROWS = "heat,rain,label\n" + "".join(f"{i},0.5,{'dry' if i % 2 else 'wet'}\n" for i in range(40))
ARRAYS: dict[str, Any] = {"X": np.ones((40, 2)), "y": np.array(["dry", "wet"] * 20)}

CSV_FILES: dict[str, tuple[str | bytes, str, str]] = {
    # what is wrong: (the file, the place as the message names it, what is right)
    "empty": ("", "", "is empty; it must begin with a header line"),
    "a header alone": ("heat,rain,label\n", "", "has a header but no rows yet"),
    "Latin-1": (ROWS.encode().replace(b"1,0.5", b"\xe9,0.5"), "line 3: ", "save the file as CSV in UTF-8"),
    "commas that may be decimal": (
        ROWS.replace(",", ";").replace("0.5", "1,500"),
        "line 2, column 'rain': ",
        "may be a decimal comma or stand between thousands; say which: [data] decimal",
    ),
    "a short line": (
        ROWS.replace("7,0.5,dry", "7,0.5"),
        "line 9: ",
        "has 2 cells, the header has 3 columns; complete or delete the line",
    ),
    "a quote that stays open": (
        ROWS.replace("8,0.5,wet", '8,"0.5,wet'),
        "line 10: ",
        "look for a quote that is not closed",
    ),
    "a column twice": (
        ROWS.replace("label", "heat", 1),
        "line 1: column 'heat' ",
        "stands twice; give each its own name",
    ),
    "another column": (
        ROWS.replace("rain", "snow", 1),
        "there is no column 'rain' ",
        "the columns are heat, snow, label",
    ),
    "no label": (
        ROWS.replace("label", "kind", 1),
        "there is no column 'label' with each row's class",
        "the columns are heat, rain, kind",
    ),
    "a foreign class": (
        ROWS.replace("9,0.5,dry", "9,0.5,hail", 1),
        "line 11: column 'label' ",
        "names none of the task's classes (1 such rows); they are dry, wet",
    ),
    "a decimal comma": (
        ROWS.replace("5,0.5,", '5,"0,5",', 1),
        "line 7, column 'rain': ",
        "not a number; write decimals with a point",
    ),
    "too large": (ROWS.replace("\n3,", "\n3e99,", 1), "line 5, column 'heat': ", "too large for a float32"),
    "a missing value": (
        ROWS.replace("\n4,0.5", "\n4,", 1),
        "line 6: column 'rain' is missing; ",
        'complete it, or set [data] missing = "drop" or "fill"',
    ),
    "too few rows": (
        "".join(ROWS.splitlines(keepends=True)[:20]),
        "16 samples for training, ",
        "the minimum is 20",
    ),
}


def read_and_fit(folder: Path, source: str, file: str) -> None:
    """As the agent does: its configuration, then the source, then what the task wants of it."""
    text = AGENT.replace('"csv"', f'"{source}"').replace("data.csv", file)
    (folder / "agent.toml").write_text(text, encoding="utf-8")
    settings = AgentSettings.load(folder / "agent.toml", {})
    fit(open_source(settings.data).read(), TASK, settings.data)


def test_what_the_broken_files_are_made_of_is_right(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(ROWS)
    read_and_fit(tmp_path, "csv", "data.csv")
    np.savez(tmp_path / "data.npz", **ARRAYS)
    read_and_fit(tmp_path, "npz", "data.npz")


@pytest.mark.parametrize(("content", "place", "right"), CSV_FILES.values(), ids=CSV_FILES.keys())
def test_broken_csv_files(tmp_path: Path, content: str | bytes, place: str, right: str) -> None:
    file = tmp_path / "data.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        read_and_fit(tmp_path, "csv", "data.csv")
    assert str(caught.value).startswith(f"{file}: {place}")
    assert right in str(caught.value)


NPZ_FILES: dict[str, tuple[dict[str, Any] | bytes, str, str]] = {
    "no archive": (b"heat,rain\n1,2\n", "not a NumPy archive", "write it with numpy.savez"),
    "no X": ({"x": ARRAYS["X"]}, "holds no array X; ", "its arrays are x"),
    "a flat X": ({"X": np.ones(40)}, "X must be ", "numbers of shape (samples, features)"),
    "Python objects": (
        {**ARRAYS, "y": np.array([None] * 40)},
        "array y: holds Python objects",
        "save text or numbers",
    ),
    "y too short": (
        {**ARRAYS, "y": np.array(["dry"])},
        "y has 1 rows, X has 40; ",
        "they must belong together",
    ),
    "too many columns": (
        {**ARRAYS, "X": np.ones((40, 3))},
        "X has 3 columns, ",
        "the task 2 features: heat, rain",
    ),
    "y of numbers": (
        {**ARRAYS, "y": np.ones(40)},
        "y must be ",
        "class names or integers of shape (samples,) for a classification",
    ),
}


@pytest.mark.parametrize(("content", "key", "right"), NPZ_FILES.values(), ids=NPZ_FILES.keys())
def test_broken_npz_files(tmp_path: Path, content: dict[str, Any] | bytes, key: str, right: str) -> None:
    file = tmp_path / "data.npz"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.savez(file, **content)
    with pytest.raises(DataError) as caught:
        read_and_fit(tmp_path, "npz", "data.npz")
    assert str(caught.value).startswith(f"{file}: {key}")
    assert right in str(caught.value)


@pytest.mark.parametrize("source", ["csv", "npz"])
def test_a_file_that_is_not_there(tmp_path: Path, source: str) -> None:
    with pytest.raises(DataError) as caught:
        read_and_fit(tmp_path, source, "nowhere")
    assert str(caught.value) == f"{tmp_path / 'nowhere'}: there is no such file or folder; check the path"


# ── messages from devices, as the aggregator's core judges them ────────────────────────────────────────────

WEIGHTS = TASK.network.schema.size
BASE = b"m" * 32
BLOB = Blob(digest=BASE, slot=0, frames=1, size=9)
STATE = Federation(
    rules=Rules(fraction=1.0, target=None, quorum=1, deadline_s=60.0),
    stopping=Stopping(rounds=9),
    plan=Plan(),
    seed=0,
    roster=frozenset({"pi-1", "pi-2"}),
    max_samples=1_000,
    ledger=bytes(16),
    instance=bytes(16),
    round=RoundId(2, 5),
    kind="train",
    task=BLOB,
    task_message=TASK,
    weights=WEIGHTS,
    model=BLOB,
    phase=Phase.COLLECTING,
    cohorts=(Cohort(fraction=1.0, seed=0),),
    since_s=0.0,
    awaited=Devices({"pi-2"}),
)
UPDATE = Update(
    generation=2,
    round=5,
    base=BASE,
    device="pi-1",
    samples=40,
    steps=1,
    kind="weights",
    codec="float32",
    body=np.zeros(WEIGHTS, "<f4").tobytes(),
)


def said_of(payload: bytes, state: Federation = STATE, device: str = "pi-1") -> tuple[Receipt, str]:
    """What the device and the operator are told of a payload on the device's update topic."""
    try:
        frame = unpack(payload, Frame)
    except ProtocolError as error:
        digest = hashlib.sha256(payload).digest()
        garbage = on.GarbageArrived(device, digest, error.reason, str(error))
        _, effects = rounds.step(state, garbage)
    else:
        state, effects = rounds.step(state, on.FrameArrived(1.0, device, frame))
        if do.ReadUpdate(device, frame.id) in effects:
            message: Update | Refused
            try:
                message = unpack(frame.data, Update, max_bytes=MAX_SIZE)
            except ProtocolError as error:
                message = Refused(error.reason, str(error))
            _, effects = rounds.step(state, on.UpdateRead(1.0, device, frame.id, message))
    receipts = [effect.receipt for effect in effects if isinstance(effect, do.SendReceipt)]
    said = [effect.text for effect in effects if isinstance(effect, do.Say)]
    return receipts[0], said[0] if said else ""


def framed(**changes: Any) -> bytes:
    fields = {**wire.decode(pack(UPDATE)), **changes}
    return split(wire.encode({key: value for key, value in fields.items() if value is not None}))[0]


def frame(**changes: Any) -> bytes:
    return wire.encode({**wire.decode(framed()), **changes})


UPDATES: dict[str, tuple[bytes, str, str]] = {
    # what is wrong: (the payload, the reason and key as the message names them, what is right)
    "no msgpack": (b"\xc1\x00", "(malformed): ", "only plain values are read"),
    "cut short": (framed()[:-9], "(malformed): cut short: ", "the message at "),
    "too long": (bytes(200_000), "(oversize): a message of 200000 bytes, ", "more than the 131072 allowed"),
    "another version": (
        frame(v=2),
        "(unknown_version): protocol version 2: ",
        "this program speaks version 1",
    ),
    "no version": (frame(v=None), "(malformed): frame: 'v' is None, ", "expected the protocol's version"),
    "another type": (frame(type="gift"), "(malformed): a message of type 'gift' ", "'frame' was expected"),
    "a frame beyond the last": (frame(i=3), "(malformed): frame: message: frame 3 of 1 ", "cannot be"),
    "a short id": (frame(id=b"x"), "(malformed): frame: id: ", "should have at least 32 bytes"),
    "a forgotten key": (framed(samples=None), "(malformed): update: samples: ", "Field required"),
    "text for a number": (framed(samples="4"), "(malformed): update: samples: ", "should be a valid integer"),
    "a strange codec": (framed(codec="zip"), "(unsupported): encoded as 'zip': ", "asks for 'float32'"),
    "metrics without bounds": (
        framed(metrics={"loss": float("inf")}),
        "(malformed): update: metrics.loss: ",
        "should be a finite number",
    ),
    "another's name": (
        framed(device="pi-2"),
        "(foreign_device): ",
        "the update names 'pi-2', its topic 'pi-1'",
    ),
    "another generation": (framed(generation=1), "(other_generation): ", "generation 1, ours is 2"),
    "a closed round": (framed(round=4), "(stale_round): ", "round 2.4 is closed; 2.5 is open"),
    "a round to come": (framed(round=6), "(future_round): ", "round 2.6 is not open yet; 2.5 is"),
    "another base": (framed(base=b"z" * 32), "(wrong_base): made from 7a7a7a", "the round's is 6d6d6d"),
    "a weight missing": (
        framed(body=bytes(4 * WEIGHTS - 4)),
        "(wrong_length): float32: 20 bytes ",
        "where 6 weights take 24",
    ),
    "not a number": (
        framed(body=np.full(WEIGHTS, np.nan, "<f4").tobytes()),
        "(not_finite): ",
        "weight 0 is nan",
    ),
    "a boast": (
        framed(samples=10**12),
        "(bad_sample_count): n_k = 1000000000000: ",
        "whole number in 1…1000",
    ),
    "a difference": (framed(kind="delta"), "(wrong_kind): ", "the plan asks for weights"),
}


def test_what_the_broken_updates_are_made_of_is_right() -> None:
    receipt, said = said_of(framed())
    assert (receipt.verdict, said) == ("admitted", "")


@pytest.mark.parametrize(("payload", "key", "right"), UPDATES.values(), ids=UPDATES.keys())
def test_broken_updates(payload: bytes, key: str, right: str) -> None:
    receipt, said = said_of(payload)
    assert said.startswith(f"round 2.5: refused what pi-1 sent {key}")
    assert right in said
    assert receipt.verdict == "refused"
    assert f"({receipt.reason}): {receipt.detail}" in said, "the device is told the same"


def test_an_update_of_a_stranger() -> None:
    receipt, said = said_of(framed(device="pi-3"), device="pi-3")
    assert receipt.verdict == "refused"
    assert said == (
        "round 2.5: refused what pi-3 sent (unknown_device): 'pi-3' is not in [federation] devices"
    )


def test_an_update_of_a_device_that_was_not_chosen() -> None:
    chosen = replace(STATE, cohorts=(Cohort(fraction=1.0, seed=0, devices=("pi-2",)),))
    receipt, said = said_of(framed(), chosen)
    assert receipt.verdict == "refused"
    assert said == "round 2.5: refused what pi-1 sent (not_chosen): 'pi-1' is not chosen for round 2.5"


# ── all other messages, as both programs read them ─────────────────────────────────────────────────────────

MANIFEST = Manifest(
    generation=1,
    round=1,
    kind="train",
    state="open",
    seed=0,
    task=BLOB,
    model=BLOB,
    plan=Plan(),
    cohort=Cohort(fraction=1.0, seed=0),
    seconds_left=9.0,
)
SURVEY = Survey(generation=1, round=0, base=BASE, device="pi-1", samples=40, features=b"")
STATUS = Status(online=True, boot=bytes(16), connection=1, version="0")
SERVICE = Service(online=True, ledger=bytes(16), instance=bytes(16), beat=0)
RECEIPT = Receipt(generation=1, round=1, update=BASE, verdict="admitted")
MODEL = Model(generation=1, round=1, body=b"")

MESSAGES: dict[str, tuple[Message, dict[str, Any], str, str]] = {
    # what is wrong: (a right one, its changes, kind and key as the message names them, what is right)
    "a round in the future of counting": (
        MANIFEST,
        {"round": 2**31},
        "round: round: ",
        "should be less than or equal to 2147483647",
    ),
    "a state that is no name": (
        MANIFEST,
        {"state": "half open"},
        "round: state: ",
        "should match pattern",
    ),
    "more than all": (
        MANIFEST,
        {"cohort": {"fraction": 2.0, "seed": 0}},
        "round: cohort.fraction: ",
        "should be less than or equal to 1",
    ),
    "endless training": (
        MANIFEST,
        {"plan": {"epochs": 10**9}},
        "round: plan.epochs: ",
        "should be less than or equal to 1000",
    ),
    "training without a model": (
        MANIFEST,
        {"model": None},
        "round: message: ",
        "a training round names its model and its plan",
    ),
    "frames without bytes": (
        MANIFEST,
        {"task": {"digest": BASE, "slot": 0, "frames": 3, "size": 2}},
        "round: task: ",
        "2 bytes cannot fill 3 frames",
    ),
    "names that are not the network's": (
        TASK,
        {"features": ["heat"]},
        "task: message: ",
        "1 feature names for 2 inputs",
    ),
    "a network without an end": (
        TASK,
        {"network": {"inputs": 2, "layers": [{"type": "relu"}], "loss": "cross-entropy"}},
        "task: network: ",
        "the last trained layer must be dense",
    ),
    "a device with a slash": (
        SURVEY,
        {"device": "a/b"},
        "survey: device: ",
        "should match pattern '^[a-z0-9]",
    ),
    "a count as text": (STATUS, {"connection": "1"}, "status: connection: ", "should be a valid integer"),
    "a boot id of a byte": (STATUS, {"boot": b"b"}, "status: boot: ", "should have at least 16 bytes"),
    "a beat backwards": (SERVICE, {"beat": -1}, "service: beat: ", "greater than or equal to 0"),
    "a refusal without a reason": (
        RECEIPT,
        {"verdict": "refused"},
        "receipt: message: ",
        "a refusal names its reason",
    ),
    "an unknown verdict": (
        RECEIPT,
        {"verdict": "maybe"},
        "receipt: verdict: ",
        "'admitted', 'refused' or 'retry'",
    ),
    "a model as text": (MODEL, {"body": "weights"}, "model: body: ", "should be a valid bytes"),
}


@pytest.mark.parametrize(("right", "changes", "key", "accepted"), MESSAGES.values(), ids=MESSAGES.keys())
def test_broken_messages(right: Message, changes: dict[str, Any], key: str, accepted: str) -> None:
    fields = {**wire.decode(pack(right)), **changes}
    body = wire.encode({name: value for name, value in fields.items() if value is not None})
    kind = type(right)
    with pytest.raises(ProtocolError) as caught:
        # Announcements come in the signed envelope.
        unseal(pack(Signed(body=body)), kind) if kind is Manifest else unpack(body, kind)
    assert str(caught.value).startswith(key)
    assert accepted in str(caught.value)
