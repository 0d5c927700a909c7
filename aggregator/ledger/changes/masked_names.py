"""Removal of a device's name from masked rounds. Their sums stay: none of them is one device's update."""

import json
from typing import Any

from aggregator.ledger.changes.masking import MaskingChanges
from aggregator.ledger.records import MaskedSum
from fedge.masking.messages import Terms
from fedge.wire.freshness import RoundId
from fedge.wire.messages.message import unpack

TOLD = ("survivors", "groups")
"""The entries of a masked round's summary that name devices."""


class MaskedNames(MaskingChanges):
    """Changes of the names in the tables of masked rounds, and in their summaries."""

    def rename_in_sums(self, device: str, name: str) -> None:
        """Put another name in a device's place.

        An attempt that the device is in is given up, and its round closes with the model that it began with:
        devices may have signed survivors, so they would answer no other attempt.
        """
        for table in ("masked_sums", "masked_groups"):
            rows = self._all(f"SELECT rowid, devices FROM {table}")  # noqa: S608 # texts of ours
            for row, told in rows:
                if device in (devices := json.loads(told)):
                    changed = json.dumps(_renamed(devices, device, name))
                    update = f"UPDATE {table} SET devices = ? WHERE rowid = ?"  # noqa: S608 # as above
                    self._run(update, changed, row)
        self._rename_in_summaries(device, name)
        for generation, number, content in self._all(
            "SELECT generation, round, content FROM masking LIMIT 1"
        ):
            terms = unpack(content, Terms)
            if device in terms.cohort:
                none = MaskedSum(0, terms.value_bits, terms.clip, (), None)
                self.save_sum(RoundId(generation, number), none)
                self.drop_exchange()

    def _rename_in_summaries(self, device: str, name: str) -> None:
        rows = self._all("SELECT rowid, summary FROM rounds WHERE summary LIKE '%\"survivors\"%'")
        for row, text in rows:
            found = json.loads(text)
            told = {key: _renamed(found[key], device, name) for key in TOLD if key in found}
            if any(found[key] != value for key, value in told.items()):
                self._run("UPDATE rounds SET summary = ? WHERE rowid = ?", json.dumps({**found, **told}), row)


def _renamed(value: Any, device: str, name: str) -> Any:
    """Lists of names, or of such lists, with another name in a device's place."""
    if isinstance(value, list):
        return [_renamed(each, device, name) for each in value]
    return name if value == device else value
