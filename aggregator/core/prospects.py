"""Rules of a configuration that can never be met, found before any round. Pure."""

from collections.abc import Collection

from aggregator.config import FederationSettings
from aggregator.core.quorum import FEWEST, LESS, fewest_of, needing


def hopeless(settings: FederationSettings, quarantined: Collection[str] = ()) -> list[str]:
    """The log lines at the start on rules that can never be met, with what to do.

    Args:
        settings: the configuration; it is valid.
        quarantined: the devices that do not count for now.
    """
    found = []
    stopping, rounds = settings.stopping, settings.rounds
    if stopping.patience is not None and stopping.patience >= stopping.rounds:
        found.append(
            f"[stopping] patience = {stopping.patience} cannot end learning: {stopping.rounds} rounds are "
            "set, and the first one only gives the figure that the others may improve. Set patience below "
            f"{stopping.rounds}, or more [stopping] rounds"
        )
    found += [
        f"[stopping] {name} cannot end learning: one round is set, and a model is measured in the round "
        "after the one that made it. Set more [stopping] rounds"
        for name in ("accuracy", "rmse")
        if getattr(stopping, name) is not None and stopping.rounds == 1
    ]
    roster = settings.federation.devices
    if roster is not None:
        left = len(set(roster) - set(quarantined))
        if left < (rounds.quorum if isinstance(rounds.quorum, int) else FEWEST):
            found.append(
                f"no round can close: [rounds] quorum = {rounds.quorum}, and of the {len(roster)} devices in "
                f"[federation] devices only {left} are not in quarantine. Lower the quorum, or lift the "
                "quarantine of devices (`fedge quarantine --lift`)"
            )
        elif left < fewest_of(rule := settings.parts().rule):
            found.append(
                f"no round can close: {needing(rule)} needs {fewest_of(rule)} updates, and of the "
                f"{len(roster)} devices in [federation] devices only {left} are not in quarantine: {LESS}; "
                "or lift the quarantine of devices (`fedge quarantine --lift`)"
            )
        elif rounds.target is not None and left < rounds.target:
            found.append(
                f"[rounds] target = {rounds.target} cannot be reached by the {left} devices of [federation] "
                "devices that are not in quarantine: each round waits for those that are online, or for its "
                "deadline"
            )
    return found
