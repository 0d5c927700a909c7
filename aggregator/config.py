"""What an operator says in `federation.toml`: what is learnt, how rounds run, when to stop."""

import logging
from collections import Counter
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from aggregator.choice import How
from aggregator.proposals import DataSection
from aggregator.stopping import FigureName
from fedge.codecs import CODECS
from fedge.device_names import as_ids, renamed
from fedge.messages.fields import SourceName
from fedge.messages.task import Task
from fedge.nn.spec import LEAST_CLIP, MAX_WIDTH, MOST_CLIP, Dense, NetworkSpec, TrainableSpec
from fedge.plan import Plan
from fedge.rules import Proposal
from fedge.settings import BrokerSettings, FileSettings, LocalPath, Section, number_of
from fedge.topics import DEVICE_ID, FEDERATION

log = logging.getLogger("fedge.aggregator")

Id = Annotated[str, Field(pattern=DEVICE_ID)]
ColumnName = Annotated[str, Field(min_length=1, max_length=200)]
Columns = Annotated[tuple[ColumnName, ...], Field(min_length=1, max_length=MAX_WIDTH)]


def _named(features: object) -> object:
    """Names for features of which only the number is given."""
    features = number_of(features)
    if type(features) is not int:
        return features
    if not 1 <= features <= MAX_WIDTH:
        raise ValueError(f"a number of features is 1 to {MAX_WIDTH}")
    return tuple(f"x{i}" for i in range(features))


def _ids(devices: object) -> object:
    """The ids of the devices that are listed; told where they are called otherwise."""
    if not isinstance(devices, list | tuple) or not all(isinstance(name, str) for name in devices):
        return devices
    found = as_ids(devices)
    for sentence in renamed(devices):
        log.warning("[federation] devices: %s", sentence)
    return found


def _require_unique(key: str, names: object) -> None:
    if isinstance(names, tuple) and len(set(names)) != len(names):
        twice = sorted(name for name, times in Counter(names).items() if times > 1)
        raise ValueError(f"{key}: every name may stand once, these stand more often: {twice[:5]}")


class FederationSection(Section):
    """`[federation]`: its name, and who may belong to it."""

    name: Annotated[str, Field(pattern=FEDERATION)]
    """At most 31 lower-case letters, digits and hyphens; part of every topic."""
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    """Fixes the first weights, who is chosen, and the order of samples: the same seed, the same model."""
    devices: Annotated[tuple[Id, ...] | None, BeforeValidator(_ids)] = None
    """The only devices whose updates count; without it every device the broker lets in."""
    max_samples: int = Field(default=1_000_000, ge=20, le=2**53)
    """The largest n_k believed: no device can claim more weight than this, and one with more rows uses the
    newest so many."""

    quarantine: LocalPath = Field(default="quarantined", validate_default=True)
    """The list that `fedge quarantine` writes, of devices that do not count; it is read while rounds run."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _require_unique("devices", self.devices)
        return self


class ModelSection(Section):
    """`[model]`: what goes in, what comes out, and the layers between. The output layer is added."""

    features: Annotated[Columns, BeforeValidator(_named)]
    """The input columns by name, or how many there are: `features = 784` calls them x0 to x783."""
    classes: Columns | None = None
    """The class names of a classification; the outputs are in this order."""
    targets: Columns | None = None
    """The target columns of a regression."""
    layers: tuple[TrainableSpec, ...] = Field(default=(), max_length=60)
    """Hidden layers: { type = "dense", units = 64 }, { type = "relu" }, "tanh", "sigmoid"."""
    source: SourceName | None = None
    """Which of the devices' sources is learnt from, by its name there; without it each device's `[data]`."""
    clip: float = Field(default=20.0, ge=0, le=MOST_CLIP, allow_inf_nan=False)
    """Inputs farther from the survey's mean than so many standard deviations count as that far, if all
    devices can do it when the survey closes; 0: as they are. A generation keeps what it began with."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if 0 < self.clip < LEAST_CLIP:
            raise ValueError(
                f"clip: at least {LEAST_CLIP:g} standard deviation, got {self.clip:g}; 0 switches it off"
            )
        if (self.classes is None) == (self.targets is None):
            raise ValueError("classes: give classes for a classification, or targets for a regression")
        if self.classes is not None and len(self.classes) < 2:
            raise ValueError(f"classes: a classification has at least 2, got {len(self.classes)}")
        for key in ("features", "classes", "targets"):
            _require_unique(key, getattr(self, key))
        try:
            self.task(reconnect_spread_s=1.0)
        except ValidationError as error:  # the network's own rules
            text = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"layers: {text}") from None
        return self

    def task(self, reconnect_spread_s: float, rules: Proposal | None = None) -> Task:
        """The task of the survey: the network without the layers that the survey will fix."""
        outputs = self.classes or self.targets or ()
        network = NetworkSpec(
            inputs=len(self.features),
            layers=(*self.layers, Dense(units=len(outputs))),
            loss="cross-entropy" if self.classes else "mse",
        )
        return Task(
            network=network,
            features=self.features,
            classes=self.classes,
            targets=self.targets,
            source=self.source,
            reconnect_spread_s=reconnect_spread_s,
            rules=rules,
        )


class PlanSection(Plan):
    """`[plan]`: what a chosen device does in a round (see `fedge.plan`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    _numbers = field_validator("*", mode="before")(number_of)

    @field_validator("codec")
    @classmethod
    def _known(cls, codec: str) -> str:
        if codec not in CODECS:
            raise ValueError(f"unknown value {codec!r}; accepted: {', '.join(CODECS)}")
        return codec


class RoundsSection(Section):
    """`[rounds]`: who takes part, and when a round closes."""

    fraction: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    """C: the part of the fleet that is chosen for each round."""
    target: int | None = Field(default=None, ge=1)
    """Close as soon as this many updates are admitted; without it when all who are online have answered."""
    quorum: int | float = 2
    """Below this many updates a round does not close but stays open, with more devices chosen. As 0.5: below
    this share of the devices that `[federation] devices` lists or, without a list, of those online then."""
    deadline_s: float = Field(default=300.0, gt=0, le=30 * 86_400, allow_inf_nan=False)
    """How long stragglers are waited for; time without a connection to the broker does not count."""
    max_norm: float = Field(default=100.0, ge=0, le=1e9, allow_inf_nan=False)
    """How far from the model an update may be, in median distances of closed rounds; 0: any."""
    clip_norm: float = Field(default=2.5, ge=0, le=1e9, allow_inf_nan=False)
    """As how many usual updates one counts at most, by distance and by n_k times distance, in rounds of five
    updates or more; 0: as any number."""
    max_weight: float = Field(default=10.0, ge=0, le=1e9, allow_inf_nan=False)
    """How much an n_k counts at most, in median n_k of its round; 0: whatever a device says is believed."""

    @field_validator("quorum", mode="before")
    @classmethod
    def _number_or_share(cls, quorum: object) -> object:
        quorum = number_of(quorum)
        if isinstance(quorum, float) and quorum > 1 and quorum.is_integer():
            quorum = int(quorum)
        is_number = isinstance(quorum, int) and not isinstance(quorum, bool) and quorum >= 1
        if not is_number and not (isinstance(quorum, float) and 0 < quorum <= 1):
            raise ValueError(
                "expected a number of updates, 1 or more, or a share of the devices, above 0 and up to 1.0, "
                f"got {quorum!r}"
            )
        return quorum

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("max_norm", "clip_norm", "max_weight"):
            if 0 < (factor := getattr(self, name)) < 1:
                raise ValueError(
                    f"{name}: a multiple of a median is 1 or more, got {factor:g}; 0 switches this bound off"
                )
        if isinstance(self.quorum, float):
            if self.quorum > self.fraction:
                raise ValueError(
                    f"quorum: a share of {self.quorum:g} of the devices cannot answer where a fraction of "
                    f"{self.fraction:g} is chosen; it is at most the fraction"
                )
        elif self.target is not None and self.target < self.quorum:
            raise ValueError(f"target: must be at least the quorum of {self.quorum}, got {self.target}")
        return self


class StoppingSection(Section):
    """`[stopping]`: learning ends with the first of these that comes true."""

    rounds: int = Field(default=100, ge=1, le=2**31 - 2)
    """After this many training rounds."""
    accuracy: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    """When the global model reaches this accuracy on the devices' held-out parts; at least three devices must
    hold rows out, or all whose updates count."""
    rmse: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Of a regression: when the global model's root mean squared error on the held-out parts is at most this,
    in the target's unit; told by as many devices as for `accuracy`."""
    patience: int | None = Field(default=None, ge=1)
    """When the figure of `patience_on` has not improved in this many rounds, of those that tell it: by as
    many devices as for `accuracy`."""
    patience_on: FigureName = "loss"
    """Which figure of the held-out parts says that one model is better than another, for `patience` and for
    `[export] choose`: `loss`, `accuracy` of a classification, `rmse` or `mae` of a regression."""
    weight_change: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """When a round changes the weights by less than this: ‖w' - w‖ / ‖w‖."""


class WatchSection(Section):
    """`[watch]`: who looks around, before the aggregator takes its session, whether another one is at work.

    Where the broker makes the certificate's name the client id, looking around needs an identity of its own:
    with the aggregator's it would end the session of the one that is at work.
    """

    certificate: LocalPath
    """PEM file of the certificate of `{federation}__watch`."""
    key: LocalPath
    """PEM file of its private key."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("certificate", "key"):
            path = getattr(self, name)
            try:
                path.open("rb").close()
            except OSError as error:
                raise ValueError(f"{name}: cannot read the file {path}: {error.strerror}") from None
        return self


class StateSection(Section):
    """`[state]`: what must survive a restart."""

    folder: LocalPath = Field(default="state", validate_default=True)
    """The folder of the ledger; back it up."""
    keep_rounds: int = Field(default=20, ge=2)
    """Updates and models of this many rounds are kept."""
    keep_bytes: int = Field(default=2 * 2**30, ge=1_000_000)
    """Fewer rounds are kept, but never less than two, if the ledger would hold more than this."""


class SigningSection(Section):
    """`[signing]`: so that devices can tell whose models they take."""

    key: LocalPath | None = None
    """PEM file of the Ed25519 key that signs every announcement; without it nothing is signed."""


class ExportSection(Section):
    """`[export]`: where the model lies for those who use it."""

    folder: LocalPath = Field(default="export", validate_default=True)
    """`model.onnx`, `model.safetensors` and `manifest.json`."""
    choose: How = "best"
    """Which model these are: `best` of those that were measured, by `[stopping] patience_on`, or `newest`.
    The other one lies beside them, in the folder `newest` or `best`."""
    samples: LocalPath | None = None
    """NumPy archive with raw samples `X` that may lie here: each ONNX file is compared on them as well."""


def _host_and_port(text: object) -> object:
    """`ADDRESS:PORT` in its two parts."""
    if not isinstance(text, str):
        return text
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"expected ADDRESS:PORT, as in 127.0.0.1:9464, got {text!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


class MetricsSection(Section):
    """`[metrics]`: figures for Prometheus."""

    listen: Annotated[tuple[str, int] | None, BeforeValidator(_host_and_port)] = None
    """`ADDRESS:PORT` to serve them on; who reaches it may read them. Without it they are not served."""


class FederationSettings(FileSettings):
    """The whole of `federation.toml`."""

    ENV_PREFIX: ClassVar[str] = "FEDGE_AGGREGATOR_"

    federation: FederationSection
    """The federation's name and members."""
    broker: BrokerSettings = Field(default_factory=BrokerSettings)
    """Where the MQTT broker is."""
    watch: WatchSection | None = None
    """Who looks around before the aggregator begins; without it, the aggregator under another client id."""
    model: ModelSection
    """What is learnt."""
    plan: PlanSection = Field(default_factory=PlanSection)
    """Local training."""
    data: DataSection = Field(default_factory=DataSection)
    """The rules for data that are proposed."""
    rounds: RoundsSection = Field(default_factory=RoundsSection)
    """How rounds run."""
    stopping: StoppingSection = Field(default_factory=StoppingSection)
    """When learning ends."""
    state: StateSection = Field(default_factory=StateSection)
    """What must survive."""
    export: ExportSection = Field(default_factory=ExportSection)
    """Where the model goes."""
    metrics: MetricsSection = Field(default_factory=MetricsSection)
    """Figures for Prometheus."""
    signing: SigningSection = Field(default_factory=SigningSection)
    """Whose word the models are."""

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
            raise ValueError("[watch] certificate: is for TLS, but [broker] url says mqtt://; use mqtts://")
        devices, rounds = self.federation.devices, self.rounds
        if devices is not None and isinstance(rounds.quorum, int) and len(devices) < rounds.quorum:
            raise ValueError(
                f"[rounds] quorum: {rounds.quorum} can never be reached by the {len(devices)} devices listed"
            )
        return self

    def task(self) -> Task:
        """The task of the survey."""
        quorum = self.rounds.quorum if isinstance(self.rounds.quorum, int) else 1
        expected = len(self.federation.devices or ()) or self.rounds.target or quorum
        return self.model.task(reconnect_spread_s(expected), self.data.proposal())


def reconnect_spread_s(devices: float) -> float:
    """Within how many seconds so many devices come back: 28 a second, which is 3 % of a thousand."""
    return min(60.0, max(1.0, devices / 28))
