"""The effects that are seen outside, performed after the turn's commit."""

import logging
from collections.abc import Callable

from aggregator.core import effects as do
from aggregator.core import participation
from aggregator.core.choice import How
from aggregator.core.effects import Effect
from aggregator.core.federation import Federation
from aggregator.export.chosen_model import job_of
from aggregator.export.job import Job
from aggregator.ledger.writing import Ledger
from aggregator.shell.announcements import Announcements
from aggregator.shell.reception import Reception
from aggregator.shell.round_job import RoundJob
from fedge.errors import ConfigError, Conflict, Undecided
from fedge.transport import Publication, Transport
from fedge.wire.frames import frame_bytes, split
from fedge.wire.freshness import RECEIPT_EXPIRY_S, RoundId
from fedge.wire.messages.message import pack
from fedge.wire.messages.receipt import pack_receipt
from fedge.wire.topics import Topics

log = logging.getLogger("fedge.aggregator")
GO_ON = "to go on, raise the limit in [stopping] and start the aggregator again"
ANEW = "`fedge-aggregator new-generation` begins"
SPENT = "all releases that [privacy] declares are spent; devices that took part learn no further"


class VisibleEffects:
    """Sends, exports, logs, and ends the program where the core says so.

    Args:
        topics: of the federation.
        link: to the broker.
        ledger: what is announced and exported is read from it.
        announcements: publishes task, model and manifest.
        reception: limits the log lines that devices cause.
        job: the job of the round that is being closed.
        export: begins an export.
        how: which model is exported.
    """

    def __init__(
        self,
        topics: Topics,
        link: Transport,
        ledger: Ledger,
        announcements: Announcements,
        reception: Reception,
        job: RoundJob,
        export: Callable[[Job], None],
        how: How,
    ) -> None:
        self._topics, self._link, self._ledger = topics, link, ledger
        self._announcements, self._reception, self._job = announcements, reception, job
        self._export, self._how = export, how

    def perform(self, effect: Effect, state: Federation) -> None:
        """Perform one effect of a turn that ended with `state`.

        Raises:
            Conflict, Undecided, ConfigError: the core has given up.
        """
        match effect:
            case do.SendReceipt(device, receipt):
                self._link.reply(
                    Publication(
                        self._topics.receipt(device), pack_receipt(receipt), expiry_s=RECEIPT_EXPIRY_S
                    )
                )
            case do.SendMasking(device, message):
                self._send(device, pack(message), state)
            case do.Subscribe():
                self._link.subscribe(
                    self._topics.all_updates, self._topics.all_statuses, self._topics.service
                )
            case do.PublishService(message):
                self._link.send([self._announcements.publication_of(message)])
            case do.PublishBlobs():
                self._announcements.blobs(effect)
            case do.PublishManifest(manifest):
                self._announcements.manifest(manifest)
            case do.ClearSlots(task, model, key):
                self._announcements.clear("task", 1 - task)
                if model is not None:
                    self._announcements.clear("model", 1 - model)
                for slot in {0, 1} - {key}:
                    self._announcements.clear("key", slot)
            case do.CloseRound():
                self._job.begin(state)
            case do.ExportModel(round_id):
                self._begin_export(state, round_id)
            case do.Complete(why):
                took_part = participation.last_of(self._ledger.summaries(state.round.generation))
                log.info("learning is done: %s%s", why, took_part)
                log.info("%s", more(state))
            case do.Abort(text, gave_way, later):
                raise (Conflict if gave_way else Undecided if later else ConfigError)(text)
            case do.Log(level, text, device, cause):
                number = logging.getLevelNamesMapping()[level.upper()]
                if device is None:
                    log.log(number, "%s", text)
                else:
                    self._reception.report(state, number, device, cause, text)

    def _send(self, device: str, content: bytes, state: Federation) -> None:
        """Send a message to one device, in frames."""
        topic = self._topics.receipt(device)
        frames = split(
            content, frame_bytes(len(content), min(state.max_payload_bytes, self._link.room(topic)))
        )
        self._link.send([Publication(topic, frame, expiry_s=RECEIPT_EXPIRY_S) for frame in frames], bulk=True)

    def _begin_export(self, state: Federation, round_id: RoundId) -> None:
        job = job_of(self._ledger, state, round_id, self._how)
        if job is None or job.round.generation != round_id.generation:
            which = f"the model of round {job.round}" if job is not None else "what was exported before"
            until = f"a round of training closes in generation {round_id.generation}"
            log.info("%s stays exported until %s", which, until)
        if job is not None:
            self._export(job)


def more(state: Federation) -> str:
    """What an operator can do once learning is done, for the log."""
    privacy = state.protection.privacy if state.protection is not None else None
    if privacy is None:
        return f"{GO_ON}; {ANEW} with a survey"
    left = privacy.rounds - privacy.witness.number
    if left <= 0:
        return SPENT
    releases = "1 release is" if left == 1 else f"{left} releases are"
    return f"{GO_ON}; {ANEW} with a new first model, without a survey. {releases} left of [privacy]"
