"""`agent.toml`: the device, the broker, the data, and the limits that its owner sets."""

import logging
from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from agent.settings.conditions import ConditionsSettings
from agent.settings.limits import LimitsSettings
from agent.settings.predict import PredictSettings
from agent.settings.renewal import RenewalSettings
from agent.settings.sources import DEFAULT_SOURCE, AnySource, CsvSettings, NpzSettings, PythonSettings
from agent.settings.state import StateSettings
from agent.settings.trainer import TrainerSettings
from agent.settings.trust import TrustSettings
from fedge.identity.device_names import as_id, renamed
from fedge.service.settings import BrokerSettings, FileSettings
from fedge.wire.messages.fields import SOURCE_NAME
from fedge.wire.topics import DEVICE_ID, FEDERATION

log = logging.getLogger("fedge.agent")


def _device(name: object) -> object:
    """Return the id for the configured name; log it if it differs."""
    if not isinstance(name, str):
        return name
    for sentence in renamed([name]):
        log.warning("device: %s", sentence)
    return as_id(name)


class AgentSettings(FileSettings):
    """The whole of `agent.toml`."""

    ENV_PREFIX: ClassVar[str] = "FEDGE_AGENT_"
    FORMER: ClassVar[Mapping[str, str]] = {"manners": "conditions"}

    federation: str = Field(pattern=FEDERATION)
    """The federation's name: at most 31 lower-case letters, digits and hyphens."""
    device: Annotated[str, BeforeValidator(_device), Field(pattern=DEVICE_ID)]
    """This device's name, no other's in the federation: at most 36 lower-case letters, digits and hyphens."""
    extensions: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        default=(), max_length=64
    )
    """Parts of algorithms of the owner's, which rounds may then ask for by their names: each as
    `module:attribute`, or by the name that an installed package gives it in the group `fedge.extensions`."""
    broker: BrokerSettings = Field(default_factory=BrokerSettings)
    """Where the MQTT broker is."""
    data: AnySource
    """Where this device's samples are; its `source` is csv, npz or python."""
    sources: dict[Annotated[str, Field(pattern=SOURCE_NAME)], AnySource] = Field(default_factory=dict)
    """Further samples of this device, each as `[sources.NAME]`, for federations that ask for them by name."""
    limits: LimitsSettings = Field(default_factory=LimitsSettings)
    """The most that a federation may ask."""
    conditions: ConditionsSettings = Field(default_factory=ConditionsSettings)
    """When this device takes up work."""
    trainer: TrainerSettings = Field(default_factory=TrainerSettings)
    """The thread that trains."""
    predict: PredictSettings = Field(default_factory=PredictSettings)
    """Which model `predict` uses."""
    renewal: RenewalSettings = Field(default_factory=RenewalSettings)
    """How the certificate is renewed."""
    state: StateSettings = Field(default_factory=StateSettings)
    """What must survive a restart."""
    trust: TrustSettings = Field(default_factory=TrustSettings)
    """Which models are accepted, and what a round must promise."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if DEFAULT_SOURCE in self.sources:
            raise ValueError(f"[sources.{DEFAULT_SOURCE}]: is the name of [data]; choose another name")
        for name in self.limits.sources or ():
            if name not in self.offered:
                here = ", ".join(self.offered)
                raise ValueError(f"[limits] sources: there is no source {name!r}; the sources are {here}")
        return self

    @property
    def offered(self) -> dict[str, CsvSettings | NpzSettings | PythonSettings]:
        """All sources of this device by name, the default one first."""
        return {DEFAULT_SOURCE: self.data, **self.sources}
