"""The password file, as Mosquitto itself reads it."""

import base64
import doctest
import shutil
import subprocess
from pathlib import Path

import pytest

from fedge.identity.provisioning import Verifier
from fedge.transport import LinkDown
from fleet.demo import broker as brokers
from fleet.pki import passwords
from fleet.pki.passwords import password_file
from tests.fedge.client import Client

needs_mosquitto = pytest.mark.skipif(
    not brokers._find_mosquitto() or not shutil.which("mosquitto_passwd"),
    reason="mosquitto is not installed",
)


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(passwords) == (0, 1)


def test_nobody_means_an_empty_file() -> None:
    assert password_file({}) == ""


@needs_mosquitto
def test_mosquittos_own_program_writes_the_same(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    command = ["mosquitto_passwd", "-b", "-c", str(file), "pi-1", "secret"]
    subprocess.run(command, check=True, capture_output=True)
    line = file.read_text().strip()
    salt = base64.b64decode(line.split("$")[3])
    assert password_file({"pi-1": Verifier.of("secret", salt)}) == f"{line}\n"


@pytest.mark.system
@needs_mosquitto
def test_mosquitto_lets_in_whom_the_file_names(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    file.write_text(
        password_file({"a__renew": Verifier.of("one", b"a" * 12), "b__renew": Verifier.of("two", b"b" * 12)})
    )
    port = brokers.free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nuser root\nallow_anonymous false\npassword_file {file}\n")
    mosquitto = brokers._find_mosquitto()
    assert mosquitto
    with brokers.LocalBroker("mosquitto", [mosquitto, "-c", str(config)], port, tmp_path / "log") as broker:
        for user, password, welcome in [
            ("a__renew", "one", True),
            ("b__renew", "two", True),
            ("a__renew", "two", False),
            ("c__renew", "one", False),
        ]:
            (tmp_path / "password").write_text(password)
            client = Client(broker.url, user, username=user, password_file=tmp_path / "password")
            try:
                if welcome:
                    client.open()
                else:
                    client.link.open()
                    assert "Not authorized" in client.wait_for(LinkDown).reason
            finally:
                client.link.close(timeout_s=0.2)
