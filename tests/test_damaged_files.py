"""Damaged bundles, tokens, requests, keys and backups: one sentence and a documented exit code.

Everything goes through the programs' own entry points, in this process. What is damaged is cut short, has
bytes flipped, is of another kind, empty, a folder, or not there.
"""

import io
import random
import sys
import tarfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest

import agent.__main__
import aggregator.__main__
from agent.enrolment.certificates import KeyAndRequest
from aggregator.aggregation.generations import begin
from aggregator.backup.snapshot import backup
from aggregator.config import FederationSettings
from aggregator.ledger.layout import FILE
from aggregator.ledger.writing import Ledger
from fedge.storage.atomic_files import make_folder
from fleet.cli.commands import app
from fleet.pki.enrolment import enroll
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.tokens import promise

CUTS, FLIPS = 12, 24
DOCUMENTED = {0, 64, 65, 69, 74, 75, 78}
Program = Callable[[list[str]], int]


def fedge(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        app(arguments)
    code = ended.value.code
    assert isinstance(code, int)
    return code


def damaged(whole: bytes, seed: int, every: int = 1) -> Iterator[tuple[str, bytes]]:
    """The same damage in every run; `every` n-th of it where each takes long."""
    return islice(_damaged(whole, seed), 0, None, every)


def _damaged(whole: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """Cuts over the whole length, flips at drawn places, other kinds."""
    drawn = random.Random(seed)
    for number in range(CUTS):
        at = number * len(whole) // CUTS
        yield f"cut at {at}", whole[:at]
    yield "cut by one", whole[:-1]
    for _ in range(FLIPS):
        at = drawn.randrange(len(whole))
        yield f"flipped {at}", whole[:at] + bytes([whole[at] ^ (1 << drawn.randrange(8))]) + whole[at + 1 :]
    for _ in range(4):
        at = drawn.randrange(len(whole))
        yield f"noise at {at}", whole[:at] + drawn.randbytes(64) + whole[at + 64 :]
    yield "NULs", bytes(len(whole))
    yield "other text", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    yield "no text", b"\xff\xfe\x00\x01" * 10


def judge(program: Program, arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> int:
    """Run it: a documented code, and where it is not 0, one sentence."""
    capsys.readouterr()
    code = program(arguments)
    said = capsys.readouterr().err
    assert code in DOCUMENTED, f"{what}: {code} {said}"
    assert "Traceback" not in said, f"{what}: {said}"
    sentences = [line for line in said.splitlines() if line.strip() and " INFO " not in line]
    assert code == 0 or len(sentences) == 1, f"{what}: {code} {said}"
    return code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> FederationFolder:
    folder = FederationFolder(tmp_path_factory.mktemp("federation") / "farm")
    found(folder, Founding("farm", ["127.0.0.1"], 1, 2))
    enroll(folder, "pi-1")
    return folder


def put(path: Path, damage: bytes | None) -> None:
    """Write the damaged file, or let something else stand there."""
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    if damage is not None:
        path.write_bytes(damage)


Judge = Callable[[Program, list[str], str], int]


@pytest.fixture
def judged(capsys: pytest.CaptureFixture[str]) -> Judge:
    return lambda program, arguments, what: judge(program, arguments, what, capsys)


def test_a_bundle(folder: FederationFolder, tmp_path: Path, judged: Judge) -> None:
    whole, path = folder.bundle("pi-1").read_bytes(), tmp_path / "pi-1.fedge"
    codes = set()
    for number, (what, damage) in enumerate(damaged(whole, 1)):
        put(path, damage)
        home = tmp_path / f"home{number}"
        codes.add(judged(agent.__main__.main, ["join", str(path), "--folder", str(home)], what))
    assert codes <= {0, 78}
    put(path, None)
    assert judged(agent.__main__.main, ["join", str(path), "--folder", str(tmp_path / "h")], "gone") in {
        74,
        78,
    }
    path.mkdir()
    assert judged(agent.__main__.main, ["join", str(path), "--folder", str(tmp_path / "h")], "folder") in {
        74,
        78,
    }


@pytest.mark.parametrize("name", ["identity.pem", "ca.pem", "signing.pub", "renewal.password"])
def test_a_file_of_a_device(folder: FederationFolder, tmp_path: Path, judged: Judge, name: str) -> None:
    home = tmp_path / "home"
    assert judged(agent.__main__.main, ["join", str(folder.bundle("pi-1")), "--folder", str(home)], "") == 0
    (home / "data.csv").write_text("x,state\n" + "1,a\n2,b\n" * 20)
    path, config = home / name, str(home / "agent.toml")
    for what, damage in damaged(path.read_bytes(), 7, 2):
        put(path, damage)
        judged(agent.__main__.main, ["--config", config, "--check"], f"check: {what}")
        if name == "identity.pem":
            code = judged(agent.__main__.main, ["renew", "--config", config], f"renew: {what}")
            assert code in {0, 78}


def test_a_token(
    folder: FederationFolder, tmp_path: Path, judged: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = promise(folder, 1, timedelta(hours=1)).token.text().encode()
    for what, damage in damaged(whole, 2):
        if damage == whole:
            continue
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(damage), errors="replace"))
        arguments = ["join", "-", "--device", "pi-9", "--folder", str(tmp_path / "home"), "--wait", "0.01"]
        assert judged(agent.__main__.main, arguments, what) in {69, 78}


def test_a_request(folder: FederationFolder, tmp_path: Path, judged: Judge) -> None:
    whole, path = KeyAndRequest.make("farm_pi-5").csr_pem, tmp_path / "pi-5.csr"
    for what, damage in damaged(whole, 3, 9):
        put(path, damage)
        arguments = ["enroll", "--csr", str(path), "--again", "--folder", str(folder.root)]
        assert judged(fedge, arguments, what) in {0, 78}
    put(path, None)
    path.mkdir()
    assert judged(fedge, ["enroll", "--csr", str(path), "--folder", str(folder.root)], "a folder") == 78


@pytest.mark.parametrize(
    "name",
    [
        "ca.pem", "registrar/ca.key", "registrar/registrar.toml", "broker/identity.pem",
        "aggregator/signing.key", "federation.toml",
    ],
)  # fmt: skip
def test_a_file_of_the_federation(folder: FederationFolder, judged: Judge, name: str) -> None:
    path, root = folder.root / name, str(folder.root)
    whole = path.read_bytes()
    commands = (["renew", "--folder", root], ["enroll", "pi-7", "--again", "--folder", root])
    rotate = ["rotate-key", "--folder", root]
    try:
        for number, (what, damage) in enumerate(damaged(whole, 4, 9)):
            put(path, damage)
            command = rotate if "signing" in name and number % 2 else commands[number % 2]
            judged(fedge, command, f"{command[0]}: {what}")
        put(path, None)
        judged(fedge, commands[1], "gone")
        put(path, None)
        path.mkdir()
        for command in (*commands, rotate):
            judged(fedge, command, f"{command[0]}: a folder")
    finally:
        put(path, whole)


@pytest.fixture
def ledger(tmp_path: Path) -> FederationSettings:
    toml = tmp_path / "federation.toml"
    toml.write_text('[federation]\nname = "farm"\n[model]\nfeatures = 2\nclasses = ["a", "b"]\n')
    settings = FederationSettings.load(toml, {})
    ledger = Ledger(make_folder(settings.state.folder) / FILE)
    begin(settings, ledger, bytes(16), 1)
    ledger.close()
    return settings


def test_a_backup(ledger: FederationSettings, tmp_path: Path, judged: Judge) -> None:
    path, config = tmp_path / "farm.backup", str(tmp_path / "federation.toml")
    backup(ledger, path)
    whole, state = path.read_bytes(), ledger.state.folder / FILE
    before = state.read_bytes()

    def command(name: str, *more: str) -> list[str]:
        return ["--config", config, name, str(path), *more]

    for what, damage in damaged(whole, 5):
        put(path, damage)
        code = judged(aggregator.__main__.main, command("restore"), what)
        assert code in {74, 78}, what
        assert state.read_bytes() == before, what
        if what.startswith(("NUL", "other", "no ")):
            assert judged(aggregator.__main__.main, command("backup"), what) == 74
            assert path.read_bytes() == damage, "nobody's work is replaced"
    entry = tarfile.TarInfo("ledger.db")
    entry.pax_headers = {"GNU.sparse.map": "no number"}
    put(path, None)
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("backup.json"))
        tar.addfile(entry)
    for name in ("restore", "backup"):
        assert judged(aggregator.__main__.main, command(name), "no number") == 74
    put(path, None)
    assert judged(aggregator.__main__.main, command("restore"), "gone") == 74
    path.mkdir()
    assert judged(aggregator.__main__.main, command("restore"), "a folder") == 74
    assert judged(aggregator.__main__.main, command("backup"), "a folder") == 74


def test_a_ledger(ledger: FederationSettings, tmp_path: Path, judged: Judge) -> None:
    path, config = ledger.state.folder / FILE, str(tmp_path / "federation.toml")
    whole = path.read_bytes()
    for what, damage in damaged(whole, 6, 7):
        for other in path.parent.iterdir():
            other.unlink()
        put(path, damage)
        judged(aggregator.__main__.main, ["--config", config, "backup", str(tmp_path / "new")], what)
        judged(fedge, ["replay", "1", "--config", config], what)
    put(path, None)
    path.mkdir()
    assert (
        judged(aggregator.__main__.main, ["--config", config, "backup", str(tmp_path / "new")], "folder")
        == 74
    )
    assert judged(fedge, ["replay", "1", "--config", config], "a folder") == 74
