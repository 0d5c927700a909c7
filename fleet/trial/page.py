"""The parts of the report that only a trial has: the verdict, and the tables by class and by device."""

import html

from fedge.data.scores import Classification, Regression
from fleet.demo import classes, look
from fleet.trial.conclusion import Kind
from fleet.trial.result import Trial
from fleet.trial.words import held_out, missing


def verdict(trial: Trial) -> str:
    """HTML of the verdict and the warnings."""
    judged = trial.conclusion
    good = judged.kind is Kind.PAYS
    text = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in judged.sentences)
    warned = "".join(f"<li>{html.escape(one)}</li>" for one in trial.warnings)
    return (
        f'<section class="verdict{"" if good else " short"}"><h2>{html.escape(judged.title)}</h2>{text}'
        + (f"<ul>{warned}</ul>" if warned else "")
        + "</section>"
    )


def details(trial: Trial) -> str:
    """HTML of the tables by class and by device, and of what was proposed."""
    return _by_class(trial) + _by_device(trial) + _proposed(trial)


def _by_class(trial: Trial) -> str:
    together, central = trial.together, trial.central
    if isinstance(together, Regression):
        rows = [
            (trial.constant, f"{trial.figures.constant:.4g}", ""),
            ("together", f"{together.rmse[0]:.4g}", f"{together.mae[0]:.4g}"),
        ]
        if isinstance(central, Regression):
            rows.append(("all data in one place", f"{central.rmse[0]:.4g}", f"{central.mae[0]:.4g}"))
        return look.section(
            f"Errors of {together.targets[0]}", "In its own unit.", look.table(("", "RMSE", "MAE"), rows)
        )
    assert isinstance(central, Classification)
    table = classes.by_class(trial.classes, len(trial.devices), central)
    return table + classes.by_round(trial.history)


def _by_device(trial: Trial) -> str:
    shown = trial.outcome.figure.shown
    leaves = any(one.without is not None for one in trial.devices)
    head = ["device", "from", "training", "held out", "together", "alone", "in one place"]
    rows = []
    for one in trial.devices:
        cells = [
            one.device,
            one.origin,
            str(one.training),
            str(one.held_out),
            shown(one.together),
            "–" if one.alone is None else shown(one.alone),
            shown(one.central),
        ]
        rows.append((*cells, "–" if one.without is None else shown(one.without)) if leaves else tuple(cells))
    rows += [
        (name, "does not take part", *("–" for _ in range(5 + leaves))) for name in sorted(trial.excluded)
    ]
    title = trial.outcome.figure.title
    note = f"{title[0].upper()}{title[1:]} on each device's own held-out rows"
    note += "; without it: what the others learn when it is left out, on all its rows." if leaves else "."
    if leaves:
        head.append("without it")
    return look.section("Device by device", note, look.table(head, rows))


def _proposed(trial: Trial) -> str:
    proposal = trial.proposal
    plan = proposal.plan
    hidden = f"one hidden layer of {proposal.hidden} units" if proposal.hidden else "no hidden layer"
    left = "; ".join(f"{name}: {reason}" for name, reason in proposal.left_out.items())
    facts = [
        ("Features", f"{len(proposal.features)}: {', '.join(proposal.features[:40])}"),
        ("Left out", left or "no column"),
        ("Network", hidden),
        (
            "Plan",
            f"{plan.epochs} epoch{'s' * (plan.epochs > 1)} a round, batches of {plan.batch_size}, "
            f"rate {plan.learning_rate}, momentum {plan.momentum}",
        ),
        ("Held out", held_out(proposal)),
        ("Missing values", missing(proposal)),
        (
            "To use it",
            f"fedge init NAME --like {trial.settings.parent}; or as they are {trial.settings} and "
            f"{trial.settings.parent / 'devices'}/DEVICE/agent.toml",
        ),
    ]
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in facts
    )
    return look.section(
        "What was proposed", "Chosen from the files, or by options.", f"<table>{rows}</table>"
    )
