"""Check that devices learn as the twins do: each update, each next state, and each state they begin with."""

from math import isclose

from agent.core.state import AlgorithmState
from agent.trainers.assignment import Assignment
from agent.trainers.states import unpack
from fedge.wire.freshness import round_of
from fedge.wire.messages.update import Update
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.local_twins import STATES, Sent, Work, following, trained
from fleet.simulator.oracle.record import Record
from fleet.simulator.oracle.states import counted, mark
from fleet.simulator.twins import Numbers, numbers, vector_of


class Learning:
    """Checks the work of local algorithms."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def learns(
        self,
        device: str,
        job: Assignment,
        lineage: bytes,
        update: Update,
        pending: AlgorithmState | None,
        work: Work,
    ) -> None:
        """Check what a device has made of a round.

        Args:
            device: its name.
            job: what it began with.
            lineage: that of the round's states.
            update: what it sends.
            pending: its next state.
            work: its loss and its steps.
        """
        with_, here, plan = self._record.composition, round_of(job.manifest), job.manifest.plan
        assert plan is not None
        assert job.manifest.model is not None
        rate = with_.rate_of(here.round)
        if not isclose(plan.learning_rate, rate, rel_tol=1e-12):
            raise self._wrong(device, job, f"with the rate {plan.learning_rate}, and not {rate}")
        model = self._record.vectors.get(job.manifest.model.digest)
        if model is None:
            raise self._wrong(device, job, "from a model that nobody made")
        nothing = [0.0] * len(model["weights"])
        state = job.state if counted(job.state, lineage) else None
        own = self._array(state) or nothing
        if own != self._expected(device, job, lineage, nothing):
            raise Violation(
                Invariant.STATE_COUNTS_ONCE,
                f"the state with which {device} trains in round {here} is not what its updates make",
            )
        expected = trained(with_, plan.learning_rate, model, own, work)
        found = Sent(
            {name: numbers(vector_of(update, name)) for name in ("weights", *(update.vectors or {}))},
            self._array(pending),
            update.cluster or 0,
        )
        if update.steps != work.steps or found != expected:
            raise self._wrong(device, job, "and makes something else than its local algorithm")

    def _expected(self, device: str, job: Assignment, lineage: bytes, nothing: Numbers) -> Numbers:
        """The state after all updates that are in the device's list, one after the other."""
        with_, state = self._record.composition, nothing
        marks = counted(job.state, lineage)
        if not marks:
            return state
        made = {
            mark(digest): one.message for digest, one in self._record.made.items() if one.device == device
        }
        for each in marks:
            update = made[each]
            assert isinstance(update, Update)
            start = self._record.vectors[update.base]["weights"]
            sent = {name: numbers(vector_of(update, name)) for name in ("weights", *with_.vectors)}
            state = following(with_, state, sent, start)
        return state

    def _array(self, state: AlgorithmState | None) -> Numbers:
        name = STATES.get(self._record.composition.local)
        if state is None or name is None:
            return []
        return [float(x) for x in unpack(state.data)[f"local/{name}"]]

    def _wrong(self, device: str, job: Assignment, how: str) -> Violation:
        return Violation(Invariant.LEARNING, f"{device} trains in round {round_of(job.manifest)} {how}")
