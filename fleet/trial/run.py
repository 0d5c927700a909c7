"""A trial from the files of a folder to a verdict: read, propose, let a fleet learn, compare, judge."""

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from agent.data.model_scores import scores_of
from fedge.service.settings import BrokerSettings
from fleet.demo import broker, learning, report
from fleet.demo.comparison import Compared, compare, outcome_of
from fleet.demo.folders import anew
from fleet.demo.progress import Display
from fleet.demo.provision import Federation, while_trying, write_agent, write_federation
from fleet.demo.run import federation_name
from fleet.trial import conclusion, figures, page, sensors, skew, sufficiency
from fleet.trial.admission import admit, readable
from fleet.trial.device_ids import device_ids
from fleet.trial.files import FEWEST, discover
from fleet.trial.finding import Finding
from fleet.trial.options import Options
from fleet.trial.participants import Participant, proposed, section, unfinished
from fleet.trial.proposal import Proposal, propose
from fleet.trial.result import Trial
from fleet.trial.table import Table

DEADLINE_S = 60.0
LEARNING = 0.5
"""The share of the time for learning; the rest is for the baselines."""


def run(options: Options, display: Display) -> Trial:
    """Let the devices learn on this machine, and judge the result.

    Raises:
        UsageError: the options do not fit the files.
        DataError: the files cannot be used; the text says which, where, and what to do.
        ConfigError: `out` cannot be used, or there is no broker.
        FedgeError: a program ended too early, with the last lines of its log.
    """
    started_s = time.monotonic()
    end_s = math.inf if options.seconds is None else started_s + options.seconds

    def enough() -> bool:
        return time.monotonic() > end_s

    display.say("reading")
    found = discover(options.place, options.devices_from)
    with anew(options.out, "try", options.place) as folder:
        devices, excluded = readable(found.devices, folder / "devices", options)
        proposal = propose([device.table for device in devices], options.wish)
        devices, excluded = admit(devices, proposal, options, excluded)
        proposal = propose([device.table for device in devices], options.wish)
    for name in excluded:
        shutil.rmtree(folder / "devices" / name, ignore_errors=True)
    findings = _findings([device.table for device in devices], proposal)

    with broker.start(options.broker, folder / "broker") as bus:
        files = _write(folder, devices, proposal, options, bus)
        until_s = None if options.seconds is None else started_s + LEARNING * options.seconds
        learnt = learning.learn(files, folder / "logs", bus, display, until_s)

    compared = compare(files, proposal.plan, learnt.rounds, options.seed, display, enough, best=True)
    without = {}
    if options.leave_one_out:
        display.say("leaving out")
        without = figures.without_each(files, devices, proposal, learnt.rounds, options, enough)
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
    reached = figures.of_fleet(compared, outcome.alone_mean)
    findings += sufficiency.too_few(proposal.counts, len(compared.truth))
    if still := sufficiency.unfinished(compared.figure, [value for _, value in outcome.curve]):
        findings.append(still)
    trial = Trial(
        outcome=outcome,
        proposal=proposal,
        figures=reached,
        conclusion=conclusion.judge(reached, findings),
        warnings=(
            *proposal.hints,
            *unfinished(devices),
            *found.unread,
            *(f"{name} does not take part: {why}" for name, why in excluded.items()),
            *(f"{one.cause}: {one.text}. What to do: {one.remedy}" for one in findings),
            *_cuts(compared, learnt, len(devices), options, len(without)),
        ),
        together=scores_of(compared.task, compared.truth, compared.together),
        central=scores_of(compared.task, compared.truth, compared.central.outputs),
        classes=compared.by_class(),
        history=compared.history,
        devices=figures.by_device(
            compared, {device.found.device: device.found.origin for device in devices}, without
        ),
        excluded=excluded,
        settings=files.settings,
        agents=files.agents,
        processes=learnt.processes,
    )
    outcome.report.write_text(
        report.render(outcome, page.verdict(trial), page.details(trial)), encoding="utf-8"
    )
    return trial


def _findings(tables: Sequence[Table], proposal: Proposal) -> list[Finding]:
    answer = proposal.target or ""
    found: list[Finding | None] = [
        *sensors.sentinels(tables, [*proposal.features, *([answer] if answer else [])]),
        *sensors.unlike(tables, proposal.features),
        sensors.gaps(tables, proposal.features, answer, proposal.missing),
    ]
    if proposal.classes:
        counts = {table.device: skew.counts(table.labels, proposal.classes) for table in tables}
        found.append(skew.label_skew(counts))
        if proposal.by == "time":
            found.append(skew.sorted_by_class(tables, proposal.classes, proposal.holdout))
    return [one for one in found if one is not None]


def _write(
    folder: Path, devices: Sequence[Participant], proposal: Proposal, options: Options, bus: broker.Broker
) -> Federation:
    # The user can use these files as they are. Settings that only the trial needs are environment variables.
    url = BrokerSettings().url if isinstance(bus, broker.LocalBroker) else bus.url
    name = federation_name(device_ids([options.place.resolve().stem])[0][:22].strip("-"), bus)
    settings = write_federation(
        folder,
        name=name,
        seed=options.seed,
        devices=[device.found.device for device in devices],
        broker_url=url,
        model=proposal.model(),
        plan=proposal.plan,
        rounds=proposal.rounds,
        quorum=max(FEWEST, len(devices) // 2),
        best_by="accuracy" if proposal.classes else "rmse",
        missing=proposal.missing,
    )
    agents = {
        device.found.device: write_agent(
            folder / "devices" / device.found.device,
            federation=name,
            device=device.found.device,
            broker_url=url,
            data=section(device.found.path, options) | proposed(proposal),
        )
        for device in devices
    }
    trying = while_trying(bus.url, len(devices), proposal.rounds, DEADLINE_S)
    return Federation(settings, agents, trying)


def _cuts(
    compared: Compared, learnt: learning.Learnt, devices: int, options: Options, left_out: int
) -> list[str]:
    """Notes on what was left out because of the time limit, and on devices that shared a process."""
    said = []
    if learnt.cut:
        said.append(f"the time was up after {learnt.rounds} rounds: with more --seconds it may be better")
    if compared.central.rounds < learnt.rounds:
        said.append(
            f"the time was up after {compared.central.rounds} of {learnt.rounds} rounds with all data in one "
            "place: that model may become better"
        )
    if len(compared.alone) < devices:
        said.append(f"the time was up when {len(compared.alone)} of {devices} devices had trained alone")
    if options.leave_one_out and left_out < devices:
        why = "the time was up" if devices > FEWEST else "of two devices none can be left out"
        said.append(f"{left_out} of {devices} devices were left out one by one: {why}")
    if learnt.processes < devices:
        said.append(f"{devices} devices shared {learnt.processes} processes on this machine")
    return said
