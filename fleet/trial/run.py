"""A trial from the files of a folder to a verdict: read, propose, let a fleet learn, compare, judge."""

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from agent.config import CsvSettings
from agent.dataset import Dataset, Unfit, fit
from agent.sources import Samples, open_source
from aggregator.config import FederationSettings, ModelSection
from fedge import scores
from fedge.errors import DataError
from fedge.messages import Task
from fedge.scores import Classification, Regression
from fedge.settings import BrokerSettings
from fleet import broker, learning, report
from fleet.comparison import Compared, compare, outcome_of
from fleet.data_options import csv_settings
from fleet.demo import federation_name
from fleet.figure import figure_of
from fleet.folders import empty
from fleet.progress import Display
from fleet.provision import Federation, Value, end_after, keep_going, lead_to, write_agent, write_federation
from fleet.trial import page, skew, twin, verdict
from fleet.trial.files import FEWEST, DeviceFiles, device_ids, discover
from fleet.trial.proposal import Proposal, Wish, holdout_setting, propose
from fleet.trial.result import DeviceResult, Trial
from fleet.trial.skew import Finding
from fleet.trial.table import Table, table_of

DEADLINE_S = 60.0
LEARNING = 0.5
"""The part of the time that learning may take; the rest is for what it is compared with."""
ELSEWHERE = {
    **dict.fromkeys(("source", "path", "files"), "is chosen by the files that are named"),
    "label": "is chosen by --label",
    "series": "is chosen by --series",
    "missing": "is chosen by --missing",
    "holdout": "is chosen by --holdout and --by",
}
"""Keys of `[data]` that are said in another way, which would win."""


@dataclass(frozen=True)
class Options:
    """What the caller chose."""

    place: Path
    wish: Wish
    out: Path = Path("out/try")
    devices_from: str | None = None
    data: Mapping[str, Value] = field(default_factory=dict)
    """Further keys of `[data]`, for all devices."""
    leave_one_out: bool = False
    seconds: float | None = None
    """After about so long it ends with what is there."""
    seed: int = 1
    broker: str = "auto"


@dataclass(frozen=True, eq=False)
class _Device:
    """One that may take part."""

    found: DeviceFiles
    samples: Samples
    table: Table


def run(options: Options, display: Display) -> Trial:
    """Let the devices learn on this machine, and judge what came out.

    Raises:
        UsageError: the options do not fit the files.
        DataError: the files cannot be used; says which, where, and what to do.
        ConfigError: `out` cannot be used, or there is no broker.
        FedgeError: a program ended too early, with the last lines of its log.
    """
    started_s = time.monotonic()
    end_s = math.inf if options.seconds is None else started_s + options.seconds

    def enough() -> bool:
        return time.monotonic() > end_s

    display.say("reading")
    found = discover(options.place, options.devices_from)
    folder = empty(options.out, "try")
    devices = [_read(one, folder / "devices" / one.device, options) for one in found]
    proposal = propose([device.table for device in devices], options.wish)
    devices, excluded = _able(devices, proposal, options)
    proposal = propose([device.table for device in devices], options.wish)
    for name in excluded:
        shutil.rmtree(folder / "devices" / name)
    findings = _findings([device.table for device in devices], proposal)

    with broker.start(options.broker, folder / "broker") as bus:
        files = _write(folder, devices, proposal, options, bus)
        until_s = None if options.seconds is None else started_s + LEARNING * options.seconds
        learnt = learning.learn(files, folder / "logs", bus, display, until_s)
    if isinstance(bus, broker.LocalBroker):
        for path in (files.settings, *files.agents.values()):
            lead_to(path, BrokerSettings().url)
    end_after(files.settings, proposal.rounds)
    keep_going(files.settings, max(FEWEST, len(devices) // 2))

    compared = compare(files, proposal.plan, learnt.rounds, options.seed, display, enough, best=True)
    without = {}
    if options.leave_one_out:
        display.say("leaving out")
        without = _left_out(files, devices, proposal, learnt.rounds, options, enough)
    outcome = outcome_of(
        compared,
        learnt,
        files,
        title=f"{options.place.resolve().name}: {options.wish.label or options.wish.target}",
        dataset=str(options.place),
        broker=bus.name,
        seed=options.seed,
        started_s=started_s,
    )
    figures = _figures(compared, outcome.alone_mean)
    held = compared.truth
    findings += skew.too_few(proposal.counts, len(held))
    if still := skew.unfinished(compared.figure, [value for _, value in outcome.curve]):
        findings.append(still)
    trial = Trial(
        outcome=outcome,
        proposal=proposal,
        figures=figures,
        verdict=verdict.judge(figures, findings),
        warnings=(
            *proposal.hints,
            *(f"{name} does not take part: {why}" for name, why in excluded.items()),
            *(f"{one.cause}: {one.text}. What to do: {one.remedy}" for one in findings),
            *_cuts(compared, learnt, len(devices), options, len(without)),
        ),
        together=_scores(compared, compared.together),
        central=_scores(compared, compared.central.outputs),
        devices=_results(compared, {device.found.device: device.found.origin for device in devices}, without),
        excluded=excluded,
        settings=files.settings,
        agents=files.agents,
        processes=learnt.processes,
    )
    outcome.report.write_text(
        report.render(outcome, page.verdict(trial), page.details(trial)), encoding="utf-8"
    )
    return trial


def _read(one: DeviceFiles, home: Path, options: Options) -> _Device:
    """Read a device's data where they are; of a file that was split, its part."""
    one.put(home)
    path = home / one.path if one.text is not None else one.files[0]
    if one.text is None and not Path(one.path).suffix:
        path = path.parent
    samples = open_source(_settings(path, options, {})).read()
    if samples.nameless is not None:
        raise samples.nameless
    return _Device(one, samples, table_of(one.device, samples))


def _settings(path: Path, options: Options, more: Mapping[str, Value]) -> CsvSettings:
    return csv_settings({**_section(str(path.resolve()), options), **more})


def _section(path: str, options: Options) -> dict[str, Value]:
    """The section `[data]` before anything was proposed."""
    section: dict[str, Value] = {"source": "csv", "path": path}
    if options.wish.label is not None:
        section["label"] = options.wish.label
    if options.wish.series is not None:
        section["series"] = options.wish.series
    return section | dict(options.data)


def _proposed(proposal: Proposal) -> dict[str, Value]:
    return {
        "missing": proposal.missing,
        "holdout": holdout_setting(proposal.holdout, proposal.by),
    }


def _task(proposal: Proposal) -> Task:
    try:
        return ModelSection.model_validate(_tuples(proposal.model())).task(reconnect_spread_s=1.0)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(f"[model] {first['loc'][0]}: {first['msg']}") from None


def _tuples(model: Mapping[str, Value]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in model.items()}


def _able(
    devices: Sequence[_Device], proposal: Proposal, options: Options
) -> tuple[list[_Device], dict[str, str]]:
    """The devices whose data serve the task, and of the others why not.

    Raises:
        DataError: less than two are left, or none of them holds a row out.
    """
    task, able, excluded, held = _task(proposal), [], {}, 0
    for device in devices:
        settings = _settings(Path(device.samples.name), options, _proposed(proposal))
        try:
            held += len(fit(device.samples, task, settings).held_X)
        except Unfit as unfit:
            excluded[device.found.device] = str(unfit)
        else:
            able.append(device)
    if len(able) < FEWEST:
        why = "\n".join(f"  {name}: {reason}" for name, reason in excluded.items())
        raise DataError(
            f"{options.place}: {len(able)} of {len(devices)} devices can take part, and a fleet has at least "
            f"{FEWEST}:\n{why}"
        )
    if not held:
        raise DataError(
            f"{options.place}: no device holds a row out to measure models on, for every series is too short "
            f"for {proposal.holdout:g} of it by {proposal.by}: hold out a larger part (--holdout), or whole "
            "series (--by series)"
        )
    return able, excluded


def _findings(tables: Sequence[Table], proposal: Proposal) -> list[Finding]:
    answer = proposal.target or ""
    found: list[Finding | None] = [
        *skew.sentinels(tables, [*proposal.features, *([answer] if answer else [])]),
        *skew.unlike(tables, proposal.features),
        skew.gaps(tables, proposal.features, answer, proposal.missing),
    ]
    if proposal.classes:
        counts = {table.device: skew.counts(table.labels, proposal.classes) for table in tables}
        found.append(skew.label_skew(counts))
        if proposal.by == "time":
            found.append(skew.sorted_by_class(tables, proposal.classes, proposal.holdout))
    return [one for one in found if one is not None]


def _write(
    folder: Path, devices: Sequence[_Device], proposal: Proposal, options: Options, bus: broker.Broker
) -> Federation:
    name = federation_name(device_ids([options.place.resolve().stem])[0][:22].strip("-"), bus)
    settings = write_federation(
        folder,
        name=name,
        seed=options.seed,
        devices=[device.found.device for device in devices],
        broker_url=bus.url,
        model=proposal.model(),
        plan=proposal.plan,
        rounds=proposal.rounds,
        deadline_s=DEADLINE_S,
        best_by="accuracy" if proposal.classes else "rmse",
        missing=proposal.missing,
    )
    agents = {
        device.found.device: write_agent(
            folder / "devices" / device.found.device,
            federation=name,
            device=device.found.device,
            broker_url=bus.url,
            data=_section(device.found.path, options) | _proposed(proposal),
        )
        for device in devices
    }
    return Federation(settings, agents)


def _figures(compared: Compared, alone_mean: float) -> verdict.Figures:
    figure, fleet = compared.figure, compared.fleet
    together, central = compared.together, compared.central.outputs
    own = [value for value in compared.by_device(together).values() if value == value]
    alone_own = [one.own for one in compared.alone if one.own == one.own]
    answers = np.concatenate([data.y for data in fleet.values()])
    return verdict.Figures(
        figure=figure,
        together=figure.of(together, compared.truth),
        alone=alone_mean,
        central=figure.of(central, compared.truth),
        constant=verdict.constant(figure, answers, compared.truth),
        together_own=sum(own) / len(own),
        alone_own=sum(alone_own) / len(alone_own),
        noise=verdict.noise(figure, together, central, compared.truth),
    )


def _scores(compared: Compared, outputs: np.ndarray[Any, Any]) -> Classification | Regression:
    if compared.task.classes:
        return scores.classification(compared.truth, outputs.argmax(axis=1), compared.task.classes)
    return scores.regression(compared.truth, outputs, compared.task.targets or ())


def _results(
    compared: Compared, origins: Mapping[str, str], without: Mapping[str, float]
) -> tuple[DeviceResult, ...]:
    together, central = (compared.by_device(o) for o in (compared.together, compared.central.outputs))
    alone = {one.device: one for one in compared.alone}
    return tuple(
        DeviceResult(
            device=device,
            origin=origins[device],
            training=len(data.X),
            held_out=len(data.held_X),
            together=together[device],
            alone=alone[device].own if device in alone else None,
            alone_everyone=alone[device].everyone if device in alone else None,
            central=central[device],
            without=without.get(device),
        )
        for device, data in compared.fleet.items()
    )


def _left_out(
    files: Federation,
    devices: Sequence[_Device],
    proposal: Proposal,
    rounds: int,
    options: Options,
    enough: Callable[[], bool],
) -> dict[str, float]:
    """For each device the figure of what the others learn without it, on all its rows."""
    task = FederationSettings.load(files.settings).task()
    fleet: dict[str, Dataset] = {}
    for device in devices:
        settings = _settings(Path(device.samples.name), options, _proposed(proposal))
        fleet[device.found.device] = fit(device.samples, task, settings)
    found: dict[str, float] = {}
    if len(fleet) <= FEWEST:
        return found
    for left, data in fleet.items():
        if enough():
            break
        others = {name: other for name, other in fleet.items() if name != left}
        X, y = np.concatenate([data.X, data.held_X]), np.concatenate([data.y, data.held_y])
        outputs = twin.predict(task, others, proposal.plan, rounds, options.seed, X)
        found[left] = figure_of(task).of(outputs, y)
    return found


def _cuts(
    compared: Compared, learnt: learning.Learnt, devices: int, options: Options, left_out: int
) -> list[str]:
    """What the time did not suffice for, and how the machine was shared."""
    said = []
    if learnt.cut:
        said.append(f"the time was up after {learnt.rounds} rounds: with more --seconds it may be better")
    if compared.central.rounds < learnt.rounds:
        said.append(
            f"the time was up when all data in one place had had {compared.central.rounds} of "
            f"{learnt.rounds} rounds: it may reach more"
        )
    if len(compared.alone) < devices:
        said.append(f"the time sufficed for {len(compared.alone)} of {devices} devices alone")
    if options.leave_one_out and left_out < devices:
        why = "the time was up" if devices > FEWEST else "of two devices none can be left out"
        said.append(f"{left_out} of {devices} devices were left out one by one: {why}")
    if learnt.processes < devices:
        said.append(f"{devices} devices shared {learnt.processes} processes on this machine")
    return said
