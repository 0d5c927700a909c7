"""The effects that are written into the ledger, inside the turn's transaction."""

import time

from aggregator.core import effects as do
from aggregator.core.effects import Effect
from aggregator.core.federation import Federation
from aggregator.ledger.records import MaskedSum
from aggregator.ledger.writing import Ledger
from aggregator.shell.intake import Intake, counted_as
from aggregator.shell.pending import Pending
from aggregator.shell.reports import Reports


class DurableEffects:
    """Writes the core's `DURABLE` effects at once and its `GATHERED` ones with the beat.

    Args:
        ledger: where they are written.
        intake: is told of each device that got its verdict.
        reports: is told of each admitted update, after which it logs the device's problems anew.
    """

    def __init__(self, ledger: Ledger, intake: Intake, reports: Reports) -> None:
        self._ledger, self._intake, self._reports = ledger, intake, reports
        self._pending = Pending()

    def perform(self, effect: Effect, state: Federation) -> None:
        """Write one effect of a step whose new state is `state`."""
        match effect:
            case do.SpoolFrame(device, frame):
                self._ledger.spool(device, frame)
            case do.DropSpool(device, digest):
                self._ledger.drop_spool(device, digest)
            case do.BeginExchange(round_id, terms):
                self._ledger.begin_exchange(round_id, terms)
            case do.KeepMasking(round_id, device, digest):
                self._ledger.keep_masking(round_id, device, digest)
                self._intake.answered(state, device)
            case do.EndPhase(round_id):
                self._ledger.end_phase(round_id)
            case do.DropExchange():
                self._ledger.drop_exchange()
            case do.SaveNoSum(round_id):
                assert state.masking is not None
                none = MaskedSum(0, state.masking.value_bits, state.masking.clip, (), None)
                self._ledger.save_sum(round_id, none)
            case do.SaveAnswer(round_id, device, answer):
                self._ledger.save_answer(round_id, device, answer)
                self._intake.answered(state, device)
                if answer.verdict == "admitted":
                    self._reports.renew(device)
            case do.SetAside(round_id, device, answer):
                self._ledger.set_aside(round_id, device, answer)
            case do.DropAnswer(round_id, device, digest):
                self._ledger.drop_answer(round_id, device, digest)
            case do.CountRefusal(device, reason):
                self._pending.count(counted_as(state, device), reason)
            case do.SaveStatus(device, status):
                self._pending.keep(self._ledger, device, status, time.time())
            case do.SaveMissed(device, missed):
                self._ledger.save_missed(device, missed)
            case do.SaveRound(round_id, kind, attempt, cohorts, quorum):
                self._ledger.save_round(round_id, kind, attempt, cohorts, time.time(), quorum)
                self._ledger.save_parts(round_id, state.parts.text())
            case do.MoveContent(kind, blob):
                self._ledger.move_content(kind, blob)
            case do.SaveElapsed(round_id, elapsed_s):
                self._ledger.save_elapsed(round_id, elapsed_s)

    def write_gathered(self) -> None:
        """Write what has gathered since the last beat."""
        self._pending.write(self._ledger)
