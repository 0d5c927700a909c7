"""The result of a step, and the jitter of its pauses."""

from hashlib import sha256

from agent.core import effects as do
from agent.core.device import Device

Step = tuple[Device, list[do.Effect]]
"""A device's next state, and what it does, in this order."""


def fraction(seed: bytes, count: int) -> float:
    """Return a number in [0, 1) that differs between devices and tries, as jitter without randomness."""
    return int.from_bytes(sha256(seed + count.to_bytes(4, "big")).digest()[:4], "big") / 2**32
