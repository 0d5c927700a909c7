"""The programs with one deliberate mistake each: the world must find every one of them."""

from tests.world import (
    wrong_buffers,
    wrong_clusters,
    wrong_codings,
    wrong_compositions,
    wrong_cores,
    wrong_hosts,
    wrong_memories,
    wrong_own_models,
    wrong_parts,
)
from tests.world.variant import Variants

VARIANTS: Variants = {
    **wrong_hosts.VARIANTS,
    **wrong_cores.VARIANTS,
    **wrong_parts.VARIANTS,
    **wrong_memories.VARIANTS,
    **wrong_compositions.VARIANTS,
    **wrong_clusters.VARIANTS,
    **wrong_buffers.VARIANTS,
    **wrong_own_models.VARIANTS,
    **wrong_codings.VARIANTS,
}
