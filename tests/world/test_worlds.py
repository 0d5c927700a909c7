"""The simulated world: the programs as they are hold in it, and every deliberate mistake is found."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedge.wire import frames
from fleet.cli.commands import app
from fleet.simulator import campaign, fastpaths
from fleet.simulator.hosts import DeviceHost
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.terms import REAL_ONE_IN
from fleet.simulator.world import World
from tests.world.search import candidates, caught, found, table
from tests.world.wrong_variants import VARIANTS

MANY = 40
"""How many worlds the programs are run in here; CI also runs `make world WORLDS=0:1000`."""
RARE = (
    "a_device_that_is_left_out_averaged_again",
    "a_device_that_is_set_aside_counted",
    "a_kept_session_taken_for_kept_frames",
    "a_last_model_measured_by_one_word",
    "a_mean_taken_that_is_not_usable",
    "a_server_state_kept_over_a_new_generation",
    "a_stale_online_watched_anew",
    "a_state_kept_over_a_new_generation",
    "acknowledgements_withheld_for_a_whole_message",
    "admitted_updates_dropped_after_a_missed_quorum",
    "an_own_model_that_waits_for_its_verdict",
    "an_update_admitted_while_the_round_closes",
    "an_update_counted_that_was_set_aside",
    "claims_believed_however_far",
    "deadlines_that_run_without_a_link",
    "fewer_than_the_rule_needs",
    "figures_believed",
    "further_vectors_of_few_not_clipped",
    "n_k_not_capped",
    "one_claim_believed",
    "one_shared_model_kept_for_all",
    "one_word_is_the_fleets",
    "partial_message_kept_over_rounds",
    "rounds_since_not_moved_to_the_model_gone_back_to",
    "signatures_not_checked",
    "stale_manifests_seconds_believed",
    "staleness_without_a_bound",
    "the_shorter_of_two_is_usual",
    "updates_admitted_from_any_distance",
    "work_too_old_goes_on",
)
"""Mistakes that took longest to find when all were timed; `make chaos` looks for them."""
PAGE = Path(__file__).parents[2] / "docs" / "world.md"


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_in_many_worlds_nothing_is_lost_and_nothing_counted_twice() -> None:
    tally = campaign.run(range(MANY))
    assert not tally.violations, campaign.story(tally.violations[0])
    assert tally.worlds == MANY
    assert all(tally.faults.values()), tally.faults  # a kind that never happens proves nothing


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in RARE else []) for name in VARIANTS]
)
def test_every_deliberate_mistake_is_found(
    name: str, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    variant, key = VARIANTS[name], f"worlds/{name}"
    cache = getattr(pytestconfig, "cache", None)  # none with `-p no:cacheprovider`
    variant.make(monkeypatch)
    outcome = caught(variant, cache.get(key, None) if cache else None)
    assert outcome is not None, f"{name}: not found in {variant.within} worlds"
    if cache:
        cache.set(key, outcome.seed)


def test_at_least_fourteen_mistakes_are_tried() -> None:
    assert len(VARIANTS) - len(RARE) >= 14
    assert set(RARE) <= VARIANTS.keys()


def test_a_violation_of_another_kind_is_not_what_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a mistake no longer fits to the programs, and breaks them otherwise."""
    variant = VARIANTS["receipt_before_the_ledgers_fsync"]
    other = replace(variant, breaks=frozenset({Invariant.MEAN}), within=2)
    variant.make(monkeypatch)
    assert caught(other, hint=0) is None
    right = caught(variant)
    assert right is not None
    assert right.broken is Invariant.RECEIPT_WHEN_DURABLE


def test_a_hint_that_shows_nothing_costs_one_world_only(monkeypatch: pytest.MonkeyPatch) -> None:
    variant = VARIANTS["an_older_ledger_taken_up"]
    variant.make(monkeypatch)
    without, hinted = caught(variant), caught(variant, hint=0)
    assert without is not None
    assert without.seed > 0
    assert hinted is not None
    assert hinted.seed == without.seed


def test_the_page_tells_what_finds_which_mistake() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), (
        "put in what `python -m tests.world.search --table` says"
    )


def test_the_page_on_reliability_tells_how_many_mistakes_there_are() -> None:
    """Each is found by a test of this file."""
    text = PAGE.with_name("reliability.md").read_text(encoding="utf-8")
    assert f"| deliberate mistakes found | {len(VARIANTS)} of {len(VARIANTS)}," in text


def test_a_world_with_real_files_and_real_training_holds() -> None:
    seed = REAL_ONE_IN - 1
    tally = campaign.run([seed])
    assert World(seed, 5, 5).terms.real
    assert not tally.violations, campaign.story(tally.violations[0])


@pytest.mark.slow
def test_a_run_is_a_pure_function_of_its_seed() -> None:
    """In another process too, whose hashes of strings are others; also with real files and real training."""
    seeds = (7, REAL_ONE_IN - 1)

    def digest() -> str:
        return " ".join(World(seed, 5, 5).run().digest for seed in seeds) + "\n"

    code = (
        "from fleet.simulator.world import World; "
        f"print(*(World(seed, 5, 5).run().digest for seed in {seeds}))"
    )
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        found = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(found.stdout)
    digests.add(digest())
    assert len(digests) == 1
    assert World(8, 5, 5).run().digest not in digests.pop()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [8, 11, 17, 37])
def test_a_world_goes_the_same_way_without_shortcuts(seed: int) -> None:
    assert World(seed, 5, 5).run().digest == World(seed, 5, 5, short=False).run().digest


def test_the_shortcuts_reach_every_module_of_the_cores() -> None:
    """Also those that a program imports only when it first runs."""
    campaign.run(range(1, 2))
    for path, module in list(sys.modules.items()):
        if path.startswith(("agent.core.", "aggregator.core.")) and vars(module).get("replace") is replace:
            assert any(names is vars(module) for names, *_ in fastpaths._USED), path


def test_a_violation_is_told_with_the_fewest_faults_that_cause_it(monkeypatch: pytest.MonkeyPatch) -> None:
    variant = VARIANTS["an_older_ledger_taken_up"]
    variant.make(monkeypatch)
    first = caught(variant)
    assert first is not None
    tally = campaign.run([first.seed])
    (found,) = tally.violations
    assert found.schedule
    assert World(found.seed, 5, 5, prefix=len(found.schedule) - 1).run().violation is None
    text = campaign.story(found)
    assert f"seed {found.seed}, {found.broken}: " in text
    assert str(found.schedule[-1]) in text
    assert found.trace[-1] in text


def test_frames_are_as_large_as_before_afterwards() -> None:
    before = frames.FRAME_BYTES
    for seed in range(3):
        World(seed, 2, 1).run()
    assert before == frames.FRAME_BYTES


def test_the_command_prints_what_it_saw() -> None:
    answer = CliRunner().invoke(app, ["world", "--seeds", "0:3", "--devices", "3", "--rounds", "2", "--json"])
    found = json.loads(answer.stdout)
    assert answer.exit_code == 0
    assert (found["worlds"], found["violations"]) == (3, [])
    assert found["events"] > 100
    assert found["worlds_per_s"] > 0
    assert "kill" in found["faults"]
    answer = CliRunner().invoke(app, ["world", "--seeds", "5", "--devices", "2", "--rounds", "1"])
    assert answer.exit_code == 0
    assert answer.stdout.startswith("1 worlds, ")


def test_the_command_fails_on_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    variant = VARIANTS["acknowledged_before_handled"]
    variant.make(monkeypatch)
    first, second = islice(found(variant, candidates(variant)), 2)
    seeds = f"{first.seed}:{second.seed + 1}"
    answer = CliRunner().invoke(app, ["world", "--seeds", seeds])
    assert answer.exit_code == 1
    assert f"seed {first.seed}, {Invariant.ACKNOWLEDGED_WHEN_DURABLE}: " in answer.stdout
    answer = CliRunner().invoke(app, ["world", "--seeds", seeds, "--json"])
    assert answer.exit_code == 1
    told = json.loads(answer.stdout)["violations"]
    assert {(one.seed, one.broken) for one in (first, second)} <= {
        (one["seed"], one["invariant"]) for one in told
    }


def test_processes_that_share_the_worlds_see_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "PORTION", 2)
    size = campaign.Size(devices=2, rounds=1)
    alone, shared = campaign.run(range(5), size), campaign.run_parallel(range(5), size, jobs=2)
    assert shared.seconds > 0
    assert replace(shared, seconds=0.0) == replace(alone, seconds=0.0)


def test_processes_that_share_the_worlds_bring_violations_home(monkeypatch: pytest.MonkeyPatch) -> None:
    # What a world is made by goes to the processes, so a mistake does too.
    monkeypatch.setattr(campaign, "PORTION", 1)
    size = campaign.Size(devices=2, rounds=1, make_device=_Unmade)
    tally = campaign.run_parallel(range(6), size, jobs=2)
    assert [outcome.seed for outcome in tally.violations] == [0, 1, 2]
    assert tally.worlds == 3


class _Unmade(DeviceHost):
    """A device that breaks the world that it is made in."""

    def __init__(self, *_parts: object, **_named: object) -> None:
        raise Violation(Invariant.PROGRAM_GOES_ON, "it cannot be made")


def test_seeds_that_are_no_numbers_are_refused() -> None:
    answer = CliRunner().invoke(app, ["world", "--seeds", "many"])
    assert answer.exit_code == 64
    assert "FIRST:END" in answer.output
