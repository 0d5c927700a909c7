"""Wrong algorithms: local algorithms, rules, server optimizers, and what they keep from round to round."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from agent.shell import algorithm_states
from agent.trainers import states
from aggregator.aggregation import aggregate, generations, recomputation, server_state
from aggregator.core import quorum
from aggregator.core.parts import Part
from aggregator.ledger.reading import LedgerReader
from aggregator.phases import train
from fedge.algorithms.local import dyn, nova, scaffold
from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import Rule, ServerOptimizer, State, Updates
from fedge.algorithms.rules import bounds, robust
from fedge.algorithms.rules.bounds import Factors
from fedge.algorithms.rules.mean import Mean
from fedge.algorithms.trainer import Job, Trained
from fedge.wire.freshness import RoundId
from fedge.wire.messages.manifest import Manifest
from fleet.simulator.invariants import Invariant
from tests.world.variant import Patch, Variants, noted_in

VARIANTS: Variants = {}
variant = noted_in(VARIANTS)

MOST_ROUNDS = 20


@variant(
    "a device applies its update twice to the state of its algorithm",
    Invariant.LEARNING,
    within=20,
    needs=["a composition", "a state"],
)
def a_state_applied_twice(patch: Patch) -> None:
    for part in (scaffold.Scaffold, dyn.Dyn):
        patch.setattr(part, "run", _twice(part.run))


def _twice(run: Callable[..., Trained]) -> Callable[..., Trained]:
    def again(self: Any, job: Job, cancelled: Callable[[], bool]) -> Trained:
        made = run(self, job, cancelled)
        return replace(made, state={name: 2 * after - job.state[name] for name, after in made.state.items()})

    return again


@variant(
    "a device applies an update that was refused to its state",
    Invariant.STATE_COUNTS_ONCE,
    within=200,
    needs=["a composition", "a state"],
)
def a_state_applied_on_refusal(patch: Patch) -> None:
    current = algorithm_states._CURRENT.replace("verdict = 'admitted'", "verdict IS NOT NULL")
    patch.setattr(algorithm_states, "_CURRENT", current)


@variant(
    "a device keeps the state of its algorithm over a new generation",
    Invariant.STATE_COUNTS_ONCE,
    within=100,
    needs=["a composition", "a state", "new generation"],
)
def a_state_kept_over_a_new_generation(patch: Patch) -> None:
    def of_any(_manifest: Manifest, plan: Plan, _trainer: str, **_: object) -> bytes:
        return plan.local_name.encode().ljust(32)

    patch.setattr(states, "lineage_of", of_any)


@variant(
    "a device sends its control variate instead of the difference",
    Invariant.LEARNING,
    within=20,
    needs=["a composition", "control variates"],
)
def a_control_variate_sent_whole(patch: Patch) -> None:
    run = scaffold.Scaffold.run

    def whole(self: scaffold.Scaffold, job: Job, cancelled: Callable[[], bool]) -> Trained:
        made = run(self, job, cancelled)
        return replace(made, vectors={**made.vectors, "control": made.state["control"]})

    patch.setattr(scaffold.Scaffold, "run", whole)


@variant(
    "a device divides by the plan's steps, and not by those that it took",
    Invariant.LEARNING,
    within=20,
    needs=["a composition", "nova's steps"],
)
def the_plans_steps_instead_of_those_taken(patch: Patch) -> None:
    run = nova.Nova.run

    def planned(self: nova.Nova, job: Job, cancelled: Callable[[], bool]) -> Trained:
        made = run(self, job, cancelled)
        sent = job.weights + (made.vector - job.weights) / np.float32(job.plan.steps(len(job.X)))
        return replace(made, vectors={"weights": sent.astype(np.float32)})

    patch.setattr(nova.Nova, "run", planned)


@variant(
    "the aggregator does not bound the steps that devices tell",
    Invariant.INFLUENCE,
    Invariant.MEAN,
    within=100,
    needs=["a composition", "a lying member", "nova's steps"],
)
def steps_not_bounded(patch: Patch) -> None:
    def as_told(steps: Sequence[int], _factors: Factors) -> tuple[int, ...]:
        return tuple(max(1, each) for each in steps)

    patch.setattr(aggregate, "bounded_steps", as_told)


@variant(
    "further vectors of fewer than five updates are not clipped",
    Invariant.HANDED_ON,
    Invariant.INFLUENCE,
    within=100,
    needs=["a composition", "a lying member", "control variates"],
)
def further_vectors_of_few_not_clipped(patch: Patch) -> None:
    patch.setattr(bounds, "LOOSER", math.inf)


@variant(
    "the size of the cohort is taken for the size of the fleet",
    Invariant.HANDED_ON,
    Invariant.MEAN,
    within=20,
    needs=["a composition", "a share of the fleet"],
)
def the_cohort_taken_for_the_fleet(patch: Patch) -> None:
    for module in (train, recomputation):
        patch.setattr(module, "share_of", lambda _parts, _admitted: 1.0)


@variant(
    "the control variate is handed on without the share of the fleet",
    Invariant.HANDED_ON,
    within=40,
    needs=["a composition", "control variates"],
)
def a_control_variate_without_the_share(patch: Patch) -> None:
    def whole(_self: object, _name: str, before: Any, mean: Any, _share: float) -> Any:
        return (before + mean.astype(np.float64)).astype(np.float32)

    patch.setattr(scaffold.Scaffold, "handed_on", whole)


@variant(
    "a generation that keeps the model begins with its further vectors too",
    Invariant.HANDED_ON,
    within=100,
    needs=["a composition", "control variates", "new generation"],
)
def a_control_variate_kept_over_a_new_generation(patch: Patch) -> None:
    def kept(names: tuple[str, ...], size: int) -> dict[str, Any]:
        return {name: np.ones(size, np.float32) for name in names}

    patch.setattr(generations, "first_vectors", kept)


@variant(
    "the server optimizer begins anew in each round",
    Invariant.MEAN,
    within=20,
    needs=["a composition", "a server's state"],
)
def a_server_state_that_is_not_kept(patch: Patch) -> None:
    def anew(_ledger: Any, _round: RoundId, _part: Part, server: ServerOptimizer, size: int) -> State:
        return server.init(size)

    patch.setattr(server_state, "before", anew)


@variant(
    "the server optimizer's state is kept over a new generation",
    Invariant.MEAN,
    within=100,
    needs=["a composition", "a server's state", "fast devices", "new generation"],
)
def a_server_state_kept_over_a_new_generation(patch: Patch) -> None:
    right = server_state.before

    def kept(ledger: LedgerReader, round_id: RoundId, *others: Any) -> State:
        if round_id.round == 1:
            for number in range(MOST_ROUNDS, 0, -1):
                saved = ledger.state_of(RoundId(round_id.generation - 1, number))
                if saved is not None:
                    return server_state.unpack(saved[0])
        return right(ledger, round_id, *others)

    patch.setattr(server_state, "before", kept)


@variant(
    "a uniform mean weighs the devices by their samples",
    Invariant.MEAN,
    within=20,
    needs=["a composition", "uniform weights"],
)
def a_uniform_mean_by_samples(patch: Patch) -> None:
    right = Mean.aggregate

    def by_samples(_self: Mean, updates: Updates, base: Any, state: State) -> Any:
        return right(Mean(), updates, base, state)

    patch.setattr(Mean, "aggregate", by_samples)


@variant(
    "a rule's state begins anew in each round",
    Invariant.MEAN,
    within=20,
    needs=["a composition", "a rule's state"],
)
def a_rules_state_not_kept(patch: Patch) -> None:
    def begun(_ledger: LedgerReader, round_id: RoundId, _part: Part, rule: Rule, size: int) -> State:
        return server_state.rule_first(round_id, rule, size)

    patch.setattr(server_state, "rule_before", begun)


@variant(
    "a round closes with fewer updates than its rule needs",
    Invariant.QUORUM,
    within=40,
    needs=["a composition", "a robust rule", "a low quorum"],
)
def fewer_than_the_rule_needs(patch: Patch) -> None:
    patch.setattr(quorum, "fewest_of", lambda _rule: 1)


@variant(
    "nearest neighbour mixing is left out",
    Invariant.MEAN,
    within=20,
    needs=["a composition", "neighbours mixed"],
)
def neighbours_not_mixed(patch: Patch) -> None:
    patch.setattr(robust, "neighbourhoods", lambda rows, _f, _base: [[row] for row in range(rows.number)])
