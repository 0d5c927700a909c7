"""Check a device's own model in worlds with Ditto: what each round made of it, once, and never lost.

The state on the device must be what its saved rounds made, whatever verdicts came, whatever was cut off.
"""

from agent.core.state import PersonalState
from agent.trainers.assignment import Assignment
from agent.trainers.states import unpack
from fedge.wire.freshness import round_of
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.local_twins import Work, personal
from fleet.simulator.oracle.record import Record
from fleet.simulator.twins import Numbers

Kept = tuple[bytes, int, Numbers]
"""The task's digest, the number of rounds, and v."""


class OwnModels:
    """Checks the personal states of all devices."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._saved: dict[str, Kept | None] = {}
        """What each device has saved last; None: nothing."""
        self._restored: set[str] = set()
        """Devices with an older copy of their memory, of which nothing is known until they begin a round."""

    def saved(self, device: str, state: PersonalState | None) -> None:
        """Note that a device has saved an update; without a state it keeps the one before."""
        if state is not None:
            self._saved[device] = _kept(state)
            self._restored.discard(device)

    def replaced(self, device: str, *, wiped: bool) -> None:
        """Note that the device's memory is empty or an older copy."""
        if wiped:
            self._saved.pop(device, None)
            self._restored.discard(device)
        else:
            self._restored.add(device)

    def work_begins(self, device: str, job: Assignment) -> None:
        """Check the state with which a device begins to train."""
        found = _kept(job.personal) if job.personal is not None else None
        if device in self._restored:
            self._saved[device] = found
            self._restored.discard(device)
        if found != self._saved.get(device):
            raise self._wrong(device, job, "begins with another model than the one that it saved")

    def makes(self, device: str, job: Assignment, state: PersonalState | None, work: Work) -> None:
        """Check what a device has made of a round.

        Args:
            device: its name.
            job: what it began with.
            state: what it keeps from now on.
            work: its loss and its steps.
        """
        assert job.manifest.model is not None
        assert job.manifest.plan is not None
        model = self._record.vectors[job.manifest.model.digest]["weights"]
        task = job.manifest.task.digest
        before = _kept(job.personal) if job.personal is not None else None
        rounds, v = (0, model) if before is None or before[0] != task else before[1:]
        rate = job.manifest.plan.learning_rate
        expected = task, rounds + 1, personal(self._record.composition, rate, model, v, work)
        if state is None or _kept(state) != expected:
            raise self._wrong(device, job, "makes something else than Ditto's steps, once")

    def _wrong(self, device: str, job: Assignment, how: str) -> Violation:
        return Violation(
            Invariant.OWN_MODEL, f"{device} in round {round_of(job.manifest)} {how}: its own model"
        )


def _kept(state: PersonalState) -> Kept:
    arrays = unpack(state.data)
    return state.task, int(arrays["part/rounds"]), [float(x) for x in arrays["part/v"]]
