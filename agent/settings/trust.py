"""`[trust]` of `agent.toml`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fedge.service.settings import LocalPath, Section


class TrustSettings(Section):
    """`[trust]`: which models are accepted, and what a round must promise. The device declines a round that
    promises less, of any kind, and sends nothing about its rows in it."""

    key: LocalPath | None = None
    """PEM file of the public key that must sign announcements. Without it the device accepts any
    announcement."""
    require: tuple[Literal["private", "masked"], ...] = ()
    """What each round must promise: private, differential privacy of this device; masked, that the server
    learns only the sum of several devices' updates."""
    roster: LocalPath | None = None
    """File of the devices that this device takes part with in masked rounds: lines as `fedge-agent roster`
    prints them. Without it all count that the authority has certified; needs masked in require."""
    revoked: LocalPath | None = None
    """PEM file of the authority's list of revoked certificates (`broker/crl.pem` of the federation's folder);
    this device takes part in no masked round with them. It is read at each one."""
    adversary: Literal["models", "server"] = "models"
    """From whom privacy must protect: models, whoever gets models; server, also the aggregator and the
    broker, so that noise that the aggregator adds is not enough. Requires private."""
    min_cohort: int | None = Field(default=None, ge=1, le=2**31)
    """The least number of devices of whose updates anything may be released."""
    max_epsilon: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The largest ε of a whole training; requires private."""
    max_delta: float = Field(default=1e-5, gt=0, lt=1)
    """The largest δ, where private is required."""
    local_epsilon: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The largest ε of a whole training with noise that this device adds alone; other noise does not
    count."""

    @property
    def private(self) -> bool:
        """Whether rounds must promise differential privacy."""
        wanted = self.max_epsilon is not None or self.local_epsilon is not None or self.adversary == "server"
        return "private" in self.require or wanted

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.require)) != len(self.require):
            raise ValueError("require: a name occurs twice")
        if self.roster is not None and "masked" not in self.require:
            raise ValueError(
                'roster: set require = ["masked"] too: otherwise updates leave this device in rounds without '
                "masks, where no other device matters"
            )
        return self
