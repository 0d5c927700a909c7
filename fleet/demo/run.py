"""`fedge demo`: a whole federation on one machine, with broker, aggregator and devices as processes.

`fleet.demo.learning` runs the federation; this module sets it up and reports the result.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedge.algorithms.plan import Plan
from fedge.errors import ConfigError
from fleet.datasets import FederatedDataset, load_digits, load_watch
from fleet.demo import broker, classes, learning, own_report, report
from fleet.demo.comparison import compare, outcome_of
from fleet.demo.folders import empty
from fleet.demo.outcome import Outcome
from fleet.demo.progress import Display
from fleet.demo.provision import provision

PLAN = Plan(epochs=5, batch_size=16, learning_rate=0.05, momentum=0.9)
PERSONAL = "finetune"
"""The personal model of the demo; `none`: FedAvg and nothing else."""
DATASETS: Mapping[str, Callable[[int], FederatedDataset]] = {"watch": load_watch, "digits": load_digits}
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Options:
    """The caller's options."""

    out: Path
    dataset: str = "watch"
    devices: int = 20
    rounds: int = 60
    seed: int = 1
    broker: str = "auto"
    personal: str = PERSONAL


def run(options: Options, display: Display) -> Outcome:
    """Let a fleet learn, measure the result, and write the report.

    Raises:
        ConfigError: an option is invalid.
        FedgeError: a program ended too early (with the last lines of its log), or learning makes no progress.
    """
    started_s = time.monotonic()
    display.say("preparing")
    plan = plan_of(options.personal)
    dataset = _load(options)
    folder = empty(options.out, "demo")
    with broker.start(options.broker, folder / "broker") as bus:
        files = provision(
            folder,
            dataset,
            federation=federation_name(options.dataset, bus),
            broker_url=bus.url,
            plan=plan,
            rounds=options.rounds,
            seed=options.seed,
            deadline_s=DEADLINE_S,
            keep_all=True,
        )
        learnt = learning.learn(files, folder / "logs", bus, display)

    compared = compare(files, plan, options.rounds, options.seed, display)
    outcome = outcome_of(
        compared,
        learnt,
        files,
        title=dataset.title,
        dataset=dataset.name,
        broker=bus.name,
        seed=options.seed,
        started_s=started_s,
    )
    details = own_report.section(outcome.own) if outcome.own is not None else ""
    details += classes.by_class(compared.by_class(), len(compared.fleet)) + classes.by_round(compared.history)
    outcome.report.write_text(report.render(outcome, details=details), encoding="utf-8")
    return outcome


def plan_of(personal: str) -> Plan:
    """The demo's plan with this personal model, which devices compare with a model alone."""
    if personal == "none":
        return PLAN
    return PLAN.model_copy(update={"personal": personal, "compare": True})


def _load(options: Options) -> FederatedDataset:
    if options.dataset not in DATASETS:
        raise ConfigError(f"--dataset {options.dataset}: expected {' or '.join(DATASETS)}")
    if options.dataset == "digits":
        return load_digits(options.devices, options.seed)
    return load_watch(options.devices)


def federation_name(wanted: str, bus: broker.Broker) -> str:
    """The federation's name; on a broker that runs on after us it differs from those of earlier runs."""
    ours = isinstance(bus, broker.LocalBroker)
    return wanted if ours else f"{wanted}-{secrets.token_hex(4)}"
