"""`study.toml`: which algorithms are compared, on which data, over which seeds and learning rates."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from aggregator.config import load_extensions
from aggregator.settings.plan import PlanSection
from aggregator.settings.rounds import BUFFERED, RoundsSection
from fedge.algorithms.plan import PartOptions
from fedge.nn.spec import MOST_CLIP, TrainableSpec
from fedge.service.settings import FileSettings, LocalPath, Section
from fedge.wire.names import WireName
from fleet.simulator.attacks.registry import attack

Rate = Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def _different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"each value may occur once, got {list(values)!r}")
    return values


def _share(test: float | Path) -> float | Path:
    if isinstance(test, float) and not 0 < test < 0.9:
        raise ValueError(f"a share of the rows is above 0 and below 0.9, got {test:g}; or name a file")
    return test


class StudySection(Section):
    """`[study]`: what is run."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$")
    """The study's name, which is its folder's too."""
    rounds: int = Field(ge=1, le=100_000)
    """Rounds of training in each run."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_different)] = (1,)
    """Each algorithm runs once with each seed and rate. A seed fixes the first weights, the cohorts and the
    order of samples; and the split, unless that has a seed of its own."""
    rates: Annotated[tuple[Rate, ...], Field(min_length=1), AfterValidator(_different)]
    """The learning rates of the devices. All algorithms have the same grid."""
    target: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """The accuracy, or for a regression the RMSE, that is to be reached on the test rows: the table then
    shows in which round that happened."""
    stop_at_target: bool = False
    """End a run when it has reached the target, so that its last figure is that one."""
    seconds: float | None = Field(default=None, gt=0, le=1e9, allow_inf_nan=False)
    """End a run with the first model that is made after so many virtual seconds, so that schedules are
    compared at the same time; needs `[speeds]`."""
    engine: Literal["cores", "fast"] = "fast"
    """`cores`: production's own cores on a virtual network. `fast`: the same functions without messages and
    ledger; the models are equal to the bit."""
    compare: bool = False
    """Whether devices also train a model alone, as with `[personal] compare` in `federation.toml`. It is only
    measured; needs `[data] holdout`."""


SPEED_KEYS = {"lognormal": ("sigma",), "pareto": ("alpha",), "slow": ("share", "times")}
"""The keys that belong to a distribution of speeds, besides `median_s` and `seed`."""


class SpeedsSection(Section):
    """`[speeds]`: how long each device trains in a round. Without this table devices train in no time."""

    by: Literal["lognormal", "pareto", "slow"] = "lognormal"
    """`lognormal`: the logarithms of the seconds are normal; `pareto`: the tail is heavier; `slow`: some
    devices need many times as long as the others, which are equal."""
    median_s: float = Field(default=30.0, ge=0.1, le=86_400, allow_inf_nan=False)
    """The median, in virtual seconds; by `slow` the seconds of the others."""
    sigma: float = Field(default=1.0, ge=0, le=3, allow_inf_nan=False)
    """By `lognormal`: the standard deviation of the logarithms; 0: all devices are equally fast."""
    alpha: float = Field(default=1.5, ge=0.5, le=100, allow_inf_nan=False)
    """By `pareto`: α; the smaller, the slower the slowest."""
    share: float = Field(default=0.2, gt=0, lt=1, allow_inf_nan=False)
    """By `slow`: the share of the devices that are slow; at least one is."""
    times: float = Field(default=20.0, ge=1, le=1_000, allow_inf_nan=False)
    """By `slow`: how many times as long they train."""
    seed: Seed | None = None
    """Fixes the speeds; default: each run's own seed."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for key in sorted({"sigma", "alpha", "share", "times"} & self.model_fields_set):
            if key not in SPEED_KEYS[self.by]:
                owner = next(by for by, keys in SPEED_KEYS.items() if key in keys)
                raise ValueError(f"{key}: belongs to by = {owner!r}, and this is {self.by!r}")
        return self


class AttackersSection(Section):
    """`[attackers]`: devices that lie, in every run."""

    devices: int = Field(ge=1, le=100_000)
    """How many devices attack: the first ones."""
    attack: str
    """The name of their attack: a file in `fleet/simulator/attacks/`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Its options."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        attack(self.told)
        return self

    @property
    def told(self) -> dict[str, Any]:
        """As `fedge.simulate` takes it."""
        return {**self.options, "name": self.attack}


KEYS = {"column": ("column",), "iid": (), "shards": ("shards",), "dirichlet": ("alpha",)}
"""The keys that belong to a split, besides `devices` and `seed`."""


class SplitSection(Section):
    """`[data.split]`: how the rows are dealt to devices."""

    by: Literal["column", "iid", "shards", "dirichlet"]
    """`column`: each value of a column is a device; `iid`: at random; `shards`: each device has some parts of
    the rows in the order of their labels; `dirichlet`: each has a mix of labels drawn at random."""
    devices: int | None = Field(default=None, ge=2, le=100_000)
    """The number of devices; by `column` the data say it."""
    column: str | None = Field(default=None, min_length=1)
    """By `column`: its name. Of an NPZ file it is the array `series`; the data set `watch` needs none."""
    shards: int = Field(default=2, ge=1, le=1_000)
    """By `shards`: the shards of each device."""
    alpha: float | None = Field(default=None, gt=0, le=1e6, allow_inf_nan=False)
    """By `dirichlet`: α; the smaller, the fewer labels a device has."""
    seed: Seed | None = None
    """Fixes the split and the test rows; default: each run's own seed."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.by != "column" and self.devices is None:
            raise ValueError(f"devices: is missing; by {self.by!r} needs the number of devices")
        if self.by == "column" and self.devices is not None:
            raise ValueError("devices: by 'column' the data say how many there are; leave the key out")
        if self.by == "dirichlet" and self.alpha is None:
            raise ValueError("alpha: is missing; by 'dirichlet' needs it, for example 0.1")
        for key in sorted({"column", "shards", "alpha"} & self.model_fields_set):
            if key not in KEYS[self.by]:
                owner = next(by for by, keys in KEYS.items() if key in keys)
                raise ValueError(f"{key}: belongs to by = {owner!r}, and this is {self.by!r}")
        return self


class DataSection(Section):
    """`[data]`: the rows, and how they are dealt to devices."""

    dataset: Literal["digits", "watch"] | LocalPath
    """`digits`: the handwritten digits of scikit-learn; `watch`: the smart-watch data of `fedge demo`; or a
    file: CSV, or NPZ with the arrays `X` and `y`."""
    label: str = Field(default="label", min_length=1)
    """Of a CSV file: the column of class names."""
    targets: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_different)] | None = None
    """Of a CSV file: the columns of numbers to predict, for a regression, instead of `label`."""
    features: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_different)] | None = None
    """Of a CSV file: the columns to learn from; default: all other columns of numbers."""
    split: SplitSection
    """How the rows are dealt to devices."""
    test: Annotated[float | LocalPath, AfterValidator(_share)] = 0.2
    """The share of the rows that no device has and on which models are measured: random rows, or the last of
    each recording where the data have recordings. Or a file like `dataset`."""
    holdout: float = Field(default=0.0, ge=0, lt=0.9, allow_inf_nan=False)
    """The share of its own rows that each device holds out, to measure the model that it uses: the last of
    each recording by `column`, else random ones. Personal models and `compare` need it."""


class ModelSection(Section):
    """`[model]`: the hidden layers. Features and outputs come from the data."""

    layers: tuple[TrainableSpec, ...] = Field(default=(), max_length=60)
    """Hidden layers, as in `federation.toml`."""
    clip: float = Field(default=20.0, ge=0, le=MOST_CLIP, allow_inf_nan=False)
    """Inputs are clipped at this many standard deviations, as in `federation.toml`."""


class StudyPlan(PlanSection):
    """`[plan]`: local training, as in `federation.toml`, without what differs between runs."""

    @model_validator(mode="after")
    def _without(self) -> Self:
        for key, place in (
            ("learning_rate", "[study] rates"),
            *((key, "[[algorithm]]") for key in ("local", "local_options", "codec", "codec_options")),
        ):
            if key in self.model_fields_set:
                raise ValueError(f"{key}: differs between runs; set it in {place}")
        return self


class StudyRounds(RoundsSection):
    """`[rounds]`: how rounds run, as in `federation.toml`."""

    drop_out: float = Field(default=0.0, ge=0, lt=1, allow_inf_nan=False)
    """The probability with which a chosen device does not answer in a round. Rounds close without it."""


class AlgorithmSection(Section):
    """`[[algorithm]]`: a composition of parts (docs/algorithms.md); what is not set is FedAvg's."""

    name: str = Field(pattern=r"^[^\x00-\x1f]{1,40}$")
    """The algorithm's name in the table and the report."""
    local: WireName = "sgd"
    """The local algorithm."""
    local_options: PartOptions = Field(default_factory=dict)
    """Its options."""
    codec: WireName = "float32"
    """The codec."""
    codec_options: PartOptions = Field(default_factory=dict)
    """Its options."""
    rule: WireName = "mean"
    """The rule."""
    rule_options: PartOptions = Field(default_factory=dict)
    """Its options."""
    server: WireName = "average"
    """The server optimizer."""
    server_options: PartOptions = Field(default_factory=dict)
    """Its options, for example its own `rate`."""
    personal: WireName = "none"
    """The personal model, which needs `[data] holdout`; `clusters` needs the engine `cores`."""
    personal_options: PartOptions = Field(default_factory=dict)
    """Its options."""
    schedule: str = "rounds"
    """When rounds open and close; `buffered` needs the engine `cores`."""
    plan: dict[str, Any] = Field(default_factory=dict)
    """Keys of `[plan]` that differ for this algorithm, as in { epochs = 1 }."""
    rounds: dict[str, Any] = Field(default_factory=dict)
    """Keys of `[rounds]` that differ for this algorithm, as in { target = 8, max_staleness = 10 }. With
    `target` a round closes with the first updates, so that needs the engine `cores`."""


class StudySettings(FileSettings):
    """The whole of `study.toml`."""

    ENV_PREFIX: ClassVar[str] = "FEDGE_STUDY_"

    extensions: Annotated[tuple[str, ...], AfterValidator(load_extensions)] = ()
    """Parts that do not come with Fedge, as in `federation.toml`."""
    study: StudySection
    """What is run."""
    data: DataSection
    """The rows, and how they are dealt to devices."""
    model: ModelSection = Field(default_factory=ModelSection)
    """The network."""
    plan: StudyPlan = Field(default_factory=StudyPlan)
    """Local training."""
    rounds: StudyRounds = Field(default_factory=StudyRounds)
    """How rounds run, as in `federation.toml`."""
    speeds: SpeedsSection | None = None
    """How long devices train, in virtual seconds; needs the engine `cores`. Default: no time."""
    attackers: AttackersSection | None = None
    """Devices that lie; needs the engine `fast`. Default: none."""
    algorithm: Annotated[tuple[AlgorithmSection, ...], Field(min_length=1)]
    """The algorithms that are compared."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [one.name for one in self.algorithm]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"[[algorithm]] name: {twice!r} occurs twice; give each its own name")
        if self.study.stop_at_target and self.study.target is None:
            raise ValueError("[study] stop_at_target: needs a target; set [study] target")
        for key in ("schedule", "deadline_s", "target"):
            if key in self.rounds.model_fields_set:
                where = (
                    "[[algorithm]] schedule"
                    if key == "schedule"
                    else f"[[algorithm]] rounds = {{ {key} = … }}"
                )
                raise ValueError(
                    f"[rounds] {key}: a simulated round ends when its whole cohort has answered, unless an "
                    f"algorithm says otherwise; set {where} instead"
                )
        if self.study.seconds is not None and self.speeds is None:
            raise ValueError(
                "[study] seconds: devices train in no time; say with a table [speeds] how long they train"
            )
        return self

    @model_validator(mode="after")
    def _measures_own_models(self) -> Self:
        """What devices tell of their own models, they measure on held-out rows after the last round."""
        asks = [f"[[algorithm]] {one.name!r}: personal" for one in self.algorithm if one.personal != "none"]
        if self.study.compare:
            asks.append("[study] compare")
        if not asks:
            return self
        if not self.data.holdout:
            raise ValueError(
                f"{asks[0]}: devices measure their own models on rows that they hold out; set [data] "
                "holdout, for example to 0.2"
            )
        for key in ("stop_at_target", "seconds"):
            if getattr(self.study, key):
                raise ValueError(
                    f"[study] {key}: with {asks[0]}, devices measure their own models after the last round, "
                    "which a run that ends early does not reach; leave one of the two out"
                )
        return self

    @model_validator(mode="after")
    def _fits_the_engine(self) -> Self:
        if self.study.engine == "cores":
            if self.attackers is not None:
                raise ValueError(
                    '[attackers]: the engine cores has none; set [study] engine = "fast", or leave the table '
                    "out"
                )
            return self
        remedy = 'set [study] engine = "cores"'
        if self.speeds is not None:
            raise ValueError(f"[speeds]: the engine fast has no clock; {remedy}, or leave the table out")
        for one in self.algorithm:
            if one.schedule == BUFFERED:
                raise ValueError(
                    f"[[algorithm]] {one.name!r}: with schedule = {BUFFERED!r} the order counts in which "
                    f"updates come, which the engine fast does not know; {remedy}"
                )
            if one.rounds.get("target") is not None:
                raise ValueError(
                    f"[[algorithm]] {one.name!r}: with rounds.target the first updates count, and the engine "
                    f"fast does not know which these are; {remedy}"
                )
        return self
