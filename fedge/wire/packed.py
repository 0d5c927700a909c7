"""Patterns of msgpack as `pack` writes it, for readers that take most messages without a full decoder."""

NUMBER = rb"([\x00-\x7f]|\xcc.|\xcd..|\xce....)"
"""A whole number from 0 on, of at most 32 bits."""
LENGTH = rb"(?:\xc4(.)|\xc5(..)|\xc6(....))"
"""What comes before bytes: their length, in one of three groups."""


def number(packed: bytes) -> int:
    """A whole number as msgpack writes it: a byte, or a byte that tells the width of what follows.

    >>> number(b"\\x07"), number(b"\\xcd\\x01\\x00")
    (7, 256)
    """
    return packed[0] if len(packed) == 1 else int.from_bytes(packed[1:], "big")
