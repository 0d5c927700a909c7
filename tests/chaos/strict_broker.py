"""Mosquitto as it is deployed: the production configuration over mutual TLS, the quarantine before it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fleet
from fleet.demo.broker import Broker
from tests.system.production import MOSQUITTO, Production, needs_mosquitto, production

__all__ = ["StrictBroker", "needs_mosquitto", "strict_broker"]

ROOT = Path(fleet.__file__).parents[1]
QUARANTINE = ROOT / "deploy" / "mosquitto" / "quarantine-db"


@dataclass(frozen=True)
class StrictBroker:
    """A running Mosquitto, and the identities of those who may speak to it."""

    access: Production
    """What a fleet of processes needs to take part."""

    @property
    def broker(self) -> Broker:
        return self.access.broker

    @property
    def database(self) -> Path:
        return self.access.folder.broker_data / "mosquitto.db"

    @property
    def port(self) -> int:
        return self.access.port

    def quarantine(
        self, *, mosquitto: str | Path = MOSQUITTO or "mosquitto"
    ) -> subprocess.CompletedProcess[str]:
        """Do what the service does before it starts the broker."""
        return subprocess.run(
            [str(QUARANTINE), str(self.database.parent)],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env={**os.environ, "MOSQUITTO": str(mosquitto)},
        )

    def rewrite(self, **settings: object) -> None:
        """Change settings of its configuration; they hold from the next start on."""
        self.access.rewrite(**settings)


@contextmanager
def strict_broker(*, hosts: tuple[str, ...] = (), **settings: object) -> Iterator[StrictBroker]:
    """Start Mosquitto with our configuration; only ports and folder are others, and `settings`.

    `hosts`: what else than 127.0.0.1 its certificate is for.
    """
    with production("strict", hosts=hosts, **settings) as made:
        yield StrictBroker(made)
