"""How large the messages of devices may be."""

from fedge.identity.ed25519 import SIGNATURE_BYTES
from fedge.masking.keys import ring_for
from fedge.masking.messages import SEALED_BYTES, Terms

ROOM = 4_096
"""Bytes for the fields of a message besides its long one."""


def max_masking_bytes(terms: Terms) -> int:
    """A bound on the bytes of any message of a device in an attempt."""
    masked = ring_for(terms).width * (terms.size + 1)
    return max(masked, max(SEALED_BYTES, SIGNATURE_BYTES) * len(terms.cohort)) + ROOM
