"""Mosquitto as it is deployed: with our `mosquitto.conf`, a password, and the quarantine before it starts."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import fleet
from fleet.broker import Broker, LocalBroker, free_port

ROOT = Path(fleet.__file__).parents[1]
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
QUARANTINE = ROOT / "deploy" / "mosquitto" / "quarantine-db"
PASSWORD = "a secret of the fleet"
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed")


@dataclass(frozen=True)
class StrictBroker:
    """A running Mosquitto; its folder is readable by the user that Mosquitto becomes."""

    broker: Broker
    folder: Path

    @property
    def access(self) -> dict[str, Any]:
        """What a client writes into its `[broker]`, besides the url."""
        return {"username": "fleet", "password_file": str(self.folder / "broker.password")}

    @property
    def database(self) -> Path:
        return self.folder / "broker" / "data" / "mosquitto.db"

    @property
    def port(self) -> int:
        return int(self.broker.url.rsplit(":", 1)[1])

    def quarantine(self) -> subprocess.CompletedProcess[str]:
        """Do what the service does before it starts the broker."""
        return subprocess.run(
            [str(QUARANTINE), str(self.database.parent)],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env={**os.environ, "MOSQUITTO": MOSQUITTO or "mosquitto"},
        )

    def log(self) -> str:
        return (self.folder / "broker.log").read_text(errors="replace")

    def rewrite(self, **settings: object) -> None:
        """Change settings of its configuration; they hold from the next start on."""
        config = self.folder / "mosquitto.conf"
        config.write_text(_with(config.read_text(encoding="utf-8"), settings), encoding="utf-8")


@contextmanager
def strict_broker(**settings: object) -> Iterator[StrictBroker]:
    """Start Mosquitto with our configuration; only port and folder are others, and `settings`."""
    assert MOSQUITTO is not None
    with tempfile.TemporaryDirectory(prefix="fedge-") as name:
        folder, port = Path(name), free_port()
        folder.chmod(0o755)  # under root, Mosquitto becomes a user of its own
        (folder / "broker.password").write_text(PASSWORD + "\n")
        state = folder / "broker"
        (state / "data").mkdir(parents=True)
        subprocess.run(
            ["mosquitto_passwd", "-b", "-c", str(state / "passwords"), "fleet", PASSWORD], check=True
        )
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "mosquitto", str(state)], check=True)
        text = (ROOT / "mosquitto.conf").read_text(encoding="utf-8")
        text = _plain(text).replace("listener 8883", f"listener {port}").replace(" broker/", f" {state}/")
        config = folder / "mosquitto.conf"
        config.write_text(_with(text, settings), encoding="utf-8")
        command = [MOSQUITTO, "-c", str(config)]
        with LocalBroker("mosquitto", command, port, folder / "broker.log") as broker:
            yield StrictBroker(broker, folder)


def _plain(text: str) -> str:
    """The configuration with a password instead of certificates, on one listener."""
    before, provisioning = text.split("listener 8884\n")
    text = before + provisioning[provisioning.index("# ── what must survive") :]
    keys = (
        "acl_file|certfile|keyfile|tls_version|cafile|require_certificate|crlfile|use_identity_as_username"
        "|use_username_as_clientid"
    )
    return re.sub(rf"(?m)^({keys}) .*\n", "", text)


def _with(text: str, settings: dict[str, object]) -> str:
    for key, value in settings.items():
        text = re.sub(rf"(?m)^{key} .*\n", "", text) + f"{key} {value}\n"
    return text
