"""Keep a version for ever: its programs, what they leave on disk, and what they say.

    python -m tests.system.recording COMMIT tests/system/recorded/VERSION

It needs Mosquitto and the history of this repository, and is run once for each version, when it is released.
All keys that it makes are for tests alone.

| in the folder | what it is |
|---|---|
| `fedge-*.whl` | the programs; `versions.recorded` runs them |
| `aggregator/`, `device-*/` | databases and models of a fleet that signs, stopped in the middle of round 2 |
| `signing.key`, `pinned.pub` | what that fleet signs and checks with |
| `export/` | the model of its round 1, for others |
| `wire.msgpack` | topic and payload of everything that was said in that fleet |
| `messages/` | one of each message of the protocol |
| `federation/` | the folder of `fedge init` with its register, bundles and the broker's files, as installed |
| `homes/` | the folders of a device that joined with a token, and of one whose request was carried |
| `token` | a token of which one use is left, as long as it is valid |
"""

import getpass
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgpack

from fedge.wire.messages.envelope import unseal
from fedge.wire.messages.export import Export
from fleet.demo import broker as brokers
from fleet.demo.broker import LocalBroker, free_port
from fleet.demo.processes import spawn, stop
from tests.system.federations import steady
from tests.system.fleet_of_processes import PATIENCE_S, FleetOfProcesses
from tests.system.installed import FEDERATION, INSTALLED
from tests.system.production import MOSQUITTO
from tests.system.signing import Keys
from tests.system.versions import DEVICES, Version, checked_out, reach, recorded, start
from tests.system.wiretap import Wiretap


def record(commit: str, target: Path) -> None:
    """Make the folder of a version from the commit that it was released at."""
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="fedge-") as name:
        work = Path(name)
        work.chmod(0o755)  # under root, Mosquitto becomes a user of its own
        source = work / "source"
        assert checked_out(commit, source) is not None, f"this clone's history does not have {commit}"
        _run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(source)]
        )
        shutil.copytree(source / "tests" / "fedge" / "golden", target / "messages")
        version = recorded(target.name, work / "programs")
        _record_fleet(version, work, target)
        _record_federation(version, work, target)


def _record_fleet(version: Version, work: Path, target: Path) -> None:
    """What the programs have on disk in the middle of round 2, and what they said until then."""
    with ExitStack() as stack:
        broker = stack.enter_context(brokers.start("mosquitto", work / "fleets-broker"))
        keys = Keys.made(target, "recorded")
        fleet = stack.enter_context(FleetOfProcesses(work / "fleet", broker, keys))
        steady(fleet)
        wiretap = stack.enter_context(Wiretap(fleet))
        fleet.devices["device-2"].hold(3)
        start(fleet, version, "aggregator", *DEVICES)
        reach(fleet, 2)
        fleet.until(lambda: _exported(wiretap) == 1, "the model of round 1 is published")
        for name in ("aggregator", "device-0", "device-1"):
            assert fleet.terminate(name) == 0
        fleet.kill("device-2")
        (target / "wire.msgpack").write_bytes(msgpack.packb(wiretap.heard))
        shutil.copytree(fleet.export, target / "export")
        (target / "aggregator").mkdir()
        shutil.copy(fleet.ledger, target / "aggregator")
        for name, device in fleet.devices.items():
            (target / name).mkdir()
            for file in ("agent.db", "agent.db-wal", "model.held"):
                if (device.folder / "state" / file).exists():
                    shutil.copy(device.folder / "state" / file, target / name)


def _exported(wiretap: Wiretap) -> int | None:
    """The round whose exported model was announced last."""
    payload = wiretap.latest.get(wiretap.topics.export)
    return unseal(payload, Export).round if payload else None


def _record_federation(version: Version, work: Path, target: Path) -> None:
    """A folder of `fedge init` with devices of each kind, as it lies on an installed server."""
    folder, homes = work / FEDERATION, work / "homes"
    ports = [f"--port={free_port()}", f"--provisioning-port={free_port()}"]
    days = ["--ca-days=36500", "--server-days=3650", "--device-days=3650"]
    at = ("--folder", str(folder))
    fedge = version.program("fleet")
    _run([*fedge, "init", FEDERATION, "--host=127.0.0.1", *ports, *days, *at])
    with _serving(version, folder, int(ports[0].partition("=")[2]), work):
        _run([*fedge, "enroll", "pi-1", *at])
        _run(version.program("agent", "join", "--request", "--device=pi-2", f"--folder={homes / 'pi-2'}"))
        _run([*fedge, "enroll", "--csr", str(homes / "pi-2" / "pi-2.csr"), *at])
        _run([*fedge, "enroll", "pi-3", *at])
        _run([*fedge, "revoke", "pi-3", *at])
        _run([*fedge, "enroll", "--observer", *at])
        token = _run([*fedge, "enroll", "--token", "--uses=2", "--valid=30d", *at])
        join = version.program("agent", "join", "-", "--device=pi-4", f"--folder={homes / 'pi-4'}")
        _run(join, token)
        (target / "token").write_text(token)
    shutil.rmtree(folder / "broker" / "data")
    conf = folder / "broker" / "mosquitto.conf"
    conf.write_text(conf.read_text().replace(str(folder), str(INSTALLED)))
    shutil.copytree(folder, target / "federation", ignore=shutil.ignore_patterns("*-shm", "lock"))
    shutil.copytree(homes, target / "homes", ignore=shutil.ignore_patterns("lock"))


@contextmanager
def _serving(version: Version, folder: Path, port: int, work: Path) -> Iterator[None]:
    """Mosquitto with the folder's configuration, and the registrar beside it."""
    assert MOSQUITTO is not None, "Mosquitto is not installed"
    log, conf = work / "registrar.log", work / "mosquitto.conf"
    shutil.copy(folder / "broker" / "mosquitto.conf", conf)
    with conf.open("a") as settings:
        settings.write(f"user {getpass.getuser()}\n")  # it may read this user's files
    command = [MOSQUITTO, "-c", str(conf)]
    with LocalBroker("mosquitto", command, port, work / "broker.log"):
        registrar = spawn("the registrar", version.program("fleet", "registrar", f"--folder={folder}"), log)
        try:
            yield
        finally:
            stop([registrar])


def _run(command: list[str], text: str = "") -> str:
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


if __name__ == "__main__":
    record(sys.argv[1], Path(sys.argv[2]).resolve())
