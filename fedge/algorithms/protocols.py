"""What the parts of an algorithm are, and what holds for each: the file to read first.

A round of learning runs through these parts, each of which is one file in a folder beside this one:

    the model  →  LocalAlgorithm  →  Codec  ··· MQTT ···  Codec  →  Rule  →  ServerOptimizer  →  next model
                  (each device)                                  (the aggregator)

Data between them are named vectors: `weights`, and whatever else an algorithm sends (`control`, …).

Whatever a part remembers between rounds is its `State`. A part never stores it: it gets the state as an
argument and returns the next one, so that a crash between two steps repeats the step and not half of it. A
device's new state waits with its update and becomes current when the device learns that the update was
admitted; a server's state is saved with the round that it comes of. State belongs to one generation, task,
algorithm and codec: with another of these it begins at `init`.

The model is a `fedge.nn.Network`, whose layers are parts too: `fedge.nn.layer` says what one is.

A part is made from its options (`Options` of its `fedge.algorithms.registry.Entry`) and has no state of its
own. `fedge.testing` checks what each docstring here says.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.rules.mean import LANES, Contribution
from fedge.algorithms.trainer import Job, Trained

Array = NDArray[Any]
State = Mapping[str, NDArray[Any]]
"""Named arrays; {} for a part that remembers nothing."""
Vectors = Mapping[str, NDArray[np.float32]]
"""Named flat vectors, each of shape (size,)."""

WEIGHTS = "weights"
"""The vector that every model and every update has."""


class Codec(Protocol):
    """How one vector of an update becomes bytes and comes back."""

    encodes: Literal["weights", "change"]
    """What it is given: the new weights, or their difference from those that the device began with. A further
    vector (`control`) is given as it is in both cases."""

    def init(self, size: int) -> State:
        """The state before the first round, for a vector of `size` entries; {} if nothing is remembered."""

    def encode(self, vector: Array, state: State, rng: "np.random.Generator") -> tuple[bytes, State]:
        """Write a finite float32 vector of shape (size,) in at most `max_bytes(size)` bytes.

        Returns the bytes and the next state: the same for the same arguments, for what is random comes from
        `rng`. Neither `vector` nor `state` is changed.

        Raises:
            ValueError: not a vector of float32; a silent cast would hide where precision was lost.
        """

    def decode(self, body: bytes, size: int) -> NDArray[np.float32]:
        """Read a vector of shape (size,), not to be written to. NaN and infinities are admission's to refuse.

        The bytes come from the network: no input takes more memory than a few vectors of `size` entries.

        Raises:
            ProtocolError: the bytes are not what `encode` makes of `size` entries.
        """

    def max_bytes(self, size: int) -> int:
        """The most bytes that `encode` makes of a vector of `size` entries; longer updates are refused."""


class LocalAlgorithm(Protocol):
    """What a device does in a round of training."""

    receives: ClassVar[tuple[str, ...]]
    """The vectors besides `weights` that it needs with the model."""
    sends: ClassVar[tuple[str, ...]]
    """The vectors besides `weights` that it sends, each of the size of the weights."""

    def init(self, size: int) -> State:
        """The state before the first round, for a model of `size` weights; {} if nothing is remembered."""

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        """Train from `job.weights`; the same job gives the same result, to the bit.

        Args:
            job: what to train on what, and this device's state; its arrays are not to be changed.
            cancelled: ask it before each step: it keeps the owner's time limit and is the sign of life.

        Returns:
            Finite vectors of shape (size,), `weights` and those that it `sends`, and the next state.

        Raises:
            Cancelled: `cancelled` said yes.
            Diverged: the loss or the weights are not finite.
        """


class Updates(Protocol):
    """The admitted updates of one round, to be gone through as often as a rule likes.

    They are read one at a time: a rule must not hold them all, for memory does not grow with the fleet.
    """

    size: int
    """Entries of each vector."""

    def __len__(self) -> int:
        """How many there are, at least 1."""

    def lanes(self, lanes: range = LANES) -> Iterator[Contribution]:
        """The updates of the devices of these lanes, in the fixed order: by lane, then by device id.

        Each counts as far as the round's bounds allow (`fedge.algorithms.rules.bounds`): `samples` is the n_k
        that counts, and a vector that lies far out is shortened towards the base.
        """


class Rule(Protocol):
    """How the admitted updates of a round become one vector."""

    version: str
    """Name and version, as `mean/2`. A closed round names it; whatever gives another bit is another one."""

    def aggregate(self, updates: Updates, base: NDArray[np.float32]) -> NDArray[np.float32]:
        """One vector of shape (size,): a function of the *set* of updates and of `base` alone, to the bit.

        Args:
            updates: in the fixed order; go through them as often as needed.
            base: what the updates began from, of shape (size,); zeros for a vector that has no base.
        """


class ServerOptimizer(Protocol):
    """How the aggregate of a round becomes the next model."""

    def init(self, size: int) -> State:
        """The state before the first round, for a model of `size` weights; {} if nothing is remembered."""

    def step(
        self, base: NDArray[np.float32], aggregate: NDArray[np.float32], state: State
    ) -> tuple[NDArray[np.float32], State]:
        """The next model (size,) and the next state; no argument is changed.

        Where it needs the pseudo-gradient, that is `base` - `aggregate`, formed in float64. The aggregate
        comes whole, and not as a change, so that who takes it as it is keeps each bit.
        """
