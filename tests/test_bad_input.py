"""Bad input of all three kinds: configurations, data files, updates.

One row each: what comes in, and what the error must tell: where (file or variable, device or topic), the key
or place in it, and the names and numbers that put it right, in whichever words. Everything goes through the
programs' own entry points; the broken messages of each type are in `tests/fedge/test_messages.py`.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.config import AgentSettings
from agent.data.dataset import fit
from agent.sources import open_source
from aggregator.config import FederationSettings
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import rounds
from aggregator.core.federation import Federation, Rules, Stage
from aggregator.core.per_device import Devices
from aggregator.core.stopping import Stopping
from fedge.algorithms.plan import Plan
from fedge.errors import ConfigError, DataError, ProtocolError
from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire import encoding
from fedge.wire.frames import split
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Cohort
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason, Rejection


def rows_of(table: dict[str, tuple[Any, ...]]) -> list[Any]:
    """Of each row its first two parts, and the others together: the facts that a message has to name."""
    return [pytest.param(first, second, facts, id=name) for name, (first, second, *facts) in table.items()]


def assert_told(error: Exception, begins: str, facts: list[str]) -> None:
    assert str(error).startswith(begins)
    assert [fact for fact in facts if fact not in str(error)] == []


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


# ── data files ─────────────────────────────────────────────────────────────────────────────────────────────

TASK = Task(
    network=NetworkSpec(inputs=2, layers=(Dense(units=2),), loss="cross-entropy"),
    features=("heat", "rain"),
    classes=("dry", "wet"),
)
ROWS = "heat,rain,label\n" + "".join(f"{i},0.5,{'dry' if i % 2 else 'wet'}\n" for i in range(40))
ARRAYS: dict[str, Any] = {"X": np.ones((40, 2)), "y": np.array(["dry", "wet"] * 20)}

CSV_FILES: dict[str, tuple[Any, ...]] = {
    # what is wrong: (the file, the place as the message names it, what it must name to be put right)
    "empty": ("", "", "header"),
    "a header alone": ("heat,rain,label\n", "", "rows"),
    "Latin-1": (ROWS.encode().replace(b"1,0.5", b"\xe9,0.5"), "line 3: ", "UTF-8"),
    "commas that may be decimal": (
        ROWS.replace(",", ";").replace("0.5", "1,500"),
        "line 2, column 'rain': ",
        "[data] decimal",
    ),
    "a short line": (ROWS.replace("7,0.5,dry", "7,0.5"), "line 9: ", "2 cells", "3 columns"),
    "a quote that stays open": (ROWS.replace("8,0.5,wet", '8,"0.5,wet'), "line 10: ", "quote"),
    "a column twice": (ROWS.replace("label", "heat", 1), "line 1: column 'heat' "),
    "another column": (ROWS.replace("rain", "snow", 1), "", "'rain'", "heat, snow, label"),
    "no label": (ROWS.replace("label", "kind", 1), "", "'label'", "heat, rain, kind"),
    "a foreign class": (
        ROWS.replace("9,0.5,dry", "9,0.5,hail", 1),
        "line 11: column 'label' ",
        "1 such row",
        "dry, wet",
    ),
    "a decimal comma": (ROWS.replace("5,0.5,", '5,"0,5",', 1), "line 7, column 'rain': ", "point"),
    "too large": (ROWS.replace("\n3,", "\n3e99,", 1), "line 5, column 'heat': ", "float32"),
    "a missing value": (
        ROWS.replace("\n4,0.5", "\n4,", 1),
        "line 6: column 'rain' ",
        '[data] missing = "drop" or "fill"',
    ),
    "too few rows": ("".join(ROWS.splitlines(keepends=True)[:20]), "", "16 ", "20"),
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


@pytest.mark.parametrize(("content", "place", "facts"), rows_of(CSV_FILES))
def test_broken_csv_files(tmp_path: Path, content: str | bytes, place: str, facts: list[str]) -> None:
    file = tmp_path / "data.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        read_and_fit(tmp_path, "csv", "data.csv")
    assert_told(caught.value, f"{file}: {place}", facts)


NPZ_FILES: dict[str, tuple[Any, ...]] = {
    # what is wrong: (the file's arrays or bytes, how the message begins, what it must name to be put right)
    "no archive": (b"heat,rain\n1,2\n", "", "numpy.savez"),
    "no X": ({"x": ARRAYS["X"]}, "", "array X", "x"),
    "a flat X": ({"X": np.ones(40)}, "X ", "(samples, features)"),
    "Python objects": ({**ARRAYS, "y": np.array([None] * 40)}, "array y: ", "Python objects"),
    "y too short": ({**ARRAYS, "y": np.array(["dry"])}, "y ", "1 rows", "40"),
    "too many columns": ({**ARRAYS, "X": np.ones((40, 3))}, "X ", "3 columns", "2 features: heat, rain"),
    "y of numbers": ({**ARRAYS, "y": np.ones(40)}, "y ", "(samples,)"),
}


@pytest.mark.parametrize(("content", "key", "facts"), rows_of(NPZ_FILES))
def test_broken_npz_files(
    tmp_path: Path, content: dict[str, Any] | bytes, key: str, facts: list[str]
) -> None:
    file = tmp_path / "data.npz"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.savez(file, **content)
    with pytest.raises(DataError) as caught:
        read_and_fit(tmp_path, "npz", "data.npz")
    assert_told(caught.value, f"{file}: {key}", facts)


@pytest.mark.parametrize("source", ["csv", "npz"])
def test_a_file_that_is_not_there(tmp_path: Path, source: str) -> None:
    with pytest.raises(DataError) as caught:
        read_and_fit(tmp_path, source, "nowhere")
    assert_told(caught.value, f"{tmp_path / 'nowhere'}: ", ["no such file"])


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
    stage=Stage.COLLECTING,
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
            message: Update | Rejection
            try:
                message = unpack(frame.data, Update, max_bytes=MAX_SIZE)
            except ProtocolError as error:
                message = Rejection(error.reason, str(error))
            _, effects = rounds.step(state, on.UpdateRead(1.0, device, frame.id, message))
    receipts = [effect.receipt for effect in effects if isinstance(effect, do.SendReceipt)]
    said = [effect.text for effect in effects if isinstance(effect, do.Log)]
    return receipts[0], said[0] if said else ""


def framed(**changes: Any) -> bytes:
    fields = {**encoding.decode(pack(UPDATE)), **changes}
    return split(encoding.encode({key: value for key, value in fields.items() if value is not None}))[0]


def frame(**changes: Any) -> bytes:
    return encoding.encode({**encoding.decode(framed()), **changes})


UPDATES: dict[str, tuple[Any, ...]] = {
    # what is wrong: (the payload, the reason, what the message must name)
    "no msgpack": (b"\xc1\x00", Reason.MALFORMED),
    "cut short": (framed()[:-9], Reason.MALFORMED, "short"),
    "too long": (bytes(200_000), Reason.OVERSIZE, "200000", "131072"),
    "another version": (frame(v=2), Reason.UNKNOWN_VERSION, "version 2", "version 1"),
    "no version": (frame(v=None), Reason.MALFORMED, "frame: 'v' "),
    "another type": (frame(type="gift"), Reason.MALFORMED, "'gift'", "'frame'"),
    "a frame beyond the last": (frame(i=3), Reason.MALFORMED, "frame 3 of 1"),
    "a short id": (frame(id=b"x"), Reason.MALFORMED, "frame: id: ", "32 bytes"),
    "a forgotten key": (framed(samples=None), Reason.MALFORMED, "update: samples: "),
    "text for a number": (framed(samples="4"), Reason.MALFORMED, "update: samples: ", "integer"),
    "a strange codec": (framed(codec="zip"), Reason.UNSUPPORTED, "'zip'", "'float32'"),
    "metrics without bounds": (
        framed(metrics={"loss": float("inf")}),
        Reason.MALFORMED,
        "update: metrics.loss: ",
    ),
    "another's name": (framed(device="pi-2"), Reason.FOREIGN_DEVICE, "'pi-2'", "'pi-1'"),
    "another generation": (framed(generation=1), Reason.OTHER_GENERATION, "1", "2"),
    "a closed round": (framed(round=4), Reason.STALE_ROUND, "2.4", "2.5"),
    "a round to come": (framed(round=6), Reason.FUTURE_ROUND, "2.6", "2.5"),
    "another base": (framed(base=b"z" * 32), Reason.WRONG_BASE, "7a7a7a", "6d6d6d"),
    "a weight missing": (framed(body=bytes(4 * WEIGHTS - 4)), Reason.WRONG_LENGTH, "20", "24"),
    "not a number": (
        framed(body=np.full(WEIGHTS, np.nan, "<f4").tobytes()),
        Reason.NOT_FINITE,
        "weight 0 is nan",
    ),
    "a boast": (framed(samples=10**12), Reason.BAD_SAMPLE_COUNT, "1000000000000", "1…1000"),
    "a difference": (framed(kind="delta"), Reason.WRONG_KIND, "weights"),
}


def test_what_the_broken_updates_are_made_of_is_right() -> None:
    receipt, said = said_of(framed())
    assert (receipt.verdict, said) == ("admitted", "")


def assert_refused(payload: bytes, state: Federation, device: str, reason: Reason, facts: list[str]) -> None:
    """The device is told the reason and the facts, and the operator the same with its name and the round."""
    receipt, said = said_of(payload, state, device)
    assert (receipt.verdict, receipt.reason) == ("refused", reason)
    assert [fact for fact in facts if fact not in receipt.detail] == []
    assert [fact for fact in ("2.5", device, reason, receipt.detail) if fact not in said] == []


@pytest.mark.parametrize(("payload", "reason", "facts"), rows_of(UPDATES))
def test_broken_updates(payload: bytes, reason: Reason, facts: list[str]) -> None:
    assert_refused(payload, STATE, "pi-1", reason, facts)


def test_an_update_of_a_stranger() -> None:
    payload = framed(device="pi-3")
    assert_refused(payload, STATE, "pi-3", Reason.UNKNOWN_DEVICE, ["'pi-3'", "[federation] devices"])


def test_an_update_of_a_device_that_was_not_chosen() -> None:
    chosen = replace(STATE, cohorts=(Cohort(fraction=1e-12, seed=0),))
    assert_refused(framed(), chosen, "pi-1", Reason.NOT_CHOSEN, ["'pi-1'", "2.5"])
