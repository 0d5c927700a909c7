"""An identity's name, which is the certificate's CN, the MQTT username and the client id.

`{federation}_{device}` is a device, `{federation}__{role}` a part of the service. Names of federations and
devices have no underscore. So every name has one meaning, and federations can share a broker.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from fedge.errors import ConfigError
from fedge.identity.provisioning import MAX_COMMON_NAME
from fedge.wire.topics import DEVICE_ID, FEDERATION, LONGEST_DEVICE, LONGEST_FEDERATION

_FEDERATION, _DEVICE = FEDERATION.strip("^$"), DEVICE_ID.strip("^$")
_NAME = re.compile(rf"(?P<federation>{_FEDERATION})(?:_(?P<device>{_DEVICE})|__(?P<role>[a-z]+))")


class Role(StrEnum):
    """The role of an identity."""

    DEVICE = "device"
    AGGREGATOR = "aggregator"
    WATCH = "watch"
    """The aggregator during its takeover, before it connects with its own name."""
    REGISTRAR = "registrar"
    OBSERVER = "observer"
    """Dashboards: it only reads."""
    BROKER = "broker"
    """The broker's own certificate; it is no client and has no rights."""


@dataclass(frozen=True)
class Identity:
    """One member of one federation.

    >>> Identity("greenhouse", "pi-1").name
    'greenhouse_pi-1'
    >>> Identity("greenhouse", role=Role.AGGREGATOR).name
    'greenhouse__aggregator'

    Raises:
        ConfigError: an id that topics do not allow, or a name that is too long for a certificate.
    """

    federation: str
    device: str | None = None
    role: Role = Role.DEVICE

    def __post_init__(self) -> None:
        if (self.device is None) == (self.role is Role.DEVICE):
            raise ValueError("a device has an id, and nothing else has one")
        for what, name, pattern, longest in (
            ("federation", self.federation, _FEDERATION, LONGEST_FEDERATION),
            ("device", self.device, _DEVICE, LONGEST_DEVICE),
        ):
            if name is not None and re.fullmatch(pattern, name) is None:
                raise ConfigError(
                    f"{what} {name!r}: expected 1 to {longest} of a-z, 0-9 and '-', not beginning with '-'"
                )
        check_common_name(self.name)

    @property
    def name(self) -> str:
        """The certificate's CN, the MQTT username and the client id."""
        return f"{self.federation}_{self.device}" if self.device else f"{self.federation}__{self.role}"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Read a name: the inverse of `name`. None if it is no identity's name.

        >>> Identity.parse("greenhouse_pi-1")
        Identity(federation='greenhouse', device='pi-1', role=<Role.DEVICE: 'device'>)
        >>> Identity.parse("greenhouse__watch").role
        <Role.WATCH: 'watch'>
        >>> [Identity.parse(name) for name in ("pi-1", "greenhouse__device", "Greenhouse_pi", "a_b_c")]
        [None, None, None, None]
        """
        match = _NAME.fullmatch(name)
        if match is None or len(name) > MAX_COMMON_NAME:
            return None
        if match["device"]:
            return cls(match["federation"], match["device"])
        if match["role"] not in set(Role) - {Role.DEVICE}:
            return None
        return cls(match["federation"], role=Role(match["role"]))


def check_common_name(name: str) -> None:
    """Refuse a name that no certificate can hold.

    Raises:
        ConfigError: it is longer than 64 characters, or empty.
    """
    if not 1 <= len(name) <= MAX_COMMON_NAME:
        raise ConfigError(
            f"{name!r}: {len(name)} characters, and a certificate's common name has 1 to {MAX_COMMON_NAME}: "
            "choose a shorter name for the federation or the device"
        )
