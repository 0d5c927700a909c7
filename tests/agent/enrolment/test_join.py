"""Joining with a registrar that is played here: what is written, what a crash leaves, what is refused."""

import errno
import os
import shutil
import tomllib
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent import __main__ as program
from agent.enrolment import join as joining
from agent.enrolment.certificates import Present
from agent.enrolment.join import begin_request, join_with_bundle, join_with_token
from fedge.errors import ConfigError, Conflict
from fedge.identity import bundle
from fedge.identity.provisioning import Enrol
from fedge.identity.token import Token, new_secret
from fleet.pki.authority import Authority
from fleet.pki.keys import make_key, public_key
from fleet.pki.requests import read_request
from tests.agent.enrolment.powercuts import Crash, crash_at
from tests.wording import telling

NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Registrar:
    """It signs what it is asked, the same request with the same certificate, and keeps what it heard."""

    def __init__(self) -> None:
        self.authority = Authority.found("authority", make_key(), 4000, NOW)
        self.given: dict[bytes, bytes] = {}
        self.asked: list[Enrol] = []

    @property
    def token(self) -> Token:
        return Token(
            federation="greenhouse",
            host="broker.example",
            port=8883,
            claim="claim-0a1b2c3d",
            secret=new_secret(),
            ca=self.authority.pem.decode(),
            signing="a public key\n",
            settings='[data]\nsource = "csv"\npath = "data.csv"\n',
        )

    def answer(self, _broker: object, _topics: object, _who: str, request: Enrol, _wait: float) -> bytes:
        self.asked.append(request)
        if request.csr not in self.given:
            wanted = read_request(request.csr)
            issued = self.authority.issue_client(wanted.common_name, wanted.key, 90, NOW)
            self.given[request.csr] = issued.pem
        return self.given[request.csr]


@pytest.fixture
def registrar(monkeypatch: pytest.MonkeyPatch) -> Registrar:
    made = Registrar()
    monkeypatch.setattr(joining, "ask", made.answer)
    return made


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_stands_in_the_folder(registrar: Registrar, tmp_path: Path) -> None:
    home = tmp_path / "pi-1"
    join_with_token(registrar.token, "pi-1", home, wait_s=1)
    assert names(home) == {"agent.toml", "identity.pem", "ca.pem", "signing.pub", "renewal.password"}
    said = tomllib.loads((home / "agent.toml").read_text())
    assert (said["federation"], said["device"]) == ("greenhouse", "pi-1")
    assert said["broker"]["url"] == "mqtts://broker.example:8883"
    assert said["data"]["path"] == "data.csv"
    (asked,) = registrar.asked
    sent = asked.model_dump_json(exclude={"csr", "proof", "renewal"}).encode() + asked.csr
    secrets = [(home / "renewal.password").read_bytes().strip(), b"PRIVATE KEY"]
    assert not any(secret in sent for secret in secrets)


def test_a_crash_anywhere_leaves_nothing_or_all_and_the_next_run_ends_it(
    registrar: Registrar, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # no power is cut, and disks are slow
    home, token = tmp_path / "pi-1", registrar.token
    for step in range(1000):
        registrar.given, registrar.asked = {}, []
        with crash_at(step, joining, monkeypatch) as done:
            crashed = True
            with suppress(Crash):
                join_with_token(token, "pi-1", home, wait_s=1)
                crashed = False
        if not crashed:
            break
        if (home / "identity.pem").exists():  # it is written last
            assert names(home) >= {"agent.toml", "identity.pem", "ca.pem", "signing.pub", "renewal.password"}
            with pytest.raises(ConfigError, match=telling("identity.pem")):
                join_with_token(token, "pi-1", home, wait_s=1)
        else:
            join_with_token(token, "pi-1", home, wait_s=1)
        Present.read(home / "identity.pem")
        assert len({asked.csr for asked in registrar.asked}) == 1, "one use of the token, at most"
        password = (home / "renewal.password").read_text().strip()
        renewal = registrar.asked[0].renewal
        assert renewal == type(renewal).of(password, renewal.salt), (
            "the registrar knows the password that stays"
        )
        shutil.rmtree(home)
    assert not crashed
    assert {"ask", "rename", "fsync"} <= set(done)
    print(f"crashed at each of {step} steps")


def test_a_folder_is_one_devices(registrar: Registrar, tmp_path: Path) -> None:
    join_with_token(registrar.token, "pi-1", tmp_path, wait_s=1)
    with pytest.raises(ConfigError, match=telling("`fedge-agent renew`")):
        join_with_token(registrar.token, "pi-2", tmp_path, wait_s=1)
    (tmp_path / "identity.pem").unlink()
    with pytest.raises(ConfigError, match=telling("greenhouse_pi-1", "greenhouse_pi-2")):
        join_with_token(registrar.token, "pi-2", tmp_path, wait_s=1)
    assert len(registrar.asked) == 1


@pytest.mark.parametrize("name", ["Pi 1", "claim-0a1b2c3d", "../pi", ""])
def test_names_that_no_device_has(registrar: Registrar, name: str, tmp_path: Path) -> None:
    for attempt in (
        lambda: join_with_token(registrar.token, name, tmp_path, wait_s=1),
        lambda: begin_request(name, tmp_path),
    ):
        with pytest.raises(ConfigError, match=telling("36", "a-z")):
            attempt()
    assert not names(tmp_path)


def test_a_uuid_joins_unless_no_certificate_holds_it(registrar: Registrar, tmp_path: Path) -> None:
    name = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    join_with_token(registrar.token, name, tmp_path / "short", wait_s=1)
    assert f'device = "{name}"' in (tmp_path / "short" / "agent.toml").read_text()
    token = registrar.token.model_copy(update={"federation": "f" * 28})
    with pytest.raises(ConfigError, match=r"65 characters.* 35 "):
        join_with_token(token, name, tmp_path / "long", wait_s=1)
    assert len(registrar.asked) == 1
    assert not (tmp_path / "long").exists()


def test_a_certificate_that_is_not_ours_is_not_kept(registrar: Registrar, tmp_path: Path) -> None:
    token = registrar.token
    registrar.authority = Authority.found("authority", make_key(), 4000, NOW)
    with pytest.raises(ConfigError, match=telling("authority")):
        join_with_token(token, "pi-1", tmp_path, wait_s=1)
    assert names(tmp_path) == {"joining"}


def packed(registrar: Registrar, device: str = "pi-1", **files: bytes) -> bytes:
    settings = bundle.agent_toml("greenhouse", device, "broker.example", 8883, 8884, "")
    common = {bundle.AGENT: settings.encode(), bundle.CA: registrar.authority.pem}
    return bundle.pack({**common, bundle.SIGNING: b"key\n", bundle.RENEWAL: b"password\n", **files})


def test_a_bundle_for_another_request_is_refused(registrar: Registrar, tmp_path: Path) -> None:
    begin_request("pi-1", tmp_path)
    other = registrar.authority.issue_client("greenhouse_pi-1", public_key(make_key()), 90, NOW).pem
    file = tmp_path / "pi-1.fedge"
    file.write_bytes(packed(registrar, **{bundle.CERTIFICATE: other}))
    with pytest.raises(ConfigError, match=telling("certificate", "another key")):
        join_with_bundle(file, tmp_path)
    assert not (tmp_path / "identity.pem").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"nonsense", "`fedge enroll`"),
        (b"", "bundle"),
        (None, os.strerror(errno.ENOENT)),
    ],
)
def test_what_is_no_bundle(content: bytes | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "pi-1.fedge"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        join_with_bundle(file, tmp_path / "home")


def test_one_at_a_time(registrar: Registrar, tmp_path: Path) -> None:
    from agent.enrolment.pending import pending

    with pending(tmp_path / "joining"), pytest.raises(Conflict):
        join_with_token(registrar.token, "pi-1", tmp_path, wait_s=1)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["join"], 64, "--request"),
        (["join", "--request"], 64, "--device ID"),
        (["join", "fedge1.abc"], 64, "--device ID"),
        (["join", "fedge1.abc", "--device", "pi-1"], 78, "token"),
        (["join", "/nowhere.fedge"], 78, "/nowhere.fedge: "),
        (["renew", "--config", "/nowhere.toml"], 78, "/nowhere.toml: "),
    ],
)
def test_what_is_said_of_a_mistake(
    arguments: list[str],
    code: int,
    words: str,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        found: Any = program.main(arguments)
    except SystemExit as ended:
        found = ended.code
    assert found == code
    assert words in capfd.readouterr().err
