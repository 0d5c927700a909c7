"""A client that hears all that is said in a federation, and may say anything itself."""

import hashlib
import ssl
import threading
from types import TracebackType
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from fedge.wire.capabilities import can
from fedge.wire.messages.envelope import unseal
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Decline, Status
from fedge.wire.topics import Topics
from tests.system.fleet_of_processes import PATIENCE_S, FleetOfProcesses


class Wiretap:
    """Connected and subscribed from the moment the context is entered."""

    def __init__(self, fleet: FleetOfProcesses) -> None:
        self.topics = Topics(fleet.name)
        self.latest: dict[str, bytes] = {}
        """The last message of each topic, retained ones from before included."""
        self.heard: list[tuple[str, bytes]] = []
        """Topic and payload of every message, in the order in which they came."""
        self.receipts: dict[tuple[str, bytes], Receipt] = {}
        """By device and update, the last one."""
        self._fleet = fleet
        self._listening = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "wiretap", protocol=mqtt.MQTTv5)
        access = fleet.members.access("observer") if fleet.members is not None else {}
        if access:
            context = ssl.create_default_context(cafile=access["ca"])
            context.load_cert_chain(access["certificate"], access["key"])
            self._client.tls_set_context(context)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(f"fedge/v1/{fleet.name}/#", qos=1)
        self._client.on_subscribe = lambda *_: self._listening.set()
        self._client.on_message = self._hear

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", int(self._fleet.broker.url.rsplit(":", 1)[1]))
        self._client.loop_start()
        assert self._listening.wait(PATIENCE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish, and wait for the broker's acknowledgement."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(PATIENCE_S)

    def clear(self) -> None:
        """Make the broker forget all that is retained; what others say at the same time may stay."""
        marker = f"fedge/v1/{self._fleet.name}/marker"  # comes after all that was retained when we subscribed
        self.say(marker, b"")
        self._fleet.until(lambda: marker in self.latest, "all that is retained has come")
        for topic in list(self.latest):
            self.say(topic, b"", retain=True)

    def receipt(self, device: str, digest: bytes) -> Receipt:
        """Wait for the answer to an update."""
        self._fleet.until(lambda: (device, digest) in self.receipts, f"{device} gets a receipt")
        return self.receipts[device, digest]

    def declined(self, device: str, number: int) -> Decline:
        """Wait until a device's status says why it takes no part in a round, which has to be open still."""

        def found() -> Decline | None:
            status = self.status(device)
            return status.declined if status is not None else None

        self._fleet.until(
            lambda: (decline := found()) is not None and decline.round == number,
            f"{device} declines in round {number}",
        )
        decline = found()
        assert decline is not None
        return decline

    def manifest(self) -> Manifest | None:
        payload = self.latest.get(self.topics.round)
        return unseal(payload, Manifest) if payload else None

    def service(self) -> Service | None:
        payload = self.latest.get(self.topics.service)
        return unpack(payload, Service) if payload else None

    def introduce(self, device: str) -> None:
        """Say in a device's name that it is offline and can do all that this program can."""
        status = Status(
            online=False, boot=bytes(16), connection=0, version="0", samples=1, can=tuple(sorted(can()))
        )
        self.say(self.topics.status(device), pack(status))

    def status(self, device: str) -> Status | None:
        payload = self.latest.get(self.topics.status(device))
        return unpack(payload, Status) if payload else None

    def _hear(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        payload = bytes(message.payload)
        self.latest[message.topic] = payload
        self.heard.append((message.topic, payload))
        address = self.topics.parse(message.topic)
        if address is not None and address.kind == "receipt" and address.device is not None:
            receipt = unpack(payload, Receipt)
            self.receipts[address.device, receipt.update] = receipt


def digest(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()
