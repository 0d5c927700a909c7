"""Queries on secure aggregation."""

import json
from hashlib import sha256

import numpy as np

from aggregator.ledger.layout import HAS_GROUPS, HAS_MASKING
from aggregator.ledger.queries.access import Access
from aggregator.ledger.records import GroupSum, MaskedSum
from fedge.wire.freshness import RoundId


class MaskingQueries(Access):
    """Queries on the tables `masking`, `masked_sums` and `masked_groups`."""

    def exchange(self, round_id: RoundId) -> list[tuple[str, bytes]]:
        """The attempt that takes place in this round, as it was stored, in order; [] if there is none.

        First ("", the packed terms); then (device, digest) for each message that was taken, and ("", b"") for
        each phase that has ended.
        """
        if self._layout() < HAS_MASKING:
            return []
        rows = self._all(
            "SELECT device, content FROM masking WHERE generation = ? AND round = ? ORDER BY n", *round_id
        )
        return [(str(device), bytes(content)) for device, content in rows]

    def masked_sum(self, round_id: RoundId) -> MaskedSum | None:
        """The sum of a masked round; None: none is stored.

        Raises:
            DamagedState: it is damaged.
        """
        if self._layout() < HAS_MASKING:
            return None
        row = self._one(
            "SELECT weight, value_bits, clip, devices, levels, digest FROM masked_sums"
            " WHERE generation = ? AND round = ?",
            *round_id,
        )
        if row is None:
            return None
        weight, value_bits, clip, devices, levels, digest = row
        with self._sound(f"the masked sum of round {round_id}"):
            if sha256(levels or b"").digest() != digest:
                raise ValueError("its bytes do not match their digest")
            found = None if levels is None else np.frombuffer(levels, "<i8").astype(np.int64)
            names, groups = tuple(json.loads(devices)), self._groups(round_id)
            return MaskedSum(int(weight), int(value_bits), float(clip), names, found, groups)

    def _groups(self, round_id: RoundId) -> tuple[GroupSum, ...]:
        """The sums of the groups of a masked round; raises a ValueError if one is damaged."""
        if self._layout() < HAS_GROUPS:
            return ()
        rows = self._all(
            "SELECT weight, devices, levels, digest FROM masked_groups"
            " WHERE generation = ? AND round = ? ORDER BY place",
            *round_id,
        )
        if any(sha256(levels).digest() != digest for _, _, levels, digest in rows):
            raise ValueError("the bytes of a group do not match their digest")
        return tuple(
            GroupSum(int(weight), tuple(json.loads(devices)), np.frombuffer(levels, "<i8").astype(np.int64))
            for weight, devices, levels, _ in rows
        )
