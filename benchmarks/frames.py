"""Measure how many frames a second pass through Mosquitto with Fedge's transport, from one sender and twenty.

Senders and receiver are processes of their own, the broker is a real Mosquitto. The senders send frames of
updates, as large as frames are, at QoS 1. The receiver takes each message out of an inbox, as the loop of the
aggregator does, and acknowledges it. The limit in the same run is the same with bare paho clients, which only
count. The time is that from the first publication until the receiver has the last one. The exit code is 1 if
a goal is missed.

    python -m benchmarks.frames [--quick] [--json] [--runs N]
"""

import multiprocessing
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks import machine
from benchmarks.processes import Processes, end_cleanly_on_sigterm
from benchmarks.verdict import Goal, arguments, judged
from fedge.service.settings import BrokerSettings
from fedge.transport import Answered, LinkEvent, LinkUp, MessageArrived, Publication, Sent
from fedge.transport.mqtt import MqttTransport
from fedge.wire.frames import FRAME_BYTES, split

GOAL = 0.8
"""The least speed, as a fraction of bare paho's."""
SENDERS = (1, 20)
FRAMES, QUICK_FRAMES = 2_000, 600
"""Frames in one run, of all senders together."""
WINDOW = 20
"""Unacknowledged publications of a bare sender: paho's own default."""
PATIENCE_S = 300.0


def _frames(count: int) -> Iterator[bytes]:
    """So many packed frames of one message, made one at a time as a device does."""
    pieces = split(bytes(FRAME_BYTES) * 4)
    for number in range(count):
        yield pieces[number % len(pieces)]


# ── with Fedge's transport ─────────────────────────────────────────────────────────────────────────


class _Link:
    """A transport and its inbox."""

    def __init__(self, port: int, name: str, *, manual_ack: bool) -> None:
        self.inbox: queue.SimpleQueue[LinkEvent] = queue.SimpleQueue()
        broker = BrokerSettings(url=f"mqtt://127.0.0.1:{port}")
        self.link = MqttTransport(broker, name, self.inbox.put, manual_ack=manual_ack)
        self.link.open()
        self.until(LinkUp)

    def until(self, kind: type[LinkEvent]) -> LinkEvent:
        while True:
            event = self.inbox.get(timeout=PATIENCE_S)
            self.link.handle(event)
            if isinstance(event, kind):
                return event


def _receive(port: int, count: int, pipe: Connection) -> None:
    receiver = _Link(port, "receiver", manual_ack=True)
    receiver.link.subscribe("frames/+")
    receiver.until(Answered)
    pipe.send("ready")
    for _ in range(count):
        event = receiver.until(MessageArrived)
        assert isinstance(event, MessageArrived)
        receiver.link.acknowledge(event)
    pipe.send(time.monotonic())
    receiver.link.close(timeout_s=5.0)


def _send(port: int, senders: int, count: int, pipe: Connection) -> None:
    links = [_Link(port, f"sender-{number}", manual_ack=False) for number in range(senders)]

    def send(number: int) -> None:
        topic = f"frames/{number}"
        links[number].link.send((Publication(topic, frame) for frame in _frames(count // senders)), "all")
        links[number].until(Sent)

    _from_all(send, senders, pipe)
    for each in links:
        each.link.close(timeout_s=5.0)


# ── with bare paho ─────────────────────────────────────────────────────────────────────────────────


def _client(port: int, name: str) -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(WINDOW)
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client


def _receive_bare(port: int, count: int, pipe: Connection) -> None:
    came, ready, done = 0, threading.Event(), threading.Event()

    def on_message(*_: object) -> None:
        nonlocal came
        came += 1
        if came == count:
            done.set()

    client = _client(port, "receiver")
    client.on_message = on_message
    client.on_subscribe = lambda *_: ready.set()
    client.subscribe("frames/+", qos=1)
    assert ready.wait(PATIENCE_S)
    pipe.send("ready")
    assert done.wait(PATIENCE_S)
    pipe.send(time.monotonic())
    client.disconnect()


def _send_bare(port: int, senders: int, count: int, pipe: Connection) -> None:
    clients = [_client(port, f"sender-{number}") for number in range(senders)]

    def send(number: int) -> None:
        waiting: list[mqtt.MQTTMessageInfo] = []
        for frame in _frames(count // senders):
            if len(waiting) == WINDOW:
                waiting.pop(0).wait_for_publish(PATIENCE_S)
            waiting.append(clients[number].publish(f"frames/{number}", frame, 1))
        for info in waiting:
            info.wait_for_publish(PATIENCE_S)

    _from_all(send, senders, pipe)
    for client in clients:
        client.disconnect()


def _from_all(send: Callable[[int], None], senders: int, pipe: Connection) -> None:
    """Run all senders at once, each on a thread; tell when they are ready and when they begin."""
    pipe.send("ready")
    pipe.recv()
    threads = [threading.Thread(target=send, args=(number,)) for number in range(senders)]
    pipe.send(time.monotonic())
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


KINDS = {"fedge": (_receive, _send), "paho": (_receive_bare, _send_bare)}


def measure(port: int, kind: str, senders: int, count: int) -> float:
    """Frames a second of one run."""
    receive, send = KINDS[kind]
    spawn = multiprocessing.get_context("spawn")
    (to_receiver, of_receiver), (to_sender, of_sender) = spawn.Pipe(), spawn.Pipe()
    receiver = spawn.Process(target=receive, args=(port, count, of_receiver), daemon=True)
    sender = spawn.Process(target=send, args=(port, senders, count, of_sender), daemon=True)
    receiver.start()
    _told(to_receiver)
    sender.start()
    _told(to_sender)
    to_sender.send("begin")
    began_s = _told(to_sender)
    ended_s = _told(to_receiver)
    for process in (sender, receiver):
        process.join(PATIENCE_S)
    return count / (ended_s - began_s)


def _told(pipe: Connection) -> float:
    if not pipe.poll(PATIENCE_S):
        raise SystemExit("a peer does not answer")
    found: float = pipe.recv()
    return found


def main() -> int:
    """Run the benchmark."""
    parser = arguments(__doc__ or "", "fewer frames, three runs, less than two minutes")
    parser.add_argument("--runs", type=int, default=0, metavar="N", help="runs of each kind; default 5, or 3")
    options = parser.parse_args()
    end_cleanly_on_sigterm()
    count, runs = (QUICK_FRAMES, 3) if options.quick else (FRAMES, 5)
    rates: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="fedge-benchmark-") as name, Processes(Path(name)) as processes:
        home = Path(name)
        home.chmod(0o755)  # under root, Mosquitto becomes a user of its own
        port = machine.free_port()
        settings = f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nlog_type error\n"
        (home / "mosquitto.conf").write_text(settings + "set_tcp_nodelay true\n", encoding="utf-8")
        mosquitto = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if mosquitto is None:
            raise SystemExit("Mosquitto is not installed: apt-get install mosquitto")
        processes.start("broker", [mosquitto, "-c", home / "mosquitto.conf"])
        processes.wait_until(lambda: machine.listens(port), "broker", 30.0)
        for _ in range(options.runs or runs):  # in turn, so that other work disturbs both alike
            for senders in SENDERS:
                for kind in KINDS:
                    rates.setdefault((kind, senders), []).append(measure(port, kind, senders, count))
    lines, goals, cases = [machine.description()], [], []
    for senders in SENDERS:
        ours, bare = rates["fedge", senders], rates["paho", senders]
        what = "1 sender" if senders == 1 else f"{senders} senders"
        lines.append(
            f"{what}: {median(ours):.0f} frames a second ({min(ours):.0f} to {max(ours):.0f}), "
            f"bare paho {median(bare):.0f} ({min(bare):.0f} to {max(bare):.0f})"
        )
        goals.append(Goal(f"{what}: frames, as a fraction of bare paho's", median(ours) / median(bare), GOAL))
        cases.append({"senders": senders, "fedge": ours, "paho": bare})
    report = {"machine": lines[0], "frame_bytes": FRAME_BYTES, "frames": count, "cases": cases}
    return judged(report, "\n".join(lines), goals, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
