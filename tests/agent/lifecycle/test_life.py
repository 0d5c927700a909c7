"""Whatever happens in whichever order: what always holds of a device."""

from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.core import effects as do
from agent.core import events as on
from agent.core.conditions import Readings
from agent.core.device import Device, Fetching, Idle, Reporting, Saved, Working
from agent.core.lifecycle import due_s, step
from agent.settings.conditions import ConditionsSettings
from agent.settings.limits import LimitsSettings
from fedge.algorithms.plan import Plan
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason
from tests.agent.lifecycle.stories import (
    FOLLOW_S,
    OTHER_BOOT,
    TASK,
    announced,
    attempt,
    digest,
    manifest,
    receipt,
    status,
)

# ── whatever happens ───────────────────────────────────────────────────────────────────────────────


class Life(RuleBasedStateMachine):
    """A device with a disk that may be full, a worker, and any events in any order."""

    @initialize()
    def start(self) -> None:
        self.now_s = 0.0
        self.readings = Readings()
        self.boots = 0
        self.disk_full = False
        self.seen = attempt(0, 0)
        self.outbox: Saved | None = None
        self.file: bytes | None = None
        self.boot()

    def boot(self) -> None:
        self.boots += 1
        self.connection = 0
        self.at_hand: dict[str, bytes | None] = {"task": TASK if self.file else None, "model": self.file}
        self.job: RoundId | None = None
        self.state = Device(
            device="pi",
            boot=self.boots.to_bytes(16, "big"),
            version="0",
            follow_s=FOLLOW_S,
            limits=LimitsSettings(epochs=10, bytes_per_day=1_000_000, sources=("data",)),
            conditions=ConditionsSettings(mains=True),
            offered=frozenset({"data", "heart"}),
            seen=self.seen,
            saved=self.outbox,
            task=self.at_hand["task"],
            model=self.file,
            kept=self.file,
        )

    def take(self, event: on.Event) -> None:
        """As the runtime does it."""
        before = self.state
        self.state, effects = step(before, event)
        kinds = [type(effect) for effect in effects]
        if isinstance(self.state.work, Working | Fetching) and isinstance(before.work, Idle):
            to_work = isinstance(self.state.work, Working) or self.state.work.to_work
            assert not (to_work and self.state.readings.battery), "no work is taken up on a battery"
        if do.SaveUpdate in kinds:
            assert kinds.index(do.SaveUpdate) < kinds.index(do.PublishUpdate)
        if do.SaveSeen in kinds and do.PublishStatus in kinds:
            assert kinds.index(do.SaveSeen) < kinds.index(do.PublishStatus)
        assert self.state.seen >= before.seen
        for effect in effects:
            if (failure := self.perform(effect)) is not None:
                self.take(failure)
                break

    def perform(self, effect: do.Effect) -> on.Failed | on.KeepFailed | None:
        """None, or that it failed, which the core hears at once."""
        match effect:
            case do.SaveUpdate(attempt=seen, digest=found):
                if self.disk_full:
                    return on.Failed(seen.round, Reason.FAILED, "disk full")
                self.outbox, self.seen = Saved(seen.round, found), seen
            case do.SaveSeen(attempt=seen) if not self.disk_full:
                assert seen >= self.seen
                self.seen = seen
            case do.SaveVerdict(digest=found, verdict=verdict):
                assert self.outbox is not None
                assert self.outbox.digest == found
                if not self.disk_full:
                    self.outbox = replace(self.outbox, verdict=verdict)
            case do.PublishUpdate(digest=found):
                assert self.state.saved is not None
                assert self.state.manifest is not None
                answered = self.state.saved.verdict
                assert answered is None or (answered == "admitted" and self.state.manifest.attempt > 0)
                assert self.outbox is not None
                assert self.outbox.digest == found, "only what is on the disk"
            case do.StartWork(manifest=said):
                assert self.job is None, "one piece of work at a time"
                assert said.plan is None or said.plan.epochs <= 10
                assert self.state.source in (None, "data")
                assert self.state.declined is None
                assert self.at_hand["task"] == said.task.digest
                assert said.model is None or self.at_hand["model"] == said.model.digest
                answered = self.state.saved
                round_id = RoundId(said.generation, said.round)
                assert not (answered and answered.verdict and answered.round == round_id)
                self.job = round_id
            case do.CancelWork(round=round_id):
                assert self.job == round_id
                self.job = None
            case do.KeepModel(manifest=said):
                assert said.model is not None
                assert self.at_hand["model"] == said.model.digest
                if self.disk_full:
                    return on.KeepFailed(self.now_s)
                self.file = said.model.digest
            case _:
                pass
        return None

    @rule(
        further=st.sampled_from([-1, 0, 0, 1, 1, 2]),
        anew=st.sampled_from([False] * 7 + [True]),
        attempt=st.sampled_from([0, 0, 1, 2]),
        state=st.sampled_from(["open"] * 5 + ["closed", "paused", "done"]),
        chosen=st.sampled_from([True, True, False]),
        left_s=st.sampled_from([60.0, 60.0, 0.0]),
        epochs=st.sampled_from([1, 10, 10, 11]),
        fetch=st.booleans(),
    )
    def announce(
        self,
        further: int,
        attempt: int,
        state: str,
        left_s: float,
        *,
        anew: bool,
        chosen: bool,
        fetch: bool,
        epochs: int = 1,
    ) -> None:
        generation = max(1, self.state.seen.round.generation) + anew
        round_ = 0 if anew else max(0, self.state.seen.round.round + further)
        plan = {"plan": Plan(epochs=epochs)} if round_ else {}
        said = manifest(round_, generation=generation, attempt=attempt, state=state, chosen=chosen, **plan)
        self.take(replace(announced(said, now_s=self.now_s, left_s=left_s), readings=self.readings))
        if fetch:
            for kind in ("task", "model"):
                if isinstance(self.state.work, Fetching):
                    self.fetched(kind)

    @precondition(lambda self: isinstance(self.state.work, Fetching))
    @rule(kind=st.sampled_from(["task", "model"]))
    def fetch(self, kind: str) -> None:
        self.fetched(kind)

    def fetched(self, kind: str) -> None:
        wanted = getattr(self.state.manifest, kind)
        if wanted is not None:
            self.at_hand[kind] = wanted.digest
            source = "heart" if self.state.seen.round.generation % 3 == 0 else None
            self.take(on.Fetched(self.now_s, kind, wanted.digest, source))

    @precondition(lambda self: self.job is not None)
    @rule(fails=st.booleans(), version=st.integers(0, 1))
    def finish(self, *, fails: bool, version: int) -> None:
        assert self.job is not None
        job, self.job = self.job, None
        found = digest(f"update {job} {version}")
        self.take(
            on.Failed(job, Reason.BAD_DATA, "x") if fails else on.Done(self.now_s, job, found, b"payload", 50)
        )

    @rule(verdict=st.sampled_from(["admitted", "refused"]))
    def a_round_goes_well(self, verdict: str) -> None:
        self.announce(1, 0, "open", 60.0, anew=False, chosen=True, fetch=True)
        if self.job is not None:
            self.finish(fails=False, version=0)
        self.answer(verdict, own=True, missing=(), after_s=0.0)

    @rule(earlier=st.integers(0, 2))
    def late_result(self, earlier: int) -> None:
        """Of work that was cancelled too late."""
        seen = self.state.seen.round
        job = seen._replace(round=max(0, seen.round - earlier))
        if self.job != job:
            before = self.state
            self.take(on.Done(self.now_s, job, digest("late"), b"payload", 50))
            assert self.state == before

    @rule(
        verdict=st.sampled_from(["admitted", "refused", "retry"]),
        own=st.booleans(),
        missing=st.sampled_from([(), (1, 2)]),
        after_s=st.sampled_from([0.0, 5.0]),
    )
    def answer(self, verdict: str, *, own: bool, missing: tuple[int, ...], after_s: float) -> None:
        # Only what was published can be answered.
        update = self.outbox.digest if own and self.outbox is not None else digest("foreign")
        more = {"missing": missing, "after_s": after_s} if verdict == "retry" else {}
        self.take(receipt(verdict, update, now_s=self.now_s, **more))

    @rule()
    def connect(self) -> None:
        self.connection += 1
        self.take(on.LinkUp(self.now_s, self.connection))

    @rule()
    def disconnect(self) -> None:
        self.take(on.LinkDown())

    @rule(boot=st.sampled_from([OTHER_BOOT, None]), is_online=st.booleans(), live=st.booleans())
    def see_status(self, boot: bytes | None, *, is_online: bool, live: bool) -> None:
        self.take(status(boot or self.state.boot, online=is_online, live=live))

    @rule(battery=st.sampled_from([None, None, "BAT0"]), spent=st.sampled_from([0, 0, 800_000, 1_000_000]))
    def change_conditions(self, battery: str | None, spent: int) -> None:
        self.readings = Readings(battery=battery, spent=spent)

    @rule(seconds=st.sampled_from([0.5, 5.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        due = due_s(self.state)
        if due is not None and due <= self.now_s:
            self.take(on.ConditionsChanged(self.now_s, self.readings))
        before = self.state
        self.take(on.Tick(self.now_s))
        if due is not None and due <= self.now_s:
            after = due_s(self.state)
            assert after is None or after > self.now_s, "a loop without a pause"
        else:
            assert self.state == before

    @rule(full=st.booleans())
    def change_disk(self, *, full: bool) -> None:
        self.disk_full = full

    @rule()
    def cut_the_power(self) -> None:
        self.boot()

    @invariant()
    def work_and_worker_agree(self) -> None:
        if hasattr(self, "state"):
            work = self.state.work
            assert (work.round if isinstance(work, Working) else None) == self.job
            assert isinstance(work, Reporting) <= (self.state.saved is not None)

    @invariant()
    def the_model_it_claims_is_in_the_file(self) -> None:
        if hasattr(self, "state"):
            assert self.state.kept in (None, self.file)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
