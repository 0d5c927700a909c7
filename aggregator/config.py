"""`federation.toml`, the operator's settings: what is learnt, how rounds run, when to stop."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from aggregator.core.choice import How
from aggregator.core.masking_rules import MaskingRules, unfit_for_masking
from aggregator.core.part_compatibility import incompatibility
from aggregator.core.parts import Parts
from aggregator.core.proposals import DataSection
from aggregator.core.quorum import fewest_of, needing
from aggregator.core.shared_entries import shared_by
from aggregator.core.stale_parts import unfit_for_stale
from aggregator.settings.columns import Column, unfit
from aggregator.settings.distributed_noise import levels_of
from aggregator.settings.export import ExportSection
from aggregator.settings.federation import FederationSection
from aggregator.settings.masking import MaskingSection
from aggregator.settings.metrics import MetricsSection
from aggregator.settings.model import ModelSection
from aggregator.settings.parts import PersonalSection, RuleSection, ServerSection
from aggregator.settings.plan import PlanSection
from aggregator.settings.privacy import PrivacySection
from aggregator.settings.private_settings import objections
from aggregator.settings.rounds import BUFFERED, RoundsSection
from aggregator.settings.signing import SigningSection
from aggregator.settings.state import StateSection
from aggregator.settings.stopping import StoppingSection
from aggregator.settings.watch import WatchSection
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import LOCAL, load
from fedge.errors import ConfigError
from fedge.masking.messages import MAX_DEVICES
from fedge.masking.noise import NoisyLevels
from fedge.privacy.charges import Declared
from fedge.service.settings import BrokerSettings, FileSettings
from fedge.wire.encoding import MAX_PAYLOAD
from fedge.wire.frames import FRAME_HEAD
from fedge.wire.messages.fields import MAX_FRAMES
from fedge.wire.messages.task import Task


def load_extensions(extensions: tuple[str, ...]) -> tuple[str, ...]:
    """Load the extensions before the tables that may name their parts are read."""
    for extension in extensions:
        try:
            load(extension)
        except ConfigError as error:
            raise ValueError(str(error).removeprefix("extensions: ")) from error
    return extensions


class FederationSettings(FileSettings):
    """The whole of `federation.toml`."""

    ENV_PREFIX: ClassVar[str] = "FEDGE_AGGREGATOR_"

    extensions: Annotated[tuple[str, ...], AfterValidator(load_extensions)] = ()
    """Parts that do not come with Fedge and that the tables below may name: each as `module:attribute`, or by
    the name of an installed package's entry point."""
    federation: FederationSection
    """The federation's name and members."""
    broker: BrokerSettings = Field(default_factory=BrokerSettings)
    """Where the MQTT broker is."""
    watch: WatchSection | None = None
    """The identity that checks for another aggregator; default: the aggregator's own, with another client
    id."""
    model: ModelSection
    """What is learnt."""
    plan: PlanSection = Field(default_factory=PlanSection)
    """Local training."""
    rule: RuleSection = Field(default_factory=RuleSection)
    """How the updates of a round are combined into one vector."""
    server: ServerSection = Field(default_factory=ServerSection)
    """How the next model is made from that vector."""
    personal: PersonalSection = Field(default_factory=PersonalSection)
    """What each device makes for itself of the shared model."""
    privacy: PrivacySection | None = None
    """Differential privacy of each device; default: none."""
    data: DataSection = Field(default_factory=DataSection)
    """The rules for data that are proposed to devices."""
    rounds: RoundsSection = Field(default_factory=RoundsSection)
    """How rounds run."""
    masking: MaskingSection = Field(default_factory=MaskingSection)
    """Secure aggregation."""
    stopping: StoppingSection = Field(default_factory=StoppingSection)
    """When learning ends."""
    state: StateSection = Field(default_factory=StateSection)
    """What must survive a restart."""
    export: ExportSection = Field(default_factory=ExportSection)
    """Where the model is written."""
    metrics: MetricsSection = Field(default_factory=MetricsSection)
    """Figures for Prometheus."""
    signing: SigningSection = Field(default_factory=SigningSection)
    """How models are signed."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.stopping.accuracy is not None and self.model.targets is not None:
            raise ValueError(
                "[stopping] accuracy: a regression has no accuracy; use rmse, patience or weight_change"
            )
        if self.stopping.rmse is not None and self.model.classes is not None:
            raise ValueError("[stopping] rmse: a classification has no RMSE; use accuracy or patience")
        on, kind = self.stopping.patience_on, "classification" if self.model.classes else "regression"
        if on != "loss" and (on == "accuracy") != (kind == "classification"):
            fitting = "loss or accuracy" if self.model.classes else "loss, rmse or mae"
            raise ValueError(f"[stopping] patience_on: a {kind} has no {on}; use {fitting}")
        if self.watch is not None and not self.broker.tls:
            raise ValueError("[watch] certificate: needs TLS, but [broker] url has mqtt://; use mqtts://")
        devices, rounds = self.federation.devices, self.rounds
        if devices is not None and isinstance(rounds.quorum, int) and len(devices) < rounds.quorum:
            raise ValueError(
                f"[rounds] quorum: {rounds.quorum} cannot be reached by the {len(devices)} devices in "
                "[federation] devices; lower it, or list more devices"
            )
        network = self.task().network
        if (fault := incompatibility(self.parts(), network.schema.size, self.first_plan())) is not None:
            raise ValueError(fault)
        if (fault := next(objections(self), None)) is not None:
            raise ValueError(fault)
        self._require_enough_updates()
        self._require_few_frames(network.schema.size)
        personal = self.parts().personal
        shared = shared_by(personal, network)  # raises a ValueError if the network cannot be divided so
        stale = rounds.staleness is not None
        if stale and (fault := unfit_for_stale(self.parts(), part=shared is not None)) is not None:
            raise ValueError(fault)
        if self.masking.on:
            self._require_fit_for_masking()
        return self

    def _require_fit_for_masking(self) -> None:
        """Check that masked rounds can have these settings."""
        if self.broker.ca is None:
            raise ValueError(
                "[masking] on: devices take part with their certificates, so [broker] ca must name the "
                "authority that has signed them; `fedge init` makes one"
            )
        if self.masking.clip is None and self.privacy is None:
            raise ValueError(
                "[masking] clip: is missing; set the largest change of a weight in one round: `fedge rounds` "
                "of an unmasked run tells how far the model moves"
            )
        named = (*self.model.features, *(self.model.targets or ()))
        given = self.masking.columns
        if given is not None and (fault := unfit("masking", given, named)) is not None:
            raise ValueError(fault)
        stopping = self.stopping
        by_figures = any(each is not None for each in (stopping.accuracy, stopping.rmse, stopping.patience))
        fault = unfit_for_masking(
            self.parts(),
            buffered=self.rounds.staleness is not None,
            by_figures=by_figures,
            model_codec=self.plan.model_codec,
            groups=self.masking.groups,
        )
        if fault is not None:
            raise ValueError(fault)
        least, devices = self.masking.groups * self.masking.cohort, self.federation.devices
        if devices is not None and len(devices) < least:
            raise ValueError(
                f"[masking] groups and cohort: {self.masking.groups} x {self.masking.cohort} devices are "
                f"needed in each round, and [federation] devices lists {len(devices)}: list more, or set less"
            )
        if least > MAX_DEVICES:
            raise ValueError(f"[masking] groups and cohort: more than {MAX_DEVICES} devices in a round")

    def masking_rules(self) -> MaskingRules | None:
        """How training rounds are masked; None: they are not."""
        if not self.masking.on:
            return None
        fields = self.masking.model_dump(exclude={"on", "columns", "threshold"})
        if (noise := self.noisy_levels()) is not None:
            fields |= {"clip": noise.clip, "value_bits": noise.value_bits, "noise": noise}
        return MaskingRules(federation=self.federation.name, share=self.masking.threshold, **fields)

    def noisy_levels(self) -> NoisyLevels | None:
        """How devices share the noise of `[privacy]`; None: it is of another kind, or there is none.

        Raises:
            ValueError: no device's share is safe, or no level is wide enough.
        """
        privacy, masking = self.privacy, self.masking
        if privacy is None or privacy.mechanism != "distributed":
            return None
        rules = MaskingRules("", 1.0, server=masking.server, share=masking.threshold)
        size = self.task().network.schema.size
        return levels_of(privacy, masking, rules.threshold(masking.cohort), size)

    def declared(self) -> Declared | None:
        """What devices are told of their privacy, and the budget is for; None: nothing."""
        return None if self.privacy is None else self.privacy.declared(self.noisy_levels())

    @property
    def columns(self) -> Mapping[str, Column] | None:
        """Mean and spread of each column, where the settings give them; None: a survey finds them."""
        return self.privacy.columns if self.privacy is not None else self.masking.columns

    def _require_enough_updates(self) -> None:
        """Check that a round can have as many updates as its rule needs."""
        rule, devices, target = self.parts().rule, self.federation.devices, self.rounds.target
        fewest = fewest_of(rule)
        if devices is not None and len(devices) < fewest:
            raise ValueError(
                f"[rule] name: {needing(rule)} needs {fewest} updates in each round, and [federation] "
                f"devices lists {len(devices)}: list more, or set a smaller [rule] f or another [rule] name"
            )
        if target is not None and target < fewest:
            raise ValueError(
                f"[rounds] target: {target} updates would close a round, and {needing(rule)} needs {fewest}: "
                f"set [rounds] target to {fewest} or more, or a smaller [rule] f or another [rule] name"
            )

    def _require_few_frames(self, weights: int) -> None:
        """Check that a model fits in as many frames as a message may have."""
        if (given := self.broker.max_payload_bytes) == MAX_PAYLOAD:
            return
        local = self.parts().local.made(LOCAL)
        vectors = 1 + max(len(local.sends), len(local.receives), len(self.parts().models) - 1)
        least = FRAME_HEAD - (-4 * weights * vectors // MAX_FRAMES)
        if given < least:
            raise ValueError(
                f"[broker] max_payload_bytes: a model of {weights} weights takes more than {MAX_FRAMES} "
                f"frames of {given} bytes; set at least {least}, or choose a smaller network"
            )

    @property
    def choose(self) -> How:
        """Which model is exported: as `[export] choose` says, or as the schedule's default."""
        if (
            self.rounds.schedule == BUFFERED or self.privacy is not None
        ) and "choose" not in self.export.model_fields_set:
            return "newest"
        return self.export.choose

    def parts(self) -> Parts:
        """The parts of the algorithm."""
        added_here = self.privacy is not None and self.privacy.mechanism == "central"
        rule = self.privacy.part() if self.privacy is not None and added_here else self.rule.part()
        return Parts.of(self.first_plan(), rule, self.server.part(), seed=self.federation.seed)

    def first_plan(self) -> Plan:
        """The plan of the first round, as it is announced."""
        return self.plan.first().model_copy(update=self.personal.of_plan())

    def task(self) -> Task:
        """The task that the survey is announced with."""
        quorum = self.rounds.quorum if isinstance(self.rounds.quorum, int) else 1
        expected = len(self.federation.devices or ()) or self.rounds.target or quorum
        return self.model.task(reconnect_spread_s(expected), self.data.proposal())


def reconnect_spread_s(devices: float) -> float:
    """The time over which so many devices spread their reconnections: 28 devices a second, in 1 to 60 s."""
    return min(60.0, max(1.0, devices / 28))
