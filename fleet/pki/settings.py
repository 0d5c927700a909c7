"""`registrar/registrar.toml`: where devices find the broker, and how long certificates last."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from fedge.service.settings import FileSettings, Section, is_host


def check_host(host: str) -> str:
    """Check a host and return it.

    Raises:
        ValueError: it is neither a name nor an address.
    """
    if not is_host(host):
        raise ValueError(
            "expected a name or an address alone, as in broker.example or 192.0.2.7: no mqtts://, no port"
        )
    return host


class BrokerAddress(Section):
    """`[broker]`: how devices reach the broker."""

    host: Annotated[str, AfterValidator(check_host)]
    """The broker's host name or address, as devices reach it."""
    port: int = Field(default=8883, ge=1, le=65535)
    """The listener for clients with a certificate."""
    provisioning_port: int = Field(default=8884, ge=1, le=65535)
    """The listener for clients that ask for one."""

    @field_validator("provisioning_port")
    @classmethod
    def _is_another(cls, value: int, info: ValidationInfo) -> int:
        if value == info.data.get("port"):
            raise ValueError("expected another port than the one for clients with a certificate")
        return value


class CertificateSection(Section):
    """`[certificates]`: the lifetime of new certificates, in days."""

    server_days: int = Field(default=730, ge=1, le=3650)
    """The lifetime of the broker's, the aggregator's and the registrar's certificates."""
    device_days: float = Field(default=365, gt=0, le=3650)
    """The lifetime of a device's certificate. With a longer one a device can be switched off longer and
    still renew it by itself."""


class RegistrarSettings(FileSettings):
    """The whole of `registrar.toml`."""

    ENV_PREFIX: ClassVar[str] = "FEDGE_REGISTRAR_"

    broker: BrokerAddress
    """Where devices find the broker."""
    certificates: CertificateSection = Field(default_factory=CertificateSection)
    """How long certificates last."""
