"""Aggregator and devices of different versions learn together, whoever is upgraded first.

`recorded/` has what lay on the disks of a version's programs, stopped in the middle of round 2 of
`federations.steady`, and the programs themselves: made by `python -m tests.system.recording`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgpack
import pytest

from agent.config import AgentSettings
from agent.enrolment.certificates import Present
from agent.enrolment.join import join_with_bundle
from agent.shell.memory import Memory
from agent.shell.model_file import load as load_held
from agent.shell.model_file import read as read_held
from aggregator.aggregation import survey
from aggregator.aggregation.aggregate import aggregate
from aggregator.aggregation.replay import replay
from aggregator.aggregation.updates import Updates
from aggregator.export.metadata import Origin
from aggregator.export.model_files import write
from aggregator.ledger.reading import read_only
from aggregator.ledger.writing import Ledger
from fedge.algorithms.codecs import float32
from fedge.algorithms.registry import CODECS
from fedge.algorithms.rules.bounds import Factors
from fedge.identity.ed25519 import read_public_key, verify
from fedge.identity.token import Token
from fedge.identity.trust import authenticate
from fedge.wire.frames import join
from fedge.wire.freshness import RoundId
from fedge.wire.messages.envelope import Signed
from fedge.wire.messages.export import Export
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.kinds import KINDS
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Status
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.topics import Topics
from fleet.demo import broker as brokers
from fleet.demo.broker import Broker
from fleet.pki.claims import Claims
from fleet.pki.register import Register
from tests.system.audit import check_books, check_ledger, check_stores
from tests.system.federations import steady
from tests.system.fleet_of_processes import PATIENCE_S, FleetOfProcesses
from tests.system.installed import FEDERATION, MEMBERS, installed
from tests.system.signing import Keys
from tests.system.versions import DEVICES, RECORDED, ROOT, TO_COME, TODAY, Version, checked_out, reach, start

pytestmark = pytest.mark.system

FIRST = "e7b4c85"
"""Version 0.1.0 as it was before anything here was secured, installed or kept."""


LEFT = RECORDED / "0.2.0"
GOLDEN = ROOT / "tests" / "fedge" / "golden"
VERSIONS = sorted(folder.name for folder in RECORDED.iterdir())


@contextmanager
def left_behind(version: str, folder: Path, broker: Broker) -> Iterator[FleetOfProcesses]:
    """The fleet of `federations.steady` as a version left it, in the middle of round 2."""
    left = RECORDED / version
    keys = Keys(left, "recorded") if (left / "signing.key").exists() else None
    with FleetOfProcesses(folder, broker, keys) as fleet:
        steady(fleet)
        shutil.copytree(left / "aggregator", fleet.state)
        for name, device in fleet.devices.items():
            shutil.copytree(left / name, device.folder / "state")
        yield fleet


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One kind is enough: a broker does not read what it carries."""
    with brokers.start("auto", tmp_path / "broker") as broker:
        yield broker


def finish(fleet: FleetOfProcesses, model: bytes | None = None, *, more_is_said: bool = False) -> None:
    """Let learning end, and look at everybody's books.

    Args:
        fleet: of `federations.steady`, with device-2 held.
        model: the digest that its final model has to have.
        more_is_said: of models too, so that ours of the same weights have other digests.
    """
    fleet.devices["device-2"].release()
    assert fleet.ends() == 0
    final = fleet.final_model()
    assert model in (final, None)
    fleet.until(lambda: all(d.held_model() == final for d in fleet.devices.values()), "all devices hold it")
    check_stores(fleet)
    assert check_books(fleet) == 4
    again = [replay(fleet.ledger, number, seed=7) for number in range(5)]
    assert all(each.same for each in again) or more_is_said
    assert again[0].rule in survey.RULES
    assert {each.rule for each in again[1:]} <= {"mean/1", "mean/2"}, "each by the program that closed it"
    for name in ("aggregator", *DEVICES):
        assert not [word for word in ("Traceback", "refused", "ERROR") if word in fleet.log(name)], name


@pytest.mark.slow
def test_a_later_version_works_with_this_one(fleet: FleetOfProcesses, undisturbed_model: bytes) -> None:
    """The aggregator first, then two devices; then it goes back, and leaves the devices ahead."""
    steady(fleet)
    fleet.devices["device-2"].hold(2)
    start(fleet, TODAY, "aggregator", *DEVICES)
    reach(fleet, 1)
    start(fleet, TO_COME, "aggregator")
    reach(fleet, 2)
    start(fleet, TO_COME, "device-0", "device-1")
    start(fleet, TODAY, "aggregator")
    reach(fleet, 3)
    finish(fleet, undisturbed_model, more_is_said=True)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.replace(".", "_"))
def test_what_an_earlier_version_left_on_disk_is_taken_up(
    broker: Broker, tmp_path: Path, version: str
) -> None:
    with left_behind(version, tmp_path / "fleet", broker) as fleet:
        before = fleet.answers(2)
        assert set(before) == {"device-0", "device-1"}
        fleet.devices["device-2"].hold(9)
        start(fleet, TODAY, "aggregator", *DEVICES)
        finish(fleet)
        assert {name: fleet.answers(2)[name] for name in before} == before  # nobody was asked again


# ── 0.2.0 and this version, on the wire ────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize(
    "of_0_2_0",
    [("aggregator",), DEVICES, ("device-0",)],
    ids=lambda names: "+".join(names),
)
def test_0_2_0_takes_part_with_this_version_in_signed_rounds(
    broker: Broker,
    tmp_path: Path,
    version_0_2_0: Version,
    of_0_2_0: tuple[str, ...],
) -> None:
    """Whoever is of 0.2.0, and the others of this version: nothing is refused.

    The bits are others: 0.2.0 tells a survey unrounded, and merges surveys by another rule.
    """
    with FleetOfProcesses(tmp_path / "fleet", broker, Keys.made(tmp_path, "both")) as fleet:
        steady(fleet)
        fleet.devices["device-2"].hold(2)
        start(fleet, version_0_2_0, *of_0_2_0)
        start(fleet, TODAY, *sorted({"aggregator", *DEVICES} - set(of_0_2_0)))
        reach(fleet, 1)
        finish(fleet)


@pytest.mark.slow
@pytest.mark.parametrize("order", [("aggregator", *DEVICES), (*DEVICES, "aggregator")], ids=lambda o: o[0])
def test_0_2_0_is_upgraded_in_the_middle_of_learning(
    fleet: FleetOfProcesses, version_0_2_0: Version, order: tuple[str, ...]
) -> None:
    steady(fleet)
    fleet.devices["device-2"].hold(2)
    start(fleet, version_0_2_0, "aggregator", *DEVICES)
    reach(fleet, 1)
    start(fleet, TODAY, order[0])
    reach(fleet, 2)
    start(fleet, TODAY, order[1])
    reach(fleet, 3)
    start(fleet, TODAY, *order[2:])
    finish(fleet)


@pytest.mark.slow
def test_0_2_0_goes_on_from_its_backup_and_from_nothing_newer(
    broker: Broker, tmp_path: Path, version_0_2_0: Version
) -> None:
    """As docs/operations.md says: what this version has migrated the older one refuses, and leaves whole."""
    backup = tmp_path / "before.backup"
    with left_behind("0.2.0", tmp_path / "fleet", broker) as fleet:
        config = fleet.folder / "federation.toml"

        def aggregator(*options: str) -> "subprocess.CompletedProcess[str]":
            command = version_0_2_0.command("aggregator", config, *options)
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)

        assert aggregator("backup", str(backup)).returncode == 0
        Ledger(fleet.ledger).close()  # as the first start of this version does
        migrated = fleet.ledger.read_bytes()
        refused = aggregator()
        assert refused.returncode == os.EX_IOERR
        assert "has layout" in refused.stderr
        assert "install the newer program" in refused.stderr
        assert fleet.ledger.read_bytes() == migrated
        assert aggregator("restore", str(backup), "--force").returncode == 0
        fleet.devices["device-2"].hold(9)
        start(fleet, version_0_2_0, "aggregator", *DEVICES)
        finish(fleet)


# ── what 0.2.0 left, read by this version ──────────────────────────────────────────────────────────


def test_the_recorded_programs_of_0_2_0_are_those_that_run(version_0_2_0: Version) -> None:
    code = (
        "import agent, aggregator, fedge, fleet\n"
        "print(fedge.__version__, *(each.__file__ for each in (agent, aggregator, fedge, fleet)))"
    )
    command = [sys.executable, "-c", version_0_2_0.preparation + code]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert told[0] == "0.2.0"
    assert not [place for place in told[1:] if Path(place).is_relative_to(ROOT)]


@pytest.mark.parametrize("migrated", [False, True], ids=["as_it_lay", "migrated"])
def test_the_rounds_that_0_2_0_closed_are_replayed_to_the_bit(tmp_path: Path, migrated: bool) -> None:
    path = shutil.copytree(LEFT / "aggregator", tmp_path / "state") / "ledger.db"
    if migrated:
        Ledger(path).close()
    before = path.read_bytes()
    for number, kind, rule in ((0, "survey", "survey/1"), (1, "train", "mean/1")):
        again = replay(path, number, seed=7)
        assert (again.kind, again.rule, again.same) == (kind, rule, True)
        assert set(again.samples) == set(DEVICES)
    assert path.read_bytes() == before
    assert check_ledger(path) == 1, "and so a plain reading of the rule finds"
    (tmp_path / "federation.toml").write_text(
        '[federation]\nname = "recorded"\nseed = 7\n[model]\nfeatures = 5\nclasses = ["a", "b"]\n'
    )
    command = [sys.executable, "-m", "fleet", "replay", "1", "--config", str(tmp_path / "federation.toml")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "round 1.1 (train, mean/1, 3 devices): the same model to the bit" in told


def test_the_memory_of_the_devices_of_0_2_0_is_read(tmp_path: Path) -> None:
    pinned = read_public_key(LEFT / "pinned.pub")
    with read_only(shutil.copytree(LEFT / "aggregator", tmp_path / "state") / "ledger.db") as ledger:
        answers, rounds = ledger.answers(RoundId(1, 2)), ledger.kept_rounds(1)
    for name in DEVICES:
        home = shutil.copytree(LEFT / name, tmp_path / name)
        with closing(Memory(home / "agent.db")) as memory:
            assert memory.signers() == (pinned,)
            saved = memory.saved()
            assert saved is not None
            if name != "device-2":  # that one was killed at work on round 2
                assert memory.seen().round == saved.round == RoundId(1, 2)
                assert saved.digest == answers[name].digest
                assert saved.verdict == "admitted"
                payload = memory.payload(saved.digest)
                assert payload is not None
                assert unpack(payload, Update, max_bytes=MAX_SIZE).device == name
        held = read_held(home / "model.held")
        assert held is not None
        assert held.model_digest == rounds[held.decoded_model.round][1]


def test_where_no_bound_is_reached_the_mean_of_0_2_0_is_todays_to_the_bit() -> None:
    with read_only(LEFT / "aggregator" / "ledger.db") as ledger:
        before, model = (ledger.model_of(RoundId(1, number)) for number in (0, 1))
        assert before is not None
        assert model is not None
        base, mean = (
            unpack(ledger.content(digest), Model, max_bytes=MAX_SIZE).body for digest in (before, model)
        )
        start = float32.decode(base, len(base) // 4)
        found = aggregate(Updates(ledger, RoundId(1, 1), len(start)), start, Factors())
    assert float32.encode(found.vector) == mean
    assert (set(found.bounds.scales), found.bounds.weights) == ({1.0}, found.samples)


def test_the_model_that_0_2_0_exported_is_what_this_version_exports(tmp_path: Path) -> None:
    task, model = load_held(LEFT / "device-0" / "model.held")
    vector = CODECS.make(model.codec).decode(model.body, task.network.schema.size)
    manifest = json.loads((LEFT / "export" / "manifest.json").read_text())
    origin = Origin("recorded", model.generation, model.round, manifest["model"])
    write(tmp_path, task, vector, origin, manifest["metrics"])
    for name in ("model.safetensors", "model.onnx"):
        assert (tmp_path / name).read_bytes() == (LEFT / "export" / name).read_bytes(), name
    marked = {name: {"generation": 1, "round": 1, **said} for name, said in manifest["files"].items()}
    assert json.loads((tmp_path / "manifest.json").read_text())["files"] == marked


@pytest.mark.parametrize("name", sorted(path.stem for path in (LEFT / "messages").glob("*")))
def test_every_message_of_0_2_0_is_read_whole(name: str) -> None:
    said = (LEFT / "messages" / f"{name}.msgpack").read_bytes()
    fields = msgpack.unpackb(said)
    read = msgpack.unpackb(pack(unpack(said, KINDS[fields["type"]])))
    if name == "round":  # a list that no aggregator ever sent is passed over
        del fields["cohort"]["devices"]
    assert {key: read.get(key) for key in fields} == fields


BEYOND_0_2_0 = {"round_requiring.msgpack"}
"""Rounds that require what it cannot do: no such device is awaited."""
READ_ALL = """
import msgpack
from pathlib import Path
from fedge.errors import ProtocolError
from fedge.messages import Message, unpack
import fedge.provisioning

kinds = {kind.TYPE: kind for kind in Message.__subclasses__()}
for file in map(Path, sys.argv[1:]):
    said = file.read_bytes()
    try:
        unpack(said, kinds[msgpack.unpackb(said)["type"]])
    except (ProtocolError, KeyError) as error:
        print(file.name, repr(error))
"""


def test_every_message_of_this_version_is_read_by_0_2_0(version_0_2_0: Version) -> None:
    command = [
        sys.executable,
        "-c",
        version_0_2_0.preparation + READ_ALL,
        *map(str, GOLDEN.glob("*.msgpack")),
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in told.splitlines()} == BEYOND_0_2_0, told


def test_all_that_was_said_in_a_fleet_of_0_2_0_is_understood() -> None:
    """As the programs take it: by topic, out of the envelope whose signature holds, out of the frames."""
    topics, signers = Topics("recorded"), (read_public_key(LEFT / "pinned.pub"),)
    frames: dict[tuple[str, bytes], dict[int, bytes]] = {}
    heard, exported = set(), []
    for topic, payload in msgpack.unpackb((LEFT / "wire.msgpack").read_bytes()):
        address = topics.parse(topic)
        assert address is not None, topic
        if not payload:  # a slot that is cleared
            continue
        if address.kind in ("round", "export") and address.slot is None:
            kind = Manifest if address.kind == "round" else Export
            envelope = unpack(payload, Signed)
            assert authenticate(envelope, address.kind, topics, signers, verify) == signers
            heard.add(type(unpack(envelope.body, kind)))
        elif address.kind in ("task", "model", "export", "update"):
            frame = unpack(payload, Frame)
            pieces = frames.setdefault((address.kind, frame.id), {})
            pieces[frame.i] = frame.data
            if len(pieces) == frame.n:
                whole = join(frame.id, (pieces[i] for i in range(frame.n)))
                assert isinstance(whole, bytes)
                if address.kind == "export":
                    exported.append(whole)
                else:
                    heard.add(type(unpack(whole, KINDS[msgpack.unpackb(whole)["type"]], max_bytes=MAX_SIZE)))
        else:
            heard.add(type(unpack(payload, KINDS[address.kind])))
    assert heard == {Manifest, Export, Task, Model, Survey, Update, Receipt, Status, Service}
    assert exported[-1] == (LEFT / "export" / "model.onnx").read_bytes()


def test_the_folders_of_the_devices_of_0_2_0_are_taken_up(tmp_path: Path) -> None:
    """Bundles by `join`, of both kinds; a device that has joined; and a token."""
    bundles = LEFT / "federation" / "devices"
    shutil.copytree(LEFT / "homes", tmp_path, dirs_exist_ok=True)
    for device in ("pi-1", "pi-2"):  # the second made its key itself, and carried the request
        join_with_bundle(bundles / f"{device}.fedge", tmp_path / device)
    for device in MEMBERS:
        settings = AgentSettings.load(tmp_path / device / "agent.toml", {})
        assert (settings.federation, settings.device) == (FEDERATION, device)
        assert Present.read(tmp_path / device / "identity.pem").common_name == f"{FEDERATION}_{device}"
        assert (tmp_path / device / "renewal.password").read_text().strip()
    token = Token.read((LEFT / "token").read_text())
    assert (token.federation, token.ca) == (FEDERATION, (LEFT / "federation" / "ca.pem").read_text())


def test_the_register_of_0_2_0_is_read(tmp_path: Path) -> None:
    folder = installed("0.2.0", tmp_path / FEDERATION)
    with Register(folder.register) as register:
        members = {member.identity.name: member for member in register.members()}
        claims = Claims(register).of(FEDERATION)
    devices = {name: member for name, member in members.items() if member.identity.device is not None}
    assert set(devices) == {f"{FEDERATION}_{device}" for device in (*MEMBERS, "pi-3")}
    gone = {name for name, member in devices.items() if member.revoked_at is not None}
    assert gone == {f"{FEDERATION}_pi-3"}
    assert all(member.renewal is not None for member in devices.values())
    (claim,) = claims
    assert (claim.claim.uses, claim.claim.used) == (2, 1)


@pytest.mark.long
@pytest.mark.parametrize("order", [("aggregator", *DEVICES), (*DEVICES, "aggregator")], ids=lambda o: o[0])
def test_the_first_version_is_upgraded_in_the_middle_of_learning(
    fleet: FleetOfProcesses, tmp_path: Path, order: tuple[str, ...]
) -> None:
    first = checked_out(FIRST, tmp_path / "first")
    if first is None:
        pytest.skip(f"this clone's history does not have {FIRST}")
    steady(fleet)
    fleet.devices["device-2"].hold(2)
    start(fleet, first, "aggregator", *DEVICES)
    reach(fleet, 1)
    start(fleet, TODAY, order[0])
    reach(fleet, 2)
    start(fleet, TODAY, order[1])
    reach(fleet, 3)
    start(fleet, TODAY, *order[2:])
    finish(fleet)
