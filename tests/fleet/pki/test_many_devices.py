"""`fedge enroll NAME… --from FILE`: many devices, all or none, one publication, and what a kill leaves."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fedge.errors import ConfigError
from fedge.identity import bundle
from fleet.cli.commands import app
from fleet.pki import publication
from fleet.pki.certificates import describe
from fleet.pki.enrolment import enroll
from fleet.pki.folder import FederationFolder
from fleet.pki.identity import Identity
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.names import check_names, read_list
from fleet.pki.publication import Signalled
from fleet.pki.register import Register
from fleet.pki.revocation import revoke
from fleet.pki.staged_bundles import finish
from tests.fleet.pki.killing import AFTER, BEFORE, PROCESSES, TIMEOUT_S, killed, waits
from tests.wording import assert_tells, lines_telling

PUMPS = [f"pump-{number}" for number in range(40)]


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    folder = FederationFolder(tmp_path / "greenhouse")
    found(folder, Founding("greenhouse", ["broker.example"]))
    return folder


def fedge(folder: FederationFolder, *arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(app, [*arguments, "--folder", str(folder.root)], input=text)


def members(folder: FederationFolder) -> list[str]:
    with Register(folder.register) as register:
        return [str(each.identity.device) for each in register.members() if each.identity.device]


def certificate(folder: FederationFolder, device: str) -> str:
    """The serial number of the certificate in a device's bundle."""
    identity = bundle.unpack(folder.bundle(device).read_bytes())["identity.pem"]
    return describe(identity[identity.index(b"-----BEGIN CERT") :]).serial


def is_whole(folder: FederationFolder, devices: list[str]) -> None:
    """Each device has its bundle, whose certificate counts and is its only one, and its block of the list."""
    assert sorted(members(folder)) == sorted(devices)
    assert {path.name for path in folder.devices.iterdir()} == {f"{device}.fedge" for device in devices}
    blocks, passwords = folder.acl.read_text(), folder.passwords.read_text()
    with Register(folder.register) as register:
        for device in devices:
            known = register.certificate(certificate(folder, device))
            assert known is not None
            assert known.identity == Identity("greenhouse", device)
            assert not known.revoked
            rows = register.run("SELECT count(*) FROM certificates WHERE identity = ?", known.identity.name)
            assert rows == [(1,)]
            assert f"user greenhouse_{device}\n" in blocks
            assert f"greenhouse_{device}__renew:" in passwords


# ── the list ───────────────────────────────────────────────────────────────────────────────────────


def test_a_list_has_comments_and_blank_lines() -> None:
    text = "\ufeff# the pumps\r\n\r\n  pump-1  \r\npump-2# by the door\n#pump-3\npump-4"
    assert read_list(text, "list") == [("list:3", "pump-1"), ("list:4", "pump-2"), ("list:6", "pump-4")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Pümp", "list:2: device 'Pümp': .* 36 "),
        ("pump 1", "list:2: device 'pump 1': .* 36 "),
        ("../pump", r"list:2: device '\.\./pump': .* 36 "),
        ("claim-0a1b2c3d", "list:2: device 'claim-0a1b2c3d': .* 36 "),
        ("p" * 37, "list:2: device 'ppp"),
        ("pump-0", "list:2: 'pump-0' .*list:1 "),
        ("PUMP_0", "list:2: 'PUMP_0' .*'pump-0'.*list:1 "),
        ("pump;1", "list:2: device 'pump;1'"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_nothing_is_enrolled(
    folder: FederationFolder, tmp_path: Path, line: str, words: str
) -> None:
    (tmp_path / "list").write_text(f"pump-0\n{line}\npump-2\n")
    result = fedge(folder, "enroll", "--from", str(tmp_path / "list"))
    assert (result.exit_code, result.stdout) == (78, "")
    assert re.search(words, result.stderr.replace(f"{tmp_path}/", ""))
    assert members(folder) == []
    assert list(folder.devices.iterdir()) == []


def test_a_name_that_is_given_twice_is_refused_with_its_places(
    folder: FederationFolder, tmp_path: Path
) -> None:
    (tmp_path / "list").write_text("pump-1\n")
    for arguments, words in (
        (("a", "b", "a"), "argument 3: 'a' .*argument 1 "),
        (("a", "a"), "argument 2: 'a' .*argument 1 "),
        (("pump-1", "--from", str(tmp_path / "list")), "list:1: 'pump-1' .*argument 1 "),
    ):
        result = fedge(folder, "enroll", *arguments)
        assert (result.exit_code, result.stdout) == (78, "")
        assert re.search(words, result.stderr)
    assert members(folder) == []
    assert list(folder.devices.iterdir()) == []


def test_of_many_bad_lines_some_are_named() -> None:
    with pytest.raises(ConfigError, match=r"list:1: (.|\n)*list:5: (.|\n)*\n.*\b15\b"):
        check_names("greenhouse", read_list("".join(f"pump {number}\n" for number in range(20)), "list"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"^fedge enroll: .*\bdevice\b"),
        (b"# nobody\n", r"^fedge enroll: .*\bdevice\b"),
        (b"pump-\xff\n", "list: .*UTF-8"),
        (b"p" * 8_000_001, "list: .*8,000,000"),
        (b"".join(b"p%d\n" % number for number in range(100_001)), "100000"),
        (None, "list: .*No such file"),
    ],
)
def test_what_is_no_list(folder: FederationFolder, tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "list").write_bytes(content)
    result = fedge(folder, "enroll", "--from", str(tmp_path / "list"))
    assert (result.exit_code, result.stdout) == (78, "")
    assert re.search(words, result.stderr)


# ── all or none ────────────────────────────────────────────────────────────────────────────────────


def test_many_are_enrolled_in_one_publication(
    folder: FederationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: list[bool] = []

    def signalled(_pid_file: Path, _members: int) -> Signalled:
        signals.append("user greenhouse_pump-39\n" in folder.acl.read_text())
        assert len(list(folder.devices.glob("*.fedge"))) == 42, "no device may connect that has no bundle"
        return Signalled.YES

    monkeypatch.setattr(publication, "signal_broker", signalled)
    result = fedge(folder, "enroll", "cellar", "attic", "--from", "-", text="\n".join(PUMPS))
    assert result.exit_code == 0, result.stderr
    assert signals == [True, True], "before the list of revoked certificates and after it"
    assert result.stdout.splitlines() == [str(folder.bundle(each)) for each in ("cellar", "attic", *PUMPS)]
    assert lines_telling(result.stderr, "42 devices")
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.devices.iterdir())
    is_whole(folder, ["cellar", "attic", *PUMPS])


def test_those_that_are_enrolled_stay_as_they_are_and_are_named(folder: FederationFolder) -> None:
    enroll(folder, "pump-3")
    before = folder.bundle("pump-3").read_bytes()
    result = fedge(folder, "enroll", *PUMPS[:5])
    assert result.exit_code == 0, result.stderr
    assert_tells(result.stderr, ": pump-3\n", "4 devices")
    assert folder.bundle("pump-3").read_bytes() == before
    is_whole(folder, PUMPS[:5])
    folder.acl.unlink()  # as if the run before had been cut short here
    again = fedge(folder, "enroll", *PUMPS[:5])
    assert (again.exit_code, again.stdout) == (0, "")
    assert_tells(again.stderr, "already", "0 devices")
    is_whole(folder, PUMPS[:5])


def test_with_one_that_was_revoked_nothing_is_done(folder: FederationFolder) -> None:
    enroll(folder, "pump-3")
    revoke(folder, "pump-3")
    result = fedge(folder, "enroll", *PUMPS[:5])
    assert (result.exit_code, result.stdout) == (78, "")
    assert_tells(result.stderr, "pump-3: ", "revoked")
    assert members(folder) == ["pump-3"]
    assert list(folder.devices.iterdir()) == []


# ── killed in the middle ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("moment", [*BEFORE, *AFTER])
def test_a_run_that_was_killed_is_run_again(folder: FederationFolder, moment: str) -> None:
    killed(moment, folder, *PUMPS[:6])
    noted, bundles = members(folder), sorted(path.stem for path in folder.devices.glob("*.fedge"))
    assert noted == ([] if moment in BEFORE else PUMPS[:6])
    assert set(bundles) <= set(noted), "a bundle that the register does not know"
    live = [device for device in PUMPS[:6] if f"user greenhouse_{device}\n" in folder.acl.read_text()]
    assert set(live) <= set(bundles), "a device may connect whose bundle is not in its place"

    result = fedge(folder, "enroll", *PUMPS[:6], "one-more")
    assert result.exit_code == 0, result.stderr
    is_whole(folder, [*PUMPS[:6], "one-more"])


@pytest.mark.parametrize("moment", [*BEFORE, *AFTER])
def test_one_device_that_was_killed_while_it_got_another_certificate(
    folder: FederationFolder, moment: str
) -> None:
    """Its old bundle stays until the new one counts."""
    enroll(folder, "pump-1")
    old = certificate(folder, "pump-1")
    killed(moment, folder, "pump-1")
    with Register(folder.register) as register:
        before = register.certificate(old)
    assert before is not None
    assert before.revoked == (moment in AFTER)
    result = fedge(folder, "enroll", "other")  # any other run ends what was begun
    assert result.exit_code == 0, result.stderr
    new = certificate(folder, "pump-1")
    assert (new == old) == (moment in BEFORE)
    assert sorted(path.name for path in folder.devices.iterdir()) == ["other.fedge", "pump-1.fedge"]


def test_what_another_process_has_aside_is_left_alone(folder: FederationFolder) -> None:
    """Eight run at once: none of them takes another one for a run that was cut off."""
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=waits, args=("it is in the register", folder.root, PUMPS[:3], there))
    process.start()
    assert here.poll(TIMEOUT_S)
    (aside,) = folder.devices.glob(".enrolling-*")
    with Register(folder.register) as register:
        finish(folder, register)
    assert len(list(aside.iterdir())) == 3
    here.send("go on")
    process.join(TIMEOUT_S)
    assert process.exitcode == 0
    is_whole(folder, PUMPS[:3])
