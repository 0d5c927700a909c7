"""Measure how fast one aggregator takes the updates of a round, over a real Mosquitto.

Made-up devices behind one connection send the updates of a training round. The time is that from the first
frame until the next round is announced, so it includes what Fedge promises: each update is on disk before its
receipt is sent, and the next model is on disk before it is announced. The limit in the same run is a bare
paho subscriber that only counts the same messages. A second one shows what durability costs: a program with
Fedge's transport that does nothing but read each frame, hash it, store it with one commit for all messages
that wait, answer and acknowledge; it judges nothing and makes no model. The exit code is 1 if a goal is
missed.

    python -m benchmarks.ingest [--quick] [--json] [--runs N] [--mixed] [--programs FOLDER] [--profile]

With `--mixed` the devices answer in another order in each round, as those of a real fleet do; without it, by
name. That changes which pages of its database the aggregator writes.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks import machine
from benchmarks.processes import Processes, end_cleanly_on_sigterm
from benchmarks.verdict import Goal, arguments, judged
from fedge.wire.frames import split
from fedge.wire.messages.envelope import Signed
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.status import Status
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fedge.wire.topics import Topics

FEDERATION = "ingest"
ROUNDS = 3
"""Rounds of training in one run; the last one counts, with every file and buffer in use."""
PATIENCE_S = 600.0
IN_FLIGHT = 500
"""Publications of the sender that the broker has not acknowledged yet."""


@dataclass(frozen=True)
class Case:
    """A round's updates, and what is asked of the aggregator."""

    devices: int
    features: int
    hidden: tuple[int, ...]
    goal: float = 0.6
    """The least speed, as a fraction of the bare subscriber's."""
    goal_mb: float = 150.0
    """The largest peak memory of the aggregator."""

    @property
    def weights(self) -> int:
        """p of the network with ten classes."""
        widths = [self.features, *self.hidden, 10]
        return sum(a * b + b for a, b in pairwise(widths))

    def __str__(self) -> str:
        return f"{self.devices:,} x {self.weights:,} weights"


BIG, SMALL = Case(200, 784, (200, 200)), Case(5_000, 64, (32,), goal_mb=130.0)
CASES = (BIG, SMALL, Case(1_000, 64, (32,), goal_mb=130.0), Case(10_000, 64, (32,), goal_mb=130.0))
QUICK = (Case(60, 784, (200, 200)), Case(1_000, 64, (32,), goal_mb=130.0))
GOAL_WRITTEN = 1.1
"""The most bytes written to disk for each byte of update."""
COUNTER = """
import sys, threading
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
count, wanted = 0, 0
def on_message(client, userdata, message):
    global count
    count += 1
    if count == wanted:
        print("done", flush=True)
client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bare", protocol=mqtt.MQTTv5)
client.on_message = on_message
client.on_subscribe = lambda *_: print("ready", flush=True)
client.connect("127.0.0.1", int(sys.argv[1]))
client.subscribe(sys.argv[2], qos=1)
def orders():
    global count, wanted
    for line in sys.stdin:
        count, wanted = 0, int(line)
        print("counting", flush=True)
threading.Thread(target=orders, daemon=True).start()
client.loop_forever()
"""
STORER = """
import hashlib, queue, sqlite3, sys, tempfile
from pathlib import Path
from fedge.service.settings import BrokerSettings
from fedge.storage.segments import FileSegments
from fedge.transport import Answered, LinkUp, MessageArrived, Publication
from fedge.transport.mqtt import MqttTransport
from fedge.wire.messages.frame import unpack_frame
inbox = queue.SimpleQueue()
broker = BrokerSettings(url=f"mqtt://127.0.0.1:{sys.argv[1]}")
link = MqttTransport(broker, "storer", inbox.put, manual_ack=True)
def until(kind):
    while True:
        event = inbox.get()
        link.handle(event)
        if isinstance(event, kind):
            return
link.open()
until(LinkUp)
link.subscribe(sys.argv[2])
until(Answered)
print("ready", flush=True)
count = int(sys.stdin.readline())
path = Path(sys.argv[3]) / "stored.db"
segments = FileSegments(path)
db = sqlite3.connect(path, isolation_level=None)
db.execute("PRAGMA journal_mode=WAL")
db.execute("PRAGMA synchronous=FULL")
db.execute("CREATE TABLE frames (device, id, i, segment, offset, length, PRIMARY KEY (device, id, i))")
print("counting", flush=True)
while count:
    events = [inbox.get()]
    while len(events) < 256 and not inbox.empty():
        events.append(inbox.get())
    rows, answers = [], []
    for event in events:
        link.handle(event)
        if isinstance(event, MessageArrived):
            count -= 1
            device = event.topic.rpartition("/")[2]
            frame = unpack_frame(event.payload)
            digest = hashlib.sha256(frame.data).digest()
            rows.append((device, frame.id, frame.i, *segments.append(frame.data)))
            if frame.i == frame.n - 1:
                answers.append(Publication("answers/" + device, digest * 3))
    db.execute("BEGIN")
    db.executemany("INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?)", rows)
    segments.sync()
    db.execute("COMMIT")
    for answer in answers:
        link.reply(answer)
    for event in events:
        if isinstance(event, MessageArrived):
            link.acknowledge(event)
print("done", flush=True)
sys.stdin.readline()
"""


class Fleet:
    """Made-up devices behind one connection, and the announcements that reach them."""

    def __init__(self, port: int, devices: int, *, mixed: bool = False) -> None:
        self.topics = Topics(FEDERATION)
        self.devices = [f"dev-{number:06d}" for number in range(devices)]
        self._mixed = mixed
        self._changed = threading.Condition()
        self._seen: list[tuple[float, Manifest]] = []
        self._model: dict[int, bytes] = {}
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="devices", protocol=mqtt.MQTTv5)
        self._client.max_inflight_messages_set(IN_FLIGHT)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(self.topics.round, qos=1)
        self._client.loop_start()

    def in_turn(self, number: int) -> list[str]:
        """The devices in the order in which they answer the round of this number."""
        return random.Random(number).sample(self.devices, len(self.devices)) if self._mixed else self.devices  # noqa: S311 # not for secrets

    def send(self, publications: Iterator[tuple[str, bytes]], *, retain: bool = False) -> tuple[int, int]:
        """Publish, and wait until the broker has everything; returns messages and bytes."""
        count, size, info = 0, 0, None
        for topic, payload in publications:
            info = self._client.publish(topic, payload, qos=1, retain=retain)
            count, size = count + 1, size + len(payload)
            if count % (IN_FLIGHT - 100) == 0:
                info.wait_for_publish(PATIENCE_S)
        if info is not None:
            info.wait_for_publish(PATIENCE_S)
        return count, size

    def until(self, ready: Callable[[Manifest], bool]) -> tuple[float, Manifest]:
        """When the first announcement like that came, and the announcement."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: next(((at_s, each) for at_s, each in self._seen if ready(each)), None), PATIENCE_S
            )
        if found is None:
            raise SystemExit("the aggregator does not announce the round; see its log")
        return found

    def size_of(self, manifest: Manifest) -> int:
        """p of the announced model."""
        assert manifest.model is not None
        frames = manifest.model.frames
        self._client.subscribe(self.topics.model_frames(manifest.model.slot), qos=1)
        with self._changed:
            self._changed.wait_for(lambda: len(self._model) == frames, PATIENCE_S)
        whole = b"".join(self._model[i] for i in sorted(self._model))
        self._client.unsubscribe(self.topics.model_frames(manifest.model.slot))
        return len(unpack(whole, Model, max_bytes=MAX_SIZE).body) // 4

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: object, _userdata: object, message: mqtt.MQTTMessage) -> None:
        if not message.payload:
            return
        with self._changed:
            if message.topic == self.topics.round:
                manifest = unpack(unpack(bytes(message.payload), Signed).body, Manifest)
                self._seen.append((time.monotonic(), manifest))
            else:
                frame = unpack(bytes(message.payload), Frame)
                self._model[frame.i] = frame.data
            self._changed.notify_all()


def measure(case: Case, programs: Path | None, *, profile: bool, mixed: bool = False) -> dict[str, Any]:
    """One run of a case: the bare subscriber, then the aggregator."""
    with (
        tempfile.TemporaryDirectory(prefix="fedge-benchmark-") as name,
        Processes(Path(name)) as processes,
    ):
        home = Path(name)
        home.chmod(0o755)  # under root, Mosquitto becomes a user of its own
        port = machine.free_port()
        (home / "mosquitto.conf").write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
            "max_inflight_messages 1000\nset_tcp_nodelay true\nlog_type error\n",
            encoding="utf-8",
        )
        mosquitto = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if mosquitto is None:
            raise SystemExit("Mosquitto is not installed: apt-get install mosquitto")
        processes.start("broker", [mosquitto, "-c", home / "mosquitto.conf"])
        processes.wait_until(lambda: machine.listens(port), "broker", 30.0)
        fleet = Fleet(port, case.devices, mixed=mixed)
        try:
            found = _rounds(case, fleet, processes, home, port, programs, profile=profile)
        finally:
            fleet.close()
        return found


def _rounds(
    case: Case,
    fleet: Fleet,
    processes: Processes,
    home: Path,
    port: int,
    programs: Path | None,
    *,
    profile: bool,
) -> dict[str, Any]:
    boot = os.urandom(16)
    status = pack(Status(online=True, boot=boot, connection=1, version="0"))
    fleet.send(((fleet.topics.status(device), status) for device in fleet.devices), retain=True)
    (home / "federation.toml").write_text(_settings(case, port), encoding="utf-8")
    command: list[str | Path] = [sys.executable, "-m", "aggregator", "--config", home / "federation.toml"]
    if profile:
        command[1:1] = ["-m", "cProfile", "-o", str(home / "profile")]
    environment = {"OPENBLAS_NUM_THREADS": "1"}
    if programs is not None:
        environment["PYTHONPATH"] = str(programs)
    aggregator = processes.start("aggregator", command, environment=environment, folder=home)
    _, manifest = fleet.until(lambda each: each.kind == "survey")
    fleet.send(_surveys(case, fleet, manifest))
    found: dict[str, Any] = {}
    for number in range(1, ROUNDS + 1):
        _, manifest = fleet.until(partial(_trains, number))
        if number == 1:
            size = fleet.size_of(manifest)
            assert size == case.weights, (size, case.weights)
        cpu_s, written = _cpu_s(aggregator.pid), _written(aggregator.pid)
        start_s = time.monotonic()
        count, total = fleet.send(_updates(case, fleet, manifest))
        end_s, _ = fleet.until(partial(_is_over, number))
        found = {
            "round_s": end_s - start_s,
            "aggregator_cpu_s": _cpu_s(aggregator.pid) - cpu_s,
            "written_per_byte": (_written(aggregator.pid) - written) / total,
        }
    found["peak_mb"] = _peak_mb(aggregator.pid)
    aggregator.terminate()
    aggregator.wait(60.0)
    if profile:
        text = "import pstats,sys; pstats.Stats(sys.argv[1]).sort_stats('cumtime').print_stats(130)"
        subprocess.run([sys.executable, "-c", text, str(home / "profile")], check=True, stdout=sys.stderr)
    for name, program in (("bare", COUNTER), ("storer", STORER)):
        seconds, cpu_s = _taken(
            program, port, home, count, lambda: fleet.send(_updates(case, fleet, manifest))
        )
        found |= {f"{name}_s": seconds, f"{name}_cpu_s": cpu_s}
    found |= {"mb": total / 1e6, "messages": count, "ratio": found["bare_s"] / found["round_s"]}
    found["storer_ratio"] = found["bare_s"] / found["storer_s"]
    return {key: round(value, 3) for key, value in found.items()}


def _taken(
    program: str, port: int, home: Path, count: int, send: Callable[[], object]
) -> tuple[float, float]:
    """How long a subscriber takes for so many messages, and its CPU time."""
    taker = subprocess.Popen(
        [sys.executable, "-c", program, str(port), f"fedge/v1/{FEDERATION}/update/#", str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert taker.stdin is not None
    assert taker.stdout is not None
    try:
        assert taker.stdout.readline() == "ready\n"
        taker.stdin.write(f"{count}\n")
        taker.stdin.flush()
        assert taker.stdout.readline() == "counting\n"
        cpu_s, start_s = _cpu_s(taker.pid), time.monotonic()
        send()
        assert taker.stdout.readline() == "done\n"
        return time.monotonic() - start_s, _cpu_s(taker.pid) - cpu_s
    finally:
        taker.kill()
        taker.wait()


def _trains(number: int, manifest: Manifest) -> bool:
    return (manifest.kind, manifest.round) == ("train", number)


def _is_over(number: int, manifest: Manifest) -> bool:
    return manifest.round == number + 1 or manifest.state == "done"


def _surveys(case: Case, fleet: Fleet, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    moments = np.stack(
        [np.full(case.features, 100.0), np.zeros(case.features), np.full(case.features, 100.0)]
    )
    for device in fleet.devices:
        survey = Survey(
            generation=manifest.generation,
            round=manifest.round,
            base=manifest.task.digest,
            device=device,
            samples=100,
            features=moments.astype("<f8").tobytes(),
        )
        for frame in split(pack(survey)):
            yield fleet.topics.update(device), frame


def _updates(case: Case, fleet: Fleet, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    assert manifest.model is not None
    body = np.random.default_rng(manifest.round).normal(0, 0.05, case.weights).astype("<f4")
    for number, device in enumerate(fleet.in_turn(manifest.round)):
        body[number % case.weights] += 1e-3
        update = Update(
            generation=manifest.generation,
            round=manifest.round,
            base=manifest.model.digest,
            device=device,
            samples=100,
            steps=1,
            kind="weights",
            codec="float32",
            body=body.tobytes(),
            metrics={"loss_before": 1.0, "loss_after": 0.9},
        )
        for frame in split(pack(update)):
            yield fleet.topics.update(device), frame


def _settings(case: Case, port: int) -> str:
    features = [f"f{number}" for number in range(case.features)]
    layers = ", ".join(f'{{ type = "dense", units = {units} }}, {{ type = "relu" }}' for units in case.hidden)
    return f"""
[federation]
name = "{FEDERATION}"
[broker]
url = "mqtt://127.0.0.1:{port}"
[model]
features = {json.dumps(features)}
classes = {json.dumps([str(number) for number in range(10)])}
layers = [{layers}]
[plan]
epochs = 1
[rounds]
quorum = {case.devices}
target = {case.devices}
deadline_s = 3000
[stopping]
rounds = {ROUNDS + 5}
[state]
folder = "state"
[export]
folder = "export"
"""


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _written(pid: int) -> int:
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["write_bytes"])


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def goals(case: Case, middle: Mapping[str, float]) -> list[Goal]:
    """What is asked of the medians of a case's runs."""
    written = middle["written_per_byte"]
    return [
        Goal(f"{case}: speed, as a fraction of bare paho's", middle["ratio"], at_least=case.goal),
        Goal(f"{case}: peak memory, MB", middle["peak_mb"], at_most=case.goal_mb),
        Goal(f"{case}: bytes written for each byte of update", written, at_most=GOAL_WRITTEN),
    ]


def main() -> int:
    """Run the benchmark."""
    parser = arguments(__doc__ or "", "fewer devices, one run, less than two minutes")
    parser.add_argument("--runs", type=int, default=0, metavar="N", help="runs of each case; default 3, or 1")
    parser.add_argument("--mixed", action="store_true", help="another order of the devices in each round")
    parser.add_argument("--programs", type=Path, help="the aggregator of another checkout")
    parser.add_argument("--profile", action="store_true", help="print where the aggregator's time goes")
    options = parser.parse_args()
    end_cleanly_on_sigterm()
    lines, results, asked = [machine.description()], [], []
    for case in QUICK if options.quick else CASES:
        count = options.runs or (1 if options.quick else 3)
        runs = [
            measure(case, options.programs, profile=options.profile, mixed=options.mixed)
            for _ in range(count)
        ]
        middle = {key: median(run[key] for run in runs) for key in runs[0]}
        spread = {key: [min(run[key] for run in runs), max(run[key] for run in runs)] for key in runs[0]}
        results.append({"case": str(case), "median": middle, "spread": spread})
        asked += goals(case, middle)
        lines.append(
            f"{case}, {middle['mb']:.0f} MB in {middle['messages']:.0f} messages: {middle['round_s']:.2f} s "
            f"({spread['round_s'][0]:.2f} to {spread['round_s'][1]:.2f}), "
            f"bare paho {middle['bare_s']:.2f} s; CPU {middle['aggregator_cpu_s']:.2f} s, "
            f"bare paho {middle['bare_cpu_s']:.2f} s; peak {middle['peak_mb']:.0f} MB; "
            f"a program that only stores and answers {middle['storer_s']:.2f} s, CPU "
            f"{middle['storer_cpu_s']:.2f} s, {middle['storer_ratio']:.2f} of bare paho's speed"
        )
    report = {"machine": lines[0], "cases": results}
    return judged(report, "\n".join(lines), asked, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
