"""Devices that enrol themselves and renew, against Mosquitto and `fedge registrar` as a process."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.config import AgentSettings
from agent.enrolment.certificates import KeyAndRequest, Present
from agent.enrolment.join import begin_request, join_with_bundle, join_with_token
from fedge.errors import ConfigError, Unanswered
from fleet.pki.enrolment import enroll
from fleet.pki.tokens import promise
from tests.system.enrolment import (
    HOUR,
    SHORT_S,
    WAIT_S,
    Asked,
    ask,
    enrolled,
    is_let_in,
    is_shut_out,
    join,
    renew_now,
)
from tests.system.production import Production, needs_mosquitto, production
from tests.system.registrars import RegistrarProcess, files, registrar

pytestmark = [pytest.mark.system, needs_mosquitto]


@pytest.fixture(scope="module")
def place() -> Iterator[Production]:
    with production() as made:
        yield made


@pytest.fixture(scope="module")
def running(place: Production) -> Iterator[RegistrarProcess]:
    with registrar(place.folder) as process:
        yield process


def run(module: str, *arguments: str, text: str | None = None) -> str:
    """What one of our programs prints."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


# The ways in


@pytest.mark.parametrize(
    "device", ["pi-1", pytest.param("3f2504e0-4f89-41d3-9a0c-0305e82c3301", marks=pytest.mark.slow)]
)
def test_a_device_joins_with_a_token_and_renews(
    place: Production, running: RegistrarProcess, tmp_path: Path, device: str
) -> None:
    (token,) = run("fleet", "enroll", "--token", "--folder", str(place.folder.root)).split()
    home = tmp_path / device
    run("agent", "join", "-", "--device", device, "--folder", str(home), text=token)
    assert files(home) == {"agent.toml", "identity.pem", "ca.pem", "signing.pub", "renewal.password"}
    assert {(home / name).stat().st_mode & 0o777 for name in ("identity.pem", "renewal.password")} == {0o600}
    assert is_let_in(place, home)
    assert AgentSettings.load(home / "agent.toml", {}).device == device

    before = Present.read(home / "identity.pem")
    run("agent", "renew", "--config", str(home / "agent.toml"))  # it is not yet due
    assert Present.read(home / "identity.pem").der == before.der
    run("agent", "renew", "--config", str(home / "agent.toml"), "--before", "1000")
    after = Present.read(home / "identity.pem")
    assert after.key.public_key() != before.key.public_key(), "a new key as well"
    assert after.common_name == before.common_name == f"greenhouse_{device}"
    assert is_let_in(place, home)
    assert not (home / "renewing").exists()


def test_a_device_joins_with_a_request_that_somebody_carries(place: Production, tmp_path: Path) -> None:
    home = tmp_path / "pi-2"
    request = begin_request("pi-2", home)
    assert b"PRIVATE KEY" not in request.read_bytes()
    assert begin_request("pi-2", home).read_bytes() == request.read_bytes(), "again: the same request"
    bundle = enroll(place.folder, None, request=request.read_bytes()).bundle
    assert b"PRIVATE KEY" not in bundle.read_bytes(), "the key has never left the device"
    with pytest.raises(ConfigError, match="request"):
        join_with_bundle(bundle, tmp_path / "elsewhere")
    join_with_bundle(bundle, home)
    assert is_let_in(place, home)


def test_a_device_joins_with_a_bundle_and_keeps_its_settings(place: Production, tmp_path: Path) -> None:
    home = enrolled(place, "pi-3", tmp_path / "pi-3")
    assert is_let_in(place, home)
    edited = (home / "agent.toml").read_text().replace("data.csv", "mine.csv")
    (home / "agent.toml").write_text(edited)
    again = enroll(place.folder, "pi-3", again=True).bundle
    assert is_shut_out(place, home), "the old certificate counts no more"
    join_with_bundle(again, home)
    assert is_let_in(place, home)
    assert (home / "agent.toml").read_text() == edited
    with pytest.raises(ConfigError, match=r"greenhouse_pi-3.*greenhouse_pi-4"):
        join_with_bundle(enroll(place.folder, "pi-4").bundle, home)


def test_fault_71_a_token_for_three_devices_makes_three(
    place: Production, running: RegistrarProcess, tmp_path: Path
) -> None:
    token = promise(place.folder, uses=3, valid=HOUR).token
    with ThreadPoolExecutor(5) as pool:  # they share a user name, so they take each other's connection over
        outcomes = list(pool.map(lambda number: join(token, f"swarm-{number}", tmp_path), range(5)))
    assert outcomes.count("joined") == 3
    refused = [outcome for outcome in outcomes if outcome != "joined"]
    assert all("claim_used_up" in outcome for outcome in refused), refused
    assert running.used(token.claim) == 3
    joined = [number for number, outcome in enumerate(outcomes) if outcome == "joined"]
    assert all(is_let_in(place, tmp_path / f"swarm-{number}") for number in joined)


def test_fault_71_nor_does_a_flood_make_more(place: Production, running: RegistrarProcess) -> None:
    token = promise(place.folder, uses=3, valid=HOUR).token
    answers = ask(place, token, *(Asked.of(f"sybil-{number}") for number in range(40)))
    assert sum(answer.certificate is not None for answer in answers) == 3
    assert {answer.refused for answer in answers} == {None, "claim_used_up"}
    assert running.used(token.claim) == 3


def test_fault_71_uses_are_counted_durably_and_a_lost_answer_uses_no_more(
    place: Production, running: RegistrarProcess, tmp_path: Path
) -> None:
    token = promise(place.folder, uses=2, valid=HOUR).token
    assert join(token, "first", tmp_path) == "joined"
    running.kill()  # as soon as somebody has heard of a certificate
    with pytest.raises(Unanswered, match="registrar"):
        join_with_token(token, "second", tmp_path / "second", wait_s=SHORT_S)
    running.start()
    assert running.used(token.claim) == 1
    assert is_let_in(place, tmp_path / "first")

    pending = tmp_path / "second" / "joining"
    csr = KeyAndRequest.read((pending / "request.pem").read_bytes()).csr
    password = (pending / "renewal.password").read_text().strip()
    (answer,) = ask(place, token, Asked("second", csr, password))  # of which the device hears nothing
    assert "claim_used_up" in join(token, "third", tmp_path)
    assert join(token, "second", tmp_path) == "joined"
    assert Present.read(tmp_path / "second" / "identity.pem").der == answer.certificate
    assert running.used(token.claim) == 2
    renew_now(tmp_path / "second")
    assert is_let_in(place, tmp_path / "second")
