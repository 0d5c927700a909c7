"""What 0.2.0 left on disks and said on the wire is read by this version, and the other way round."""

import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgpack
import pytest

from agent.config import AgentSettings
from agent.enrolment.certificates import Present
from agent.enrolment.join import join_with_bundle
from agent.shell.memory import Memory
from agent.shell.model_file import load as load_held
from agent.shell.model_file import read as read_held
from aggregator.aggregation.aggregate import aggregate
from aggregator.aggregation.replay import replay
from aggregator.aggregation.updates import Updates
from aggregator.export.model_files import write
from aggregator.ledger.reading import read_only
from aggregator.ledger.writing import Ledger
from fedge.algorithms.codecs import float32
from fedge.algorithms.registry import CODECS
from fedge.algorithms.rules.bounds import Factors
from fedge.export.metadata import Origin
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
from fleet.pki.claims import Claims
from fleet.pki.register import Register
from tests.system.audit import check_ledger
from tests.system.installed import FEDERATION, MEMBERS, installed
from tests.system.versions import DEVICES, RECORDED, ROOT, Version
from tests.wording import assert_tells

pytestmark = pytest.mark.system
LEFT = RECORDED / "0.2.0"
GOLDEN = ROOT / "tests" / "fedge" / "golden"


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
    assert_tells(told, "round 1.1 ", "train", "mean/1", "3 devices")


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
    vector = CODECS.make(model.codec).decode(model.body, task.network.schema.size, 0)
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


MASKED = {path.name for path in GOLDEN.glob("*mask*.msgpack")}
BEYOND_0_2_0 = {"round_requiring.msgpack", "model_coded.msgpack", *MASKED}
"""Rounds that require what it cannot do: no such device is awaited. Coded forms of models: it does not
put their frames together, because it waits for those of the model. And the messages of secure aggregation,
which only devices send and are sent that can take part in it."""
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
