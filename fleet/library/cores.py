"""The engine `cores`: production's cores, messages and ledger; network, clocks and threads are simulated."""

from collections.abc import Mapping, Sequence

from agent.config import AgentSettings
from agent.settings.sources import DEFAULT_SOURCE
from agent.sources import Source
from aggregator.aggregation.models import read_model, task_of
from aggregator.aggregation.updates import admitted, read
from aggregator.config import FederationSettings
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.views import read_rounds as rows_since
from fedge.algorithms.codecs.seeds import ANNOUNCED
from fedge.algorithms.protocols import WEIGHTS
from fedge.algorithms.registry import CODECS
from fedge.errors import FedgeError
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import unpack
from fedge.wire.messages.model import Model as Message
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from fleet.library.course import Course
from fleet.library.history import read_rounds
from fleet.library.models import Model
from fleet.library.programs import Stage
from fleet.library.received import Form, Received
from fleet.library.results import Result, Stopped
from fleet.library.virtual_aggregator import Aggregator
from fleet.library.virtual_device import Device

ATTEMPTS = 3
"""A round that has not closed after this number of deadlines does not close any more."""
SETTLE_S = 60.0
"""Virtual seconds for connecting and closing, besides the deadlines."""


def run(
    federation: FederationSettings,
    devices: Sequence[tuple[AgentSettings, Source]],
    course: Course,
    seconds: Mapping[str, float] | None = None,
) -> Result:
    """Run a federation on virtual programs.

    Args:
        federation: its settings.
        devices: settings and source of each.
        course: measures and tells of the rounds.
        seconds: how long each device trains in a round, in virtual seconds, by its name; default: no time.

    Raises:
        FedgeError: a round cannot close.
    """
    stage = Stage.new(federation.federation.seed)
    known = seconds or {}
    fleet = [
        Device(stage, settings, {DEFAULT_SOURCE: source}, known.get(settings.device, 0.0))
        for settings, source in devices
    ]
    aggregator = Aggregator(stage, federation)
    try:
        for program in (aggregator, *fleet):
            program.start()
        stopped, why = _Run(stage, aggregator, fleet, federation, course).to_its_end()
        rows = tuple(row for row in read_rounds(federation.state.folder) if row.closed)
        last = RoundId(rows[-1].generation, rows[-1].round)
        told = {device: dict(one.metrics) for device, one in admitted(aggregator.ledger, last).items()}
        return Result(_newest(aggregator.ledger), rows, tuple(course.curve), stopped, why, told)
    finally:
        for program in (aggregator, *fleet):
            program.close()


class _Run:
    """One federation's run to its end."""

    def __init__(
        self,
        stage: Stage,
        aggregator: Aggregator,
        fleet: Sequence[Device],
        federation: FederationSettings,
        course: Course,
    ) -> None:
        self._stage, self._aggregator, self._fleet, self._course = stage, aggregator, fleet, course
        self._patience_s = ATTEMPTS * federation.rounds.deadline_s + SETTLE_S
        self._names = (WEIGHTS, *federation.parts().hands_on)
        self._received = Received()

    def to_its_end(self) -> tuple[Stopped, str]:
        """Run until learning is done or is stopped; return why, and what devices say of it.

        Raises:
            FedgeError: a round cannot close.
        """
        newest, since_s = None, 0.0
        while not self._aggregator.done:
            if self._aggregator.round != newest:
                before, newest, since_s = newest, self._aggregator.round, self._stage.clock.now_s
                if before is not None and self._closed(before):
                    return "until", ""
            late = not self._stage.clock.step() or self._stage.clock.now_s - since_s > self._patience_s
            if late or self._aggregator.gives_up:
                reasons = self._reasons(newest)
                if newest is not None and self._diverged(newest):
                    return "diverged", reasons
                raise FedgeError(f"round {newest} does not close: {reasons}")
        if newest is not None:  # without a measuring round, the last one is closed and no other is open
            self._closed(newest)
        return "rounds", ""

    def _closed(self, round_id: RoundId) -> bool:
        """Report a closed round; return whether to end here."""
        if not self._course.wanted:
            return False
        ledger = self._aggregator.ledger
        row = rows_since(self._aggregator.path, round_id.round)[0]
        if not row.closed or row.kind == "evaluate":
            return False
        up, down = self._bytes(round_id) if row.kind == "train" else (0, 0)
        return self._course.closed(row, up, down, lambda: _newest(ledger))

    def _bytes(self, round_id: RoundId) -> tuple[int, int]:
        ledger = self._aggregator.ledger
        answers, up = admitted(ledger, round_id), 0
        for device, answer in answers.items():
            message = read(ledger, device, answer)
            assert isinstance(message, Update)
            up += len(message.body) + sum(map(len, (message.vectors or {}).values()))
        base = round_id._replace(round=round_id.round - 1)
        saved, form = ledger.coding_of(base), Form()
        if saved is not None:
            form = Form(saved.codec, None if saved.key is None else read_model(ledger, saved.key).round)
        sizes = dict.fromkeys(self._names, self._aggregator.weights)
        return up, self._received.of_round(answers, base.round, form, sizes)

    def _diverged(self, round_id: RoundId) -> bool:
        if round_id.round == 0:
            return False
        failed = {
            failed.reason
            for device in self._fleet
            if (failed := device.failure) is not None and failed.round == round_id
        }
        if self._aggregator.insufficient:
            return True
        return Reason.TRAINING_DIVERGED in failed and Reason.FAILED not in failed

    def _reasons(self, round_id: RoundId | None) -> str:
        """Why too few updates were admitted in the open round: failures of devices, or refusals."""
        failures = {one.name: one.failure for one in self._fleet if one.failure is not None}
        failed = [f"{name}: {one.detail}" for name, one in sorted(failures.items()) if one.round == round_id]
        refused = [f"{device}: {reason}" for device, reason in self._aggregator.refused.items()]
        return "; ".join(failed or refused) or "fewer devices answer than [rounds] requires"


def _newest(ledger: LedgerReader) -> Model:
    newest = ledger.newest_round()
    assert newest is not None
    task_digest, digest = (ledger.newest(kind, newest.generation) for kind in ("task", "model"))
    assert task_digest is not None
    assert digest is not None
    task = task_of(ledger, task_digest)
    told = unpack(ledger.content(digest), Message, max_bytes=MAX_SIZE)
    weights = CODECS.make(told.codec).decode(told.body, task.network.schema.size, ANNOUNCED)
    return Model(task, weights, told.generation, told.round)
