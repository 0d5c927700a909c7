"""How many bytes of announced models devices receive, of their vectors alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fedge.algorithms.registry import CODECS
from fedge.wire.models import FLOAT32


@dataclass(frozen=True)
class Form:
    """The form in which a round's model is sent."""

    codec: str = FLOAT32
    key: int | None = None
    """The round that made its key frame; None: it needs none."""


@dataclass
class Received:
    """Counts what devices receive, round by round.

    A device that takes part fetches the model, and its key frame unless it has that. It has a key frame that
    it has fetched, and one that was the model of the round that it took part in last.
    """

    _models: dict[str, int] = field(default_factory=dict)
    """The round that made the model that each device has in memory."""
    _keys: dict[str, int] = field(default_factory=dict)
    """The round that made the key frame that each device has."""

    def of_round(self, devices: Iterable[str], base: int, form: Form, sizes: Mapping[str, int]) -> int:
        """The bytes that the devices of a round have received for it.

        Args:
            devices: those whose updates count.
            base: the round that made the model that this round begins with.
            form: of that model.
            sizes: the entries of each of its vectors, by name.
        """
        if form.key is not None:
            self._keys |= {device: form.key for device, model in self._models.items() if model == form.key}
        body = sum(CODECS.make(form.codec).max_bytes(size) for size in sizes.values())
        total = 0
        for device in devices:
            total += body
            if form.key is not None and self._keys.get(device) != form.key:
                self._keys[device] = form.key
                total += 4 * sum(sizes.values())
            self._models[device] = base
        return total
