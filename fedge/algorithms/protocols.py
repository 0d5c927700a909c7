"""The parts of an algorithm, and what each must guarantee: read this file first.

A round of learning runs through these parts, each of which is one file in a folder beside this one:

    the model  →  LocalAlgorithm  →  Codec  ··· MQTT ···  Codec  →  Rule  →  ServerOptimizer  →  next model
                  (each device)                                  (the aggregator)

Beside the local algorithm, each device may make a `Personal` model for itself.

They exchange named vectors: `weights`, and whatever else an algorithm sends (`control`, …).

What a part keeps between rounds is its `State`. A part never stores it: it gets the state as an argument and
returns the next one. So a crash between two steps repeats the whole step, never half of it. A device's new
state is pending with its update, and becomes current when the device learns that the update was admitted. A
server's state is saved with the round that made it. A state belongs to one generation, task, algorithm and
codec; if one of these changes, the state begins at `init`.

The model is a `fedge.nn.Network`. Its layers are parts too, see `fedge.nn.layer`.

A part is made from its options (`Options` of its `fedge.algorithms.registry.Entry`), and keeps no state in
its attributes. `fedge.testing` checks what the docstrings here say.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.contribution import LANES, Contribution
from fedge.algorithms.trainer import Job, Trained
from fedge.nn.spec import NetworkSpec

Array = NDArray[Any]
State = Mapping[str, NDArray[Any]]
"""Named arrays; {} for a part without state."""
Vectors = Mapping[str, NDArray[np.float32]]
"""Named flat vectors, each of shape (size,)."""

WEIGHTS = "weights"
"""The vector that every model and every update has."""


def cluster_names(models: int) -> tuple[str, ...]:
    """The vectors of a model message that has this number of shared models, by cluster.

    >>> cluster_names(3)
    ('weights', 'cluster_1', 'cluster_2')
    """
    return (WEIGHTS, *(f"cluster_{number}" for number in range(1, models)))


class Codec(Protocol):
    """Encodes one vector of an update as bytes, and decodes it."""

    encodes: Literal["weights", "change"]
    """Its input: the new weights, or their difference from the weights that the device began with. A further
    vector (`control`) is always given as it is."""
    exact: bool
    """Whether what is decoded is what was given, to the bit, whatever seed `decode` gets."""
    unbiased: bool
    """Whether the mean of what is decoded, over all seeds, is what was given (from the state of `init`)."""

    def init(self, size: int) -> State:
        """The state before the first round, for a vector of `size` entries; {} without state."""

    def encode(self, vector: Array, state: State, seed: int) -> tuple[bytes, State]:
        """Write a finite float32 vector of shape (size,) in at most `max_bytes(size)` bytes.

        Returns the bytes and the next state. The same arguments give the same result: all randomness comes
        from `seed`, a whole number of 128 bits (`fedge.algorithms.codecs.seeds`). Everybody can compute it:
        it hides nothing. Neither `vector` nor `state` is changed.

        Raises:
            ValueError: not a vector of float32; a silent cast would hide where precision was lost.
        """

    def decode(self, body: bytes, size: int, seed: int) -> NDArray[np.float32]:
        """Read a vector of shape (size,), read-only. NaN and infinities pass; admission refuses them.

        `seed` is the one that `encode` had.

        The bytes come from the network: no input takes more memory than a few vectors of `size` entries.

        Raises:
            ProtocolError: `encode` cannot have made these bytes from `size` entries.
        """

    def max_bytes(self, size: int) -> int:
        """The most bytes that `encode` returns for `size` entries; longer updates are refused."""

    def bits(self, size: int) -> float:
        """The mean number of bits that `encode` writes for each of `size` normally distributed entries."""


class LocalAlgorithm(Protocol):
    """What a device does in a round of training. A local algorithm derives from this class."""

    receives: ClassVar[tuple[str, ...]]
    """The vectors besides `weights` that it needs with the model."""
    sends: ClassVar[tuple[str, ...]]
    """The vectors besides `weights` that it sends, each of the size of the weights."""
    partial: ClassVar[bool] = False
    """Whether fewer steps than the plan's are a result: if the owner's time ends, `job.enough` says so, and
    what is done by then is sent."""

    memory: ClassVar[float] = 6.0
    """The most memory that a round takes beyond that of `sgd`, in vectors of the size of the weights in
    float32. An owner's `[limits] memory_bytes` counts it; a part that does not say it counts as 6."""

    def init(self, size: int) -> State:
        """The state before the first round, for a model of `size` weights; {} without state."""

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        """Train from `job.weights`; the same job gives the same result, to the bit.

        Args:
            job: network, data, plan, and this device's state; do not change its arrays.
            cancelled: call it before each step. It enforces the owner's time limit, and tells the watchdog
                that training is alive.

        Returns:
            Finite vectors of shape (size,), `weights` and those that it `sends`, and the next state.

        Raises:
            Cancelled: `cancelled` returned True.
            Diverged: the loss or the weights are not finite.
        """

    def handed_on(
        self, name: str, before: NDArray[np.float32], aggregate: NDArray[np.float32], share: float
    ) -> NDArray[np.float32]:
        """The further vector of shape (size,) that the next model is announced with; no argument is changed.

        Called on the server, with what the rule made of the vectors of this name.

        Args:
            name: of the vector, one of those that it `receives`.
            before: the vector that the round was announced with; at first zeros.
            aggregate: the rule's result for this round.
            share: as in `ServerOptimizer.step`.
        """
        return aggregate


@dataclass(frozen=True)
class Start:
    """What a device's training of the shared model begins with."""

    weights: Array
    """Of shape (p,)."""
    cluster: int = 0
    """The shared model that the device trains, where there are several; the first one has the number 0."""


@dataclass(frozen=True)
class Adapted:
    """A device's personal model."""

    weights: Array | None
    """Of shape (p,); None: there is none, and the device uses the shared model."""
    state: State = field(default_factory=dict)
    """The next state."""


class Personal(Protocol):
    """What a device makes for itself of the shared model. A personal model derives from this class.

    In each round the device first trains the shared model by the local algorithm, from what `start` returns,
    and sends the result. Then `adapt` makes the personal model. Its state never leaves the device. It is
    durable with the round's update, and does not depend on the verdict on it.
    """

    chosen: ClassVar[bool] = False
    """Whether the device uses the personal model only where it is better than the shared one, on rows that
    are neither trained on nor reported."""
    announced: ClassVar[bool] = True
    """Whether the announced `weights` are a model that any device can use as they are. If not, the owner's
    gate `[predict] tolerance` has nothing to compare, and devices with a gate do not take part."""

    @property
    def models(self) -> int:
        """The number of shared models: 1, or k clusters, which `cluster_names` names."""
        return 1

    def shared(self, network: NetworkSpec) -> NDArray[np.bool_] | None:
        """Which weights leave the device, a mask of shape (p,); None: all.

        Raises:
            ValueError: this network cannot be divided so; the text says what to do.
        """
        return None

    def init(self, size: int) -> State:
        """The state before the first round, for a model of `size` weights; {} without state."""
        return {}

    def start(self, received: Vectors, state: State, loss: Callable[[Array], float]) -> Start:
        """What the round's training begins with.

        Args:
            received: the announced model: `weights`, and the further vectors.
            state: as `init` or the last `adapt` returned it.
            loss: the mean loss of weights of shape (p,) on rows that are neither trained on nor reported.
        """
        return Start(received[WEIGHTS])

    def adapt(self, job: Job, start: Start, trained: Array | None, cancelled: Callable[[], bool]) -> Adapted:
        """Make the personal model; the same arguments give the same result, to the bit.

        Args:
            job: as for `LocalAlgorithm.run`; its state is that of the personal model.
            start: what `start` returned.
            trained: the weights that the round's training ended with, of shape (p,); None: the round only
                measures.
            cancelled: as for `LocalAlgorithm.run`.

        Raises:
            Cancelled: `cancelled` returned True.
            Diverged: the loss or the weights are not finite.

        Where the model is `chosen` and has been, this is called once more: with the state that it returned, a
        job that also has the rows to choose by, and `trained` None. The state that it then returns is not
        kept.
        """
        return Adapted(None)

    def kept(self, state: State) -> Array | None:
        """The personal model that a state holds, of shape (p,), for a round without time to adapt it.

        None: it holds none, and the device uses another model.
        """
        return None


class Updates(Protocol):
    """The admitted updates of one round; a rule may iterate over them any number of times.

    They are read one at a time. A rule must not hold them all, so that memory does not grow with the fleet.
    """

    size: int
    """Entries of each vector."""

    def __len__(self) -> int:
        """The number of updates, at least 1."""

    def lanes(self, lanes: range = LANES) -> Iterator[Contribution]:
        """The updates of the devices of these lanes, in the fixed order: by lane, then by device id.

        The round's bounds are already applied (`fedge.algorithms.rules.bounds`): `samples` is the n_k that
        counts, and a vector far from the base is shortened towards it.
        """


@dataclass(frozen=True, eq=False)
class Combined:
    """What a rule makes of a round's updates."""

    vector: NDArray[np.float32]
    """Of shape (size,)."""
    counted: Mapping[str, float] = field(default_factory=dict)
    """By device, the part of its update that counted, in [0, 1]; a device that is not in it counted in full.

    It is kept with the round for people, and decides nothing. A rule of coordinates tells the share of the
    coordinates in which the device's value counted; a rule that selects, 0 or 1; a rule that shortens, the
    factor; a rule that weighs, the weight as a share of the largest.
    """
    state: State = field(default_factory=dict)
    """The next state."""


class Rule(Protocol):
    """Makes one vector from the admitted updates of a round. A rule derives from this class."""

    version: str
    """Name and version, as `mean/2`. A closed round records it; a change of any bit needs a new version."""
    fewest: int = 1
    """The fewest updates of which the result has the properties that the rule promises, 1 or more. A round
    with fewer stays open. The rule makes a vector of fewer all the same, so that it can be tried on parts."""
    measures: bool = False
    """Whether the distance of each update from the result is kept with the round, and a device that is far
    from it in round after round is named. It takes one more pass over the updates."""

    weighted: bool = True
    """Whether an update counts by its n_k, so that the schedule `buffered` can count a stale one for less."""

    memory: int = 0
    """The bytes that it may take beside a few vectors, however many updates there are: for the values of all
    updates in some coordinates at a time."""

    def init(self, size: int) -> State:
        """The state before the first round, for vectors of `size` entries; {} without state.

        Only the weights have a state: a further vector always gets this one.
        """
        return {}

    def aggregate(self, updates: Updates, base: NDArray[np.float32], state: State) -> Combined:
        """One vector of shape (size,): a function of the *set* of updates, of `base` and `state`, to the bit.

        Args:
            updates: in the fixed order; iterate as often as needed.
            base: the vector that the updates began from, of shape (size,); zeros for a vector without base.
            state: the state after the round before; neither it nor `base` is changed.
        """
        ...


class ServerOptimizer(Protocol):
    """Makes the next model from the aggregate of a round."""

    def init(self, size: int) -> State:
        """The state before the first round, for a model of `size` weights; {} without state."""

    def step(
        self, base: NDArray[np.float32], aggregate: NDArray[np.float32], state: State, share: float
    ) -> tuple[NDArray[np.float32], State]:
        """The next model (size,) and the next state; no argument is changed.

        Args:
            base: the model that the round was announced with.
            aggregate: the rule's result.
            state: the state after the round before.
            share: the devices that count in this round, as a share of the fleet, in (0, 1]. The fleet's
                size is a number in the ledger, and the same in each round of a generation.

        The pseudo-gradient, if needed, is `base` - `aggregate`, formed in float64. The aggregate is a whole
        vector and not a change, so that an optimizer which returns it unchanged keeps every bit.
        """
