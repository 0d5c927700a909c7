"""The options of `fedge init`, and their checks."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from fedge.errors import ConfigError
from fleet.pki.init_texts import EXAMPLE_DATA, EXAMPLE_LEARNING, EXAMPLE_MODEL
from fleet.pki.settings import RegistrarSettings, check_host

CA_DAYS, MOST_CA_DAYS = 20 * 365, 100 * 365


@dataclass(frozen=True)
class Founding:
    """The options of `fedge init`."""

    name: str
    hosts: Sequence[str]
    """Names and addresses of the broker; devices use the first. It listens on this machine only where all of
    them are this machine's own, as `localhost` is."""
    port: int = 8883
    provisioning_port: int = 8884
    ca_days: int = CA_DAYS
    server_days: int = 730
    device_days: int = 365
    model: str = EXAMPLE_MODEL
    """`[model]` of `federation.toml`, as text."""
    learning: str = EXAMPLE_LEARNING
    """`[plan]`, `[rounds]` and `[stopping]`, as text, each followed by an empty line."""
    data: str = EXAMPLE_DATA
    """`[data]` of the devices' `agent.toml`, as text."""


def refuse_wrong_options(founding: Founding) -> None:
    """Check the options before anything is made, because an existing `registrar.toml` is never overwritten.

    Raises:
        ConfigError: an option is wrong; the text names it.
    """
    for host in founding.hosts:
        try:
            check_host(host)
        except ValueError as error:
            raise ConfigError(f"--host {host!r}: {error}") from None
    if not 1 <= founding.ca_days <= MOST_CA_DAYS:
        raise ConfigError(f"--ca-days {founding.ca_days}: expected 1 to {MOST_CA_DAYS}")
    ports = {"port": founding.port, "provisioning_port": founding.provisioning_port}
    days = {"server_days": founding.server_days, "device_days": founding.device_days}
    try:
        RegistrarSettings.model_validate(
            {"broker": {"host": founding.hosts[0], **ports}, "certificates": days}
        )
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        option = str(detail["loc"][-1]).replace("_", "-")
        message = detail["msg"].removeprefix("Value error, ")
        raise ConfigError(f"--{option} {detail['input']}: {message}") from None
