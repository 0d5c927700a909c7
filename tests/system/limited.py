"""A Mosquitto whose largest packet changes at its next start."""

import re
from pathlib import Path

from fleet.demo import broker as brokers
from fleet.demo.broker import Broker


class Limited:
    """A broker in this folder, which takes packets of up to `size` bytes."""

    def __init__(self, folder: Path, size: int) -> None:
        self.broker: Broker = brokers.start("mosquitto", folder)
        self._configured = folder / "mosquitto.conf"
        self.limit(size)

    @property
    def port(self) -> int:
        return int(self.broker.url.rsplit(":", 1)[1])

    def limit(self, size: int) -> None:
        """Start it again with this limit, and with all that it had."""
        text = re.sub(r"max_packet_size \d+", f"max_packet_size {size}", self._configured.read_text())
        self._configured.write_text(text)
        self.broker.restart()
