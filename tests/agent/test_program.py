"""The device's program as its owner meets it: what it imports, says, exits with, and how it stops."""

import json
import os
import queue
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from agent.__main__ import main
from agent.config import AgentSettings
from agent.shell import model_file
from agent.shell.loop import Loop
from agent.shell.measured_conditions import ROOT_VARIABLE
from agent.shell.memory import FILE, read_moved
from agent.shell.traffic import PARTS
from fedge import __version__
from fedge.algorithms.codecs import float32
from fedge.algorithms.plan import Plan
from fedge.identity.ed25519 import public_pem
from fedge.nn.spec import Dense, NetworkSpec
from fedge.storage.atomic_files import make_folder
from fedge.storage.locks import lock
from fedge.transport import MessageArrived, Publication
from fedge.wire.frames import Assembler, Limits, split
from fedge.wire.freshness import MANIFEST_EXPIRY_S
from fedge.wire.messages.envelope import seal
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.status import Status
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from fedge.wire.topics import Topics
from fleet.demo import broker as brokers
from fleet.demo.broker import Broker
from tests.called import call
from tests.fedge.client import Client
from tests.wording import assert_tells

ROOT = Path(__file__).parent.parent.parent
EXTRAS = ("onnx", "onnxruntime", "plotly", "starlette", "typer", "rich", "cryptography", "sklearn", "pandas")
PATIENCE_S = 90.0


def run(*arguments: str | Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "agent", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def configure(folder: Path, url: str = "mqtt://127.0.0.1:1", **data: object) -> Path:
    """An `agent.toml` beside its data: 60 samples of two classes in two columns."""
    rng = np.random.default_rng(1)
    y = np.arange(60) % 2
    np.savez(folder / "data.npz", X=rng.normal(size=(60, 2)) + y[:, None], y=y)
    path = folder / "agent.toml"
    lines = ['source = "npz"', f'path = "{data.get("path", "data.npz")}"']
    state = data.get("state", "state")
    path.write_text(
        f'federation = "lab"\ndevice = "pi-1"\n[broker]\nurl = "{url}"\n[data]\n'
        + "\n".join(lines)
        + f'\n[state]\nfolder = "{state}"\n'
    )
    return path


def task(units: int | None = None) -> Task:
    """Two features, two classes; `units` of a hidden layer make it slow."""
    hidden = (Dense(units=units), Dense(units=units)) if units else ()
    network = NetworkSpec(inputs=2, layers=(*hidden, Dense(units=2)), loss="cross-entropy")
    return Task(network=network, features=("u", "v"), classes=("0", "1"))


def model(of: Task, round_: int = 0) -> Model:
    weights = np.random.default_rng(0).normal(size=of.network.schema.size).astype(np.float32) * 0.01
    return Model(generation=1, round=round_, body=float32.encode(weights))


# ── imports ────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_imports_none_of_the_extras() -> None:
    script = (
        "import sys, agent.__main__, agent.shell.loop, agent.cli.predict, agent.sources\n"
        "print(' '.join(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "fedge.service.collision" not in done.stdout.split(), "only --check looks for others' packages"
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"agent", "numpy", "paho", "msgpack", "pydantic"} <= loaded
    assert not loaded & {*EXTRAS, "aggregator", "fleet", "safetensors", "torch", "scipy"}


# ── exit codes ─────────────────────────────────────────────────────────────────────────────────────


def test_check_says_what_it_understood(tmp_path: Path) -> None:
    configure(tmp_path)
    done = run("--check", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "      rows  60: 48 for training" in done.stdout
    assert done.stdout.endswith("the configuration is valid\n")
    done = call(main, "--check", "--json", folder=tmp_path)
    understood = json.loads(done.stdout)
    assert understood.pop("zone")
    assert understood == {
        "device": "pi-1",
        "federation": "lab",
        "broker": "mqtt://127.0.0.1:1",
        "tls": False,
        "data": str(tmp_path / "data.npz"),
        "samples": 60,
        "columns": 2,
        "labels": {"0": 30, "1": 30},
        "holdout": 0.2,
        "missing": "refuse",
        "sources": {},
        "limits": {},
        "manners": {},
        "declines": {},
        "state": str(tmp_path / "state"),
        "trust": None,
        "task": None,
        "cap": None,
        "uses": {
            "data": {
                "files": {str(tmp_path / "data.npz"): 60},
                "waits": [],
                "rows": 60,
                "of_rows": 60,
                "training": 48,
                "held_out": 12,
                "gaps": 0,
                "left_out": 0,
                "series": 1,
                "series_without_held_out": 0,
                "columns": ["0", "1"],
                "unused_columns": [],
                "classes": [
                    {"name": "0", "written": "0", "training": 24, "held": 6},
                    {"name": "1", "written": "1", "training": 24, "held": 6},
                ],
                "held_unseen": 0,
                "excluded": [],
            }
        },
        "problems": [],
        "warnings": [],
    }
    assert not (tmp_path / "state").exists(), "a check does nothing"


def test_check_says_whose_models_are_taken(tmp_path: Path) -> None:
    path = configure(tmp_path)
    path.write_text(path.read_text() + '[trust]\nkey = "signing.pub"\n')
    done = call(main, "--check", folder=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    assert "signing.pub: the public key cannot be read: No such file or directory" in done.stderr
    public = bytes(range(32))
    (tmp_path / "signing.pub").write_bytes(public_pem(public))
    done = call(main, "--check", "--json", folder=tmp_path)
    assert json.loads(done.stdout)["trust"] == public.hex()[:16]


def test_version_and_help(tmp_path: Path) -> None:
    assert call(main, "--version", folder=tmp_path).stdout == f"fedge-agent {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--nonsense"], 64, "fedge-agent: unrecognized arguments: --nonsense"),
        (["predict"], 64, "fedge-agent predict: the following arguments are required: FILE"),
        (
            ["--check", "--config", "no-data.toml"],
            65,
            "gone.npz: there is no such file or folder; check the path",
        ),
        (["predict", "data.npz"], 74, "model.held: no model has been followed yet; run the agent until it"),
        (["--config", "no-state.toml"], 74, "data.npz: this folder cannot be used: File exists"),
        (["--config", "taken.toml"], 75, "process PID already works with this state folder"),
        (["--config", "gone.toml"], 78, "gone.toml: there is no such file; examples/ has one to start from"),
        (["--config", "wrong.toml"], 78, "wrong.toml: device: "),
    ],
)
def test_exit_codes(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    configure(tmp_path, state="data.npz").rename(tmp_path / "no-state.toml")
    configure(tmp_path, path="gone.npz").rename(tmp_path / "no-data.toml")
    configure(tmp_path, state="taken").rename(tmp_path / "taken.toml")
    wrong = configure(tmp_path).read_text().replace("pi-1", "Pi/1")
    (tmp_path / "wrong.toml").write_text(wrong)
    held_lock = lock(make_folder(tmp_path / "taken"))
    try:
        # The lock is held against other processes.
        done = run(*arguments, folder=tmp_path) if code == 75 else call(main, *arguments, folder=tmp_path)
    finally:
        os.close(held_lock)
    assert done.returncode == code, done.stderr
    assert message.replace("PID", str(os.getpid())) in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_predict_needs_no_network(tmp_path: Path) -> None:
    configure(tmp_path)
    (tmp_path / "state").mkdir()
    model_file.save(tmp_path / "state" / model_file.FILE, pack(task()), pack(model(task(), 4)))
    (tmp_path / "new.csv").write_text("v,u\n1.0,2.0\n-1.0,0.5\n")
    done = run("predict", "new.csv", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["row", "0", "1"]
    done = call(main, "predict", "new.csv", "--json", folder=tmp_path)
    answer = json.loads(done.stdout)
    assert (answer["generation"], answer["round"], len(answer["predictions"])) == (1, 4, 2)
    (tmp_path / "new.csv").write_text("u\n1.0\n")
    assert call(main, "predict", "new.csv", folder=tmp_path).returncode == 65


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--check"], ["predict", "new.csv"], ["predict", "new.csv", "--json"]])
@pytest.mark.parametrize("rows", [1, 5_000])
def test_output_that_cannot_be_written(arguments: list[str], rows: int, tmp_path: Path) -> None:
    """Little is written when the program ends, much before."""
    configure(tmp_path)
    (tmp_path / "state").mkdir()
    model_file.save(tmp_path / "state" / model_file.FILE, pack(task()), pack(model(task(), 4)))
    (tmp_path / "new.csv").write_text("v,u\n" + "1.0,2.0\n" * rows)
    command = [sys.executable, "-m", "agent", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def into(output: IO[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    with Path("/dev/full").open("w") as full:
        done = into(full)
    assert done.returncode == 74
    assert done.stderr.splitlines()[0].endswith("standard output: cannot be written: No space left on device")
    assert len(done.stderr.splitlines()) == 1
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:  # `| head`
        done = into(closed)
    assert (done.returncode, done.stderr) == (0, "")


# ── with a broker ──────────────────────────────────────────────────────────────────────────────────


class Agent:
    """The real program, and what it says."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self._lines.put(line)

    def says(self, what: str) -> str:
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            line = self._lines.get(timeout=max(0.01, deadline_s - time.monotonic()))
            self.said.append(line)
            if what in line:
                return line

    def ends_within(self, seconds: float) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Agent]]:
    started: list[Agent] = []

    def new() -> Agent:
        started.append(Agent(tmp_path))
        return started[-1]

    yield new
    for agent in started:
        agent.process.kill()
        agent.process.wait()


class Aggregator:
    """Says what an aggregator says, and hears what it hears."""

    def __init__(self, url: str) -> None:
        self.topics = Topics("lab")
        self.client = Client(url, "aggregator")
        self.client.open()
        self.client.subscribe(self.topics.all_updates, self.topics.all_statuses)

    def announce(self, of: Task, **fields: object) -> Manifest:
        said = {}
        for kind, message in (("task", pack(of)), ("model", pack(model(of)))):
            frames = split(message)
            topic = getattr(self.topics, kind)
            self.client.send(*(Publication(topic(0, i), f, retain=True) for i, f in enumerate(frames)))
            said[kind] = Blob(digest=frames.id, slot=0, frames=len(frames), size=len(message))
        manifest = Manifest.model_validate(
            {
                "generation": 1,
                "round": 1,
                "kind": "train",
                "state": "open",
                "seed": 1,
                "plan": Plan(epochs=1),
                "cohort": Cohort(fraction=1.0, seed=1),
                "seconds_left": 600.0,
                **said,
                **fields,
            }
        )
        self.client.send(
            Publication(self.topics.round, seal(manifest), retain=True, expiry_s=MANIFEST_EXPIRY_S)
        )
        return manifest

    def hears(self) -> Status | Update:
        """The next status or whole update."""
        assembler = Assembler(Limits(2**30, 2**30))
        while True:
            message = self.client.wait_for(MessageArrived)
            if "/status/" in message.topic:
                return unpack(message.payload, Status)
            whole = assembler.offer("pi-1", unpack(message.payload, Frame))
            if isinstance(whole, bytes):
                self.digest = split(whole).id
                return unpack(whole, Update, max_bytes=len(whole))

    def hears_status(self, wanted: Callable[[Status], bool]) -> Status:
        while True:
            heard = self.hears()
            if isinstance(heard, Status) and wanted(heard):
                return heard

    def hears_update(self) -> Update:
        while not isinstance(heard := self.hears(), Update):
            pass
        return heard

    def answer(self, update: Update) -> None:
        verdict = Receipt(generation=1, round=update.round, update=self.digest, verdict="admitted")
        self.client.send(Publication(self.topics.receipt("pi-1"), pack(verdict)))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with brokers.start("mosquitto", tmp_path / "broker") as started:
        yield started


@pytest.fixture
def aggregator(broker: Broker) -> Iterator[Aggregator]:
    aggregator = Aggregator(broker.url)
    yield aggregator
    aggregator.client.link.close(timeout_s=0.2)


needs_mosquitto = pytest.mark.skipif(not brokers._find_mosquitto(), reason="mosquitto is not installed")
system = [pytest.mark.system, needs_mosquitto]


@pytest.mark.system
@needs_mosquitto
def test_fault_24_sigterm_in_mid_training(
    broker: Broker, aggregator: Aggregator, start: Callable[[], Agent], tmp_path: Path
) -> None:
    configure(tmp_path, broker.url)
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "data.npz", X=rng.normal(size=(60_000, 2)), y=np.arange(60_000) % 2)
    agent = start()
    aggregator.announce(task(units=1_200), plan=Plan(epochs=1_000, batch_size=0))
    agent.says("train begins")
    time.sleep(0.3)  # in the middle of one step
    assert agent.ends_within(15.0) == 0
    agent.says("stopped")
    assert aggregator.hears_status(lambda status: not status.online).boot
    assert not any("Traceback" in line for line in agent.said)


@pytest.mark.system
@needs_mosquitto
def test_fault_35_an_update_that_cannot_be_saved_is_never_published(
    broker: Broker, aggregator: Aggregator, start: Callable[[], Agent], tmp_path: Path
) -> None:
    configure(tmp_path, broker.url)
    agent = start()
    aggregator.hears_status(lambda status: status.online)
    _, hard = resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (10_000, hard))  # its disk is full
    aggregator.announce(task(units=100))
    heard = aggregator.hears()
    assert isinstance(heard, Status), "not an update"
    assert heard.declined is not None
    assert heard.declined.reason == Reason.FAILED
    assert_tells(heard.declined.detail, "disk")
    agent.says("agent.db")

    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (hard, hard))  # there is room again
    aggregator.announce(task(units=100), attempt=1)
    update = aggregator.hears_update()
    assert (update.round, update.device, update.samples) == (1, "pi-1", 48)
    aggregator.answer(update)
    agent.says("the update counts")
    assert (tmp_path / "state" / model_file.FILE).exists(), "the model is kept as well"

    # What is answered stays answered over a restart, in which nothing is trained again.
    assert agent.ends_within(PATIENCE_S) == 0
    again = start()
    aggregator.hears_status(lambda status: status.online and status.round == 1)
    assert again.ends_within(PATIENCE_S) == 0
    again.says("stopped")
    assert not any("begins" in line for line in again.said)


@pytest.mark.system
@needs_mosquitto
def test_fault_25_a_saved_update_is_reported_after_a_sigkill(
    broker: Broker, aggregator: Aggregator, start: Callable[[], Agent], tmp_path: Path
) -> None:
    configure(tmp_path, broker.url)
    agent = start()
    aggregator.announce(task(units=200))  # two frames
    first = aggregator.hears_update()
    agent.process.kill()
    agent.process.wait()
    again = start()
    assert aggregator.hears_update() == first, "the same bytes, and not trained again"
    aggregator.answer(first)
    again.says("the update counts")
    assert again.ends_within(PATIENCE_S) == 0


@pytest.mark.system
def test_sigterm_while_no_broker_answers(start: Callable[[], Agent], tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # accepts, and never says a word
        configure(tmp_path, f"mqtt://127.0.0.1:{silent.getsockname()[1]}")
        agent = start()
        silent.settimeout(PATIENCE_S)
        peer, _ = silent.accept()
        with peer:
            assert agent.ends_within(15.0) == 0


@pytest.mark.system
def test_sigterm_while_there_is_no_broker(start: Callable[[], Agent], tmp_path: Path) -> None:
    configure(tmp_path, "mqtt://127.0.0.1:1")
    agent = start()
    agent.says("not connected: no broker answers at 127.0.0.1:1")
    assert agent.ends_within(15.0) == 0


@pytest.mark.system
@needs_mosquitto
def test_fault_10_a_device_that_meets_its_clone_leaves_and_returns(
    broker: Broker, aggregator: Aggregator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.core.lifecycle.link.CLONE_PAUSE_S", 0.2)
    loop = Loop(AgentSettings.load(configure(tmp_path, broker.url), {}))
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        own = aggregator.hears_status(lambda status: status.online)
        clone = own.model_copy(update={"boot": b"c" * 16})
        topic = aggregator.topics.status("pi-1")
        aggregator.client.send(Publication(topic, pack(clone), retain=True))
        # The clone's word was retained, so it leaves once more; its own is the last one then.
        returned: set[int] = set()
        while not returned >= {2, 3}:
            back = aggregator.hears_status(lambda status: status.online and status.boot == own.boot)
            returned.add(back.connection)
    finally:
        loop.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert not aggregator.hears_status(lambda status: not status.online).online


@pytest.mark.system
@needs_mosquitto
def test_a_busy_device_joins_the_round_that_is_still_open_when_it_is_calm(
    broker: Broker, aggregator: Aggregator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.core.lifecycle.conditions.MEASURE_AGAIN_S", 0.1)
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    (tmp_path / "proc").mkdir()
    load = tmp_path / "proc/loadavg"
    load.write_text("640.0 1 1 1/1 1")
    config = configure(tmp_path, broker.url)
    config.write_text(f"{config.read_text()}\n[manners]\nload = 0.5\n[limits]\nbytes_per_day = 64_000_000\n")
    aggregator.announce(task())
    loop = Loop(AgentSettings.load(config, {}))
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        declined = aggregator.hears_status(lambda status: status.declined is not None).declined
        assert declined is not None
        assert declined.reason == Reason.TOO_BUSY
        load.write_text("0.01 1 1 1/1 1")
        assert aggregator.hears_status(lambda status: status.online and status.declined is None).round == 1
        aggregator.answer(aggregator.hears_update())
    finally:
        loop.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert 1_000 < read_moved(tmp_path / "state" / FILE)[1] < 64_000_000 // PARTS, (
        "none set aside when it ends"
    )


@pytest.mark.system
@needs_mosquitto
def test_a_device_whose_bytes_are_used_up_leaves_whoever_used_them_and_returns_on_another_day(
    broker: Broker, aggregator: Aggregator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = ["2026-05-01"]
    monkeypatch.setattr("agent.shell.loop.today", lambda _host: day[0])
    monkeypatch.setattr("agent.core.lifecycle.conditions.MEASURE_AGAIN_S", 0.05)
    config = configure(tmp_path, broker.url)
    config.write_text(f"{config.read_text()}\n[limits]\nbytes_per_day = 100_000\n")
    loop = Loop(AgentSettings.load(config, {}))
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        first = aggregator.hears_status(lambda status: status.online)
        flood = Publication(aggregator.topics.receipt("pi-1"), bytes(10_000))
        aggregator.client.send(*[flood] * 12)
        left = aggregator.hears_status(lambda status: not status.online)
        assert left.connection == first.connection, "its own word, not its will's of another connection"
        aggregator.client.send(*[flood] * 50)
        day[0] = "2026-05-02"
        back = aggregator.hears_status(lambda status: status.online)
        assert (back.boot, back.connection) == (first.boot, first.connection + 1), "once, when it may"
    finally:
        loop.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert read_moved(tmp_path / "state" / FILE)[1] < 100_000, "what others sent meanwhile was not received"
