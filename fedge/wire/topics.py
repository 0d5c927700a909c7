"""Convert between typed addresses and topic strings: the only module that knows how a topic is spelt.

All topics of a federation are below `fedge/v1/{federation}/`, with at most seven slashes.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

FEDERATION = r"^[a-z0-9][a-z0-9-]{0,30}$"
"""The pattern of a federation's name: no `/`, `+` or `#`, which have a meaning in topics."""
DEVICE_ID = r"^[a-z0-9][a-z0-9-]{0,35}$"
"""The pattern of a device id, which fits a machine-id (32 characters) and a UUID (36)."""
LONGEST_FEDERATION, LONGEST_DEVICE = 31, 36
KEYS_FROM = 2
"""The first number of a key frame's slot in topics. It is beside the models' slots, so that an access list
that was written before there were key frames allows it."""
LONGEST_BEFORE = 31
"""The longest device id that programs of 0.2.0 accept."""
VERSION = "v1"

Kind = Literal[
    "round", "task", "model", "key", "export", "service", "update", "receipt", "status", "provision"
]
"""The first word after the federation, except for `key`: its frames are among those of models."""
Side = Literal["request", "answer"]
"""The two topics of a client that asks the registrar for a certificate."""

_FEDERATION, _DEVICE = FEDERATION.strip("^$"), DEVICE_ID.strip("^$")
_TOPIC = re.compile(
    rf"fedge/(?P<version>v[1-9][0-9]{{0,3}})/(?P<federation>{_FEDERATION})/"
    rf"(?:(?P<plain>round|export|service)"
    rf"|(?P<framed>task|model|export)/(?P<slot>[01]|(?<=/model/)[23])/(?P<i>0|[1-9][0-9]{{0,3}})"
    rf"|(?P<laned>update)/(?P<lane>[0-9a-f]{{2}})/(?P<sender>{_DEVICE})"
    rf"|(?P<personal>receipt|status)/(?P<device>{_DEVICE})"
    rf"|(?P<asked>provision)/(?P<petitioner>{_DEVICE})/(?P<side>request|answer))"
)


def lane_of(device: str) -> int:
    """The lane of a device, 0 to 255: the first byte of SHA-256 of its id. Workers own ranges of lanes.

    >>> lane_of("pi-1")
    154
    """
    return hashlib.sha256(device.encode()).digest()[0]


class Address(NamedTuple):
    """The parts of a topic; fields that its kind does not have are None."""

    kind: Kind
    federation: str
    device: str | None = None
    slot: int | None = None
    """The slot of a retained, framed message: 0 or 1."""
    i: int | None = None
    """The number of the frame."""
    petitioner: str | None = None
    """The requester of a certificate: the name of a claim, or of a device that renews its own."""
    side: Side | None = None
    """Whether requests or answers of the registrar are published here."""
    version: str = VERSION
    """Only a status may have another version than `v1`, so that its device is noticed and named."""


@dataclass(frozen=True)
class Topics:
    """The topics of one federation, and the filters that are subscribed to.

    >>> fleet = Topics("greenhouse")
    >>> fleet.round
    'fedge/v1/greenhouse/round'
    >>> fleet.update("pi-1")
    'fedge/v1/greenhouse/update/9a/pi-1'

    Raises:
        ValueError: an id, slot or frame number that no topic may hold.
    """

    federation: str

    def __post_init__(self) -> None:
        _check_id("federation", self.federation)

    @property
    def _prefix(self) -> str:
        return f"fedge/{VERSION}/{self.federation}"

    @property
    def round(self) -> str:
        """The manifest of the current round."""
        return f"{self._prefix}/round"

    @property
    def export(self) -> str:
        """The manifest of the newest ONNX file."""
        return f"{self._prefix}/export"

    @property
    def service(self) -> str:
        """The aggregator's presence."""
        return f"{self._prefix}/service"

    def task(self, slot: int, i: int) -> str:
        """Frame `i` of the task in `slot`."""
        return self._frame("task", slot, i)

    def model(self, slot: int, i: int) -> str:
        """Frame `i` of the global model in `slot`."""
        return self._frame("model", slot, i)

    def key(self, slot: int, i: int) -> str:
        """Frame `i` of the key frame in `slot`.

        >>> Topics("greenhouse").key(1, 0)
        'fedge/v1/greenhouse/model/3/0'
        """
        return self._frame("key", slot, i)

    def export_frame(self, slot: int, i: int) -> str:
        """Frame `i` of the ONNX file in `slot`."""
        return self._frame("export", slot, i)

    def update(self, device: str) -> str:
        """The topic of a device's updates and surveys."""
        _check_id("device", device)
        return f"{self._prefix}/update/{lane_of(device):02x}/{device}"

    def receipt(self, device: str) -> str:
        """The topic of the answers to a device."""
        _check_id("device", device)
        return f"{self._prefix}/receipt/{device}"

    def status(self, device: str) -> str:
        """A device's presence."""
        _check_id("device", device)
        return f"{self._prefix}/status/{device}"

    def provision(self, petitioner: str, side: Side) -> str:
        """The topic on which a claim or a device asks the registrar for a certificate, or is answered.

        >>> Topics("greenhouse").provision("pi-1", "request")
        'fedge/v1/greenhouse/provision/pi-1/request'
        """
        _check_id("petitioner", petitioner)
        return f"{self._prefix}/provision/{petitioner}/{side}"

    @property
    def all_provision_requests(self) -> str:
        """The filter of all requests to the registrar."""
        return f"{self._prefix}/provision/+/request"

    def signing_context(self, what: Literal["round", "export", "key"]) -> bytes:
        """The prefix of the bytes that a signature covers, so that it is valid nowhere else.

        `key` is no topic: it is the prefix for a signing key that an older key names as its successor.
        """
        return f"{self._prefix}/{what}".encode() + b"\0"

    @property
    def all_provision_answers(self) -> str:
        """The filter of all answers of the registrar."""
        return f"{self._prefix}/provision/+/answer"

    @property
    def tasks(self) -> str:
        """The filter of all frames of tasks, of both slots; for those who may read or write them."""
        return f"{self._prefix}/task/#"

    @property
    def models(self) -> str:
        """The filter of all frames of global models."""
        return f"{self._prefix}/model/#"

    @property
    def exports(self) -> str:
        """The filter of the export's manifest and frames."""
        return f"{self._prefix}/export/#"

    @property
    def all_receipts(self) -> str:
        """The filter of the answers to all devices."""
        return f"{self._prefix}/receipt/+"

    @property
    def all_updates(self) -> str:
        """The filter of every device's updates."""
        return f"{self._prefix}/update/+/+"

    @property
    def all_statuses(self) -> str:
        """The filter of every device's status, of any version of the protocol."""
        return f"fedge/+/{self.federation}/status/+"

    def task_frames(self, slot: int) -> str:
        """The filter of all frames of the task in `slot`."""
        return f"{self._prefix}/task/{_checked_slot(slot)}/+"

    def model_frames(self, slot: int) -> str:
        """The filter of all frames of the global model in `slot`."""
        return f"{self._prefix}/model/{_checked_slot(slot)}/+"

    def key_frames(self, slot: int) -> str:
        """The filter of all frames of the key frame in `slot`."""
        return f"{self._prefix}/model/{KEYS_FROM + _checked_slot(slot)}/+"

    def parse(self, topic: str) -> Address | None:
        """Read a topic of this federation; None for any other.

        >>> Topics("greenhouse").parse("fedge/v1/harbour/round") is None
        True
        """
        address = parse(topic)
        return address if address is not None and address.federation == self.federation else None

    def _frame(self, kind: Kind, slot: int, i: int) -> str:
        if not 0 <= i <= 9_999:
            raise ValueError(f"a frame is numbered 0 to 9999, got {i}")
        if kind == "key":
            return f"{self._prefix}/model/{KEYS_FROM + _checked_slot(slot)}/{i}"
        return f"{self._prefix}/{kind}/{_checked_slot(slot)}/{i}"


def parse(topic: str) -> Address | None:
    """Read a topic: the inverse of the methods of `Topics`. None if it is not spelt as they spell it.

    >>> parse("fedge/v1/greenhouse/model/1/12") == Address("model", "greenhouse", slot=1, i=12)
    True
    >>> parse("fedge/v1/greenhouse/model/3/12") == Address("key", "greenhouse", slot=1, i=12)
    True
    >>> parse("fedge/v1/greenhouse/update/9a/pi-1").device
    'pi-1'
    >>> parse("fedge/v1/greenhouse/provision/pi-1/answer").side
    'answer'
    >>> parse("fedge/v2/greenhouse/status/pi-1").version  # a device that was upgraded before the aggregator
    'v2'

    What must not match: a lane that is not the device's, another version, filters, foreign spellings.

    >>> [parse(topic) for topic in (
    ...     "fedge/v1/greenhouse/update/00/pi-1",
    ...     "fedge/v2/greenhouse/round",
    ...     "fedge/v1/greenhouse/status/+",
    ...     "fedge/v1/greenhouse/status/pi-1/",
    ...     "fedge/v1/greenhouse/status/Pi-1",
    ...     "fedge/v1/greenhouse/model/4/0",
    ...     "fedge/v1/greenhouse/task/2/0",
    ...     "fedge/v1/greenhouse/model/0/01",
    ...     "/fedge/v1/greenhouse/round",
    ... )]
    [None, None, None, None, None, None, None, None, None]
    """
    match = _TOPIC.fullmatch(topic)
    if match is None:
        return None
    version, federation, plain, framed, slot, i, laned, lane, sender, personal, device, *asks = match.groups()
    asked, petitioner, side = asks
    kind = plain or framed or laned or personal or asked
    if version != VERSION and kind != "status":
        return None
    if laned and int(lane, 16) != lane_of(sender):
        return None
    number = int(slot) if framed else None
    if number is not None and number >= KEYS_FROM:
        kind, number = "key", number - KEYS_FROM
    return Address(
        kind=_KINDS[kind],
        federation=federation,
        device=sender or device,
        slot=number,
        i=int(i) if framed else None,
        petitioner=petitioner,
        side=_SIDES[side] if asked else None,
        version=version,
    )


_KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
_SIDES: dict[str, Side] = {side: side for side in get_args(Side)}


def _check_id(what: str, name: str) -> None:
    pattern = _FEDERATION if what == "federation" else _DEVICE
    if re.fullmatch(pattern, name) is None:
        longest = LONGEST_FEDERATION if what == "federation" else LONGEST_DEVICE
        raise ValueError(
            f"{what} id {name!r}: expected 1 to {longest} of a-z, 0-9 and '-', not beginning with '-' "
            "(an id is a level of an MQTT topic)"
        )


def _checked_slot(slot: int) -> int:
    if slot not in (0, 1):
        raise ValueError(f"a slot is 0 or 1, got {slot}")
    return slot
