"""`registrar/registrar.toml`: where devices find the broker, and how long certificates last."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from fedge.service.settings import FileSettings, Section, is_host


def check_host(host: str) -> str:
    """The host as it is.

    Raises:
        ValueError: it is neither a name nor an address.
    """
    if not is_host(host):
        raise ValueError(
            "expected a name or an address alone, as in broker.example or 192.0.2.7: no mqtts://, no port"
        )
    return host


class BrokerAddress(Section):
    """`[broker]`: what devices are told."""

    host: Annotated[str, AfterValidator(check_host)]
    """The broker's host name or address, as devices reach it."""
    port: int = Field(default=8883, ge=1, le=65535)
    """The listener for those who have a certificate."""
    provisioning_port: int = Field(default=8884, ge=1, le=65535)
    """The listener for those who ask for one."""

    @field_validator("provisioning_port")
    @classmethod
    def _is_another(cls, value: int, info: ValidationInfo) -> int:
        if value == info.data.get("port"):
            raise ValueError("expected another port than that of those who have a certificate")
        return value


class CertificateSection(Section):
    """`[certificates]`: for how many days a new certificate is good."""

    server_days: int = Field(default=730, ge=1, le=3650)
    """The broker's, the aggregator's and the registrar's own."""
    device_days: float = Field(default=365, gt=0, le=3650)
    """A device's: the longer, the longer a device may be switched off and still come back by itself."""


class RegistrarSettings(FileSettings):
    """The whole of `registrar.toml`."""

    ENV_PREFIX: ClassVar[str] = "FEDGE_REGISTRAR_"

    broker: BrokerAddress
    """Where devices find the broker."""
    certificates: CertificateSection = Field(default_factory=CertificateSection)
    """How long certificates last."""
