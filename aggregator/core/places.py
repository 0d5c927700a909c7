"""Where announced contents lie, and how one that must be cut finer moves to its other slot. Pure.

A broker that takes smaller packets than before needs a content in more frames. In the same slot they would
overwrite the announced frames: until all of them are there, and for longer if this program dies meanwhile, no
device could read the content. So it moves: its new frames go into the free slot, then the manifest names it.

A slot is free if the manifest at the broker does not name it. Which one it names is known once the broker has
acknowledged it. If a connection ends before that, the manifest is sent again and the content moves after it.
"""

from collections.abc import Set

from aggregator.core import effects as do
from aggregator.core.federation import Federation, Step
from aggregator.core.slots import Slots
from fedge.frozen import replace
from fedge.wire.messages.frame import Blob


def here(state: Federation) -> Slots:
    """The slots of the present task, model and key frame."""
    key = state.form.key if state.form is not None else None
    return Slots.of(state.task, state.model, key)


def is_uncertain(state: Federation, kinds: Set[str]) -> bool:
    """Whether the manifest at the broker may, but need not, name the slot of one of these contents."""
    now = here(state)
    return state.naming == now and any(
        getattr(state.named, kind) != getattr(now, kind) for kind in kinds if getattr(now, kind) is not None
    )


def moved(state: Federation, kinds: Set[str]) -> Step:
    """Move those of these contents (`task`, `model`, `key`) that the manifest at the broker names."""
    now = here(state)
    moves = {
        kind
        for kind in kinds
        if getattr(now, kind) is not None and getattr(now, kind) == getattr(state.named, kind)
    }
    effects: list[do.Effect] = []

    def other(kind: str, blob: Blob) -> Blob:
        there = blob.model_copy(update={"slot": 1 - blob.slot})
        effects.append(do.MoveContent(kind, there))
        return there

    if "task" in moves:
        state = replace(state, task=other("task", state.task))
    if "model" in moves and state.model is not None:
        state = replace(state, model=other("model", state.model))
        if state.form is not None:
            state = replace(state, form=replace(state.form, coded=other("coded", state.form.coded)))
    if "key" in moves and state.form is not None and state.form.key is not None:
        state = replace(state, form=replace(state.form, key=other("key", state.form.key)))
    return state, effects


def free(state: Federation, kind: str) -> int | None:
    """The slot for a new content of this kind (`task`, `model`, `key`): the one that no manifest names.

    It may be the one that holds the present content, if that moves just now. None: no slot is named.
    """
    named = getattr(state.naming or state.named, kind)
    if named is None:
        named = getattr(here(state), kind)
    return None if named is None else 1 - named
