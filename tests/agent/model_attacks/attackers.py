"""Who attacks a device that follows a federation."""

from fedge.wire.frames import split
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import pack, unpack
from tests.agent.besieged import LAB, frames

ROUND = LAB.round

Messages = dict[str, bytes]


def with_model(round_: int, envelope: bytes) -> Messages:
    """An announcement with all that it announces."""
    return {**frames(round_), ROUND: envelope}


# ── what is announced and what is there ────────────────────────────────────────────────────────────


def forged(message: bytes, genuine: bytes) -> list[bytes]:
    """Frames that claim to be of `genuine`, and hold something else."""
    wrong, right = split(message, 32), split(genuine, 32)
    of_right = [unpack(piece, Frame) for piece in right]
    return [
        pack(frame.model_copy(update={"data": unpack(piece, Frame).data}))
        for frame, piece in zip(of_right, wrong, strict=True)
    ]
