"""A federation as `fedge init` makes it, and Mosquitto with its configuration."""

import os
import re
import shutil
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from fedge.identity import bundle
from fleet.demo.broker import Broker, LocalBroker, free_port
from fleet.pki.enrolment import admit_observer, enroll
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed")


@dataclass
class Production:
    """The folder, the running broker, and the devices' own folders; a fleet's `Members`."""

    folder: FederationFolder
    broker: Broker
    port: int
    provisioning_port: int
    federation: str
    _homes: dict[str, Path] = field(default_factory=dict)

    @property
    def signing_key(self) -> Path:
        return self.folder.signing_key

    @property
    def signing_public(self) -> Path:
        return self.folder.signing_public

    def home(self, device: str) -> Path:
        """Where the files of a device's bundle lie; it is enrolled when first asked for."""
        if device not in self._homes:
            home = self.folder.root.parent / "homes" / device
            home.mkdir(parents=True)
            for name, content in bundle.unpack(enroll(self.folder, device).bundle.read_bytes()).items():
                (home / name).write_bytes(content)
            self._homes[device] = home
        return self._homes[device]

    def identity(self, member: str) -> Path:
        """Key and certificate of a device, or of `aggregator`, `watch`, `registrar`, `observer`."""
        match member:
            case "aggregator":
                return self.folder.aggregator_identity
            case "watch":
                return self.folder.watch_identity
            case "registrar":
                return self.folder.registrar_identity
            case "observer":
                admit_observer(self.folder)
                return self.folder.observer_identity
        return self.home(member) / "identity.pem"

    def access(self, member: str) -> Mapping[str, Any]:
        identity = {"certificate": str(self.identity(member)), "key": str(self.identity(member))}
        return identity if member == "watch" else {**identity, "ca": str(self.folder.ca)}

    def client(self, member: str, **options: Any) -> mqtt.Client:
        """A client of the tests' own, not connected yet, as this member; the broker names it anyway."""
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, "", protocol=mqtt.MQTTv5, reconnect_on_failure=False, **options
        )
        client.tls_set_context(self.tls(self.identity(member)))
        return client

    def tls(self, identity: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder.ca))
        if identity is not None:
            context.load_cert_chain(identity)
        return context

    def log(self) -> str:
        return (self.folder.root.parent / "broker.log").read_text(errors="replace")

    def rewrite(self, **settings: object) -> None:
        """Change settings of the broker's configuration; they hold from the next start on."""
        text = self.folder.mosquitto_conf.read_text(encoding="utf-8")
        for key, value in settings.items():
            text = re.sub(rf"(?m)^{key} .*\n", "", text) + f"{key} {value}\n"
        self.folder.mosquitto_conf.write_text(text, encoding="utf-8")


@contextmanager
def production(
    federation: str = "greenhouse", *, hosts: tuple[str, ...] = (), **settings: object
) -> Iterator[Production]:
    """Make a federation's folder, start Mosquitto with its configuration, and end it."""
    assert MOSQUITTO is not None
    with tempfile.TemporaryDirectory(prefix="fedge-") as name:
        Path(name).chmod(0o755)  # under root, Mosquitto becomes a user of its own
        folder, port, provisioning_port = FederationFolder(Path(name) / federation), free_port(), free_port()
        found(folder, Founding(federation, ["127.0.0.1", *hosts], port, provisioning_port))
        made = Production(folder, None, port, provisioning_port, federation)  # type: ignore[arg-type]
        made.rewrite(**settings)
        command = [MOSQUITTO, "-c", str(folder.mosquitto_conf)]
        with LocalBroker("mosquitto", command, port, Path(name) / "broker.log") as broker:
            broker.url = f"mqtts://127.0.0.1:{port}"
            made.broker = broker
            yield made
