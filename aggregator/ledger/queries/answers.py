"""Queries on verdicts."""

import json
from contextlib import closing
from sys import intern

from aggregator.core.verdicts import KeptVerdict, Verdict, Weighed
from aggregator.ledger.layout import TELLS_BEGINNINGS, TELLS_WEIGHTS
from aggregator.ledger.queries.access import Access
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import Metrics
from fedge.wire.reasons import Reason

_VERDICTS = {name: name for name in ("admitted", "refused")}
"""All answers share these two strings."""


def _figures(pairs: list[tuple[str, float]]) -> Metrics:
    """An answer's figures; all answers share the strings of their names."""
    return {intern(name): value for name, value in pairs}


_METRICS = json.JSONDecoder(object_pairs_hook=_figures)
"""`json.loads` would make one for each answer."""


class AnswerQueries(Access):
    """Queries on the table `answers`."""

    def answers(self, round_id: RoundId) -> dict[str, Verdict]:
        """The verdicts of a round, in the order of the sum: lane, then device."""
        rows = self._rows(
            "SELECT device, digest, verdict, reason, detail, samples, metrics,"  # noqa: S608 # texts of ours
            f" {'began' if self._layout() >= TELLS_BEGINNINGS else 'NULL'} FROM answers"
            " WHERE generation = ? AND round = ? ORDER BY lane, device",
            *round_id,
        )
        with closing(rows), self._sound(f"the answers of round {round_id}"):
            return {
                device: Verdict(
                    digest,
                    _VERDICTS.get(verdict, verdict),
                    Reason(reason) if reason else None,
                    detail,
                    samples,
                    _METRICS.decode(metrics),
                    began,
                )
                for device, digest, verdict, reason, detail, samples, metrics, began in rows
            }

    def verdict(self, device: str, digest: bytes) -> KeptVerdict | None:
        """The verdict on an update, in any kept round; None: there is none, or it is no longer kept."""
        rows = self._at_once(
            "SELECT generation, round, verdict, reason, detail, samples FROM answers"
            " WHERE device = ? AND digest = ? ORDER BY generation, round LIMIT 1",
            device,
            digest,
        )
        if not rows:
            return None
        ((generation, round_, verdict, reason, detail, samples),) = rows
        with self._sound(f"the verdict on an update of {device}"):
            answer = Verdict(digest, verdict, Reason(reason) if reason else None, detail, samples)
        return KeptVerdict(RoundId(generation, round_), answer)

    def weighed(self, round_id: RoundId) -> dict[str, Weighed]:
        """How much the updates of a closed round counted, as far as that is stored, in the order of the
        sum."""
        if self._layout() < TELLS_WEIGHTS:
            return {}
        rows = self._all(
            "SELECT device, counted, far, running FROM answers"
            " WHERE generation = ? AND round = ? AND counted IS NOT NULL ORDER BY lane, device",
            *round_id,
        )
        return {device: Weighed(*each) for device, *each in rows}

    def far_running(self, device: str, round_id: RoundId) -> int:
        """In how many of its last updates in a row a device was far, before a round of its generation."""
        if self._layout() < TELLS_WEIGHTS:
            return 0
        row = self._one(
            "SELECT coalesce(running, 0) FROM answers JOIN rounds USING (generation, round)"
            " WHERE device = ? AND generation = ? AND round < ? AND verdict = 'admitted' AND kind = 'train'"
            " ORDER BY round DESC LIMIT 1",
            device,
            *round_id,
        )
        return int(row[0]) if row else 0

    def newest_begun(self, generation: int) -> dict[str, int]:
        """The number of the newest round of training for which each device has an answer, as far as they are
        kept."""
        began = "began" if self._layout() >= TELLS_BEGINNINGS else "NULL"
        rows = self._all(
            f"SELECT device, max(coalesce({began}, round)) FROM answers"  # noqa: S608 # texts of ours
            " JOIN rounds USING (generation, round) WHERE generation = ? AND kind = 'train' GROUP BY device",
            generation,
        )
        return dict(rows)

    def remembers(self, round_id: RoundId) -> bool:
        """Whether the verdicts of a round are stored: those of a closed round are, until it is freed."""
        row = self._one("SELECT 1 FROM answers WHERE generation = ? AND round = ? LIMIT 1", *round_id)
        return row is not None

    def devices_admitted(self, generation: int) -> int:
        """The number of devices of which a survey or an update of a generation counts, as far as they are
        kept."""
        row = self._one(
            "SELECT count(DISTINCT device) FROM answers WHERE generation = ? AND verdict = 'admitted'",
            generation,
        )
        return int(row[0]) if row else 0

    def answered_by(self, device: str) -> tuple[tuple[RoundId, ...], RoundId | None]:
        """The closed rounds with a kept update of the device that counted, and the open round if it
        answered."""
        rows = self._all(
            "SELECT generation, round, verdict, closed_at IS NOT NULL FROM answers"
            " JOIN rounds USING (generation, round) WHERE device = ? ORDER BY generation, round",
            device,
        )
        closed = tuple(
            RoundId(g, r) for g, r, verdict, is_closed in rows if is_closed and verdict == "admitted"
        )
        waiting = [RoundId(g, r) for g, r, _, is_closed in rows if not is_closed]
        return closed, waiting[-1] if waiting else None
