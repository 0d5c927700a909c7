"""Decides about work for an older round, while the newest one admits it (`max_staleness` of the manifest).

With buffered rounds (Nguyen et al. 2022, "Federated Learning with Buffered Asynchronous Aggregation") a
device never waits for others. It goes on with its work when a newer round is announced, sends the update,
and begins with the newest round once the verdict is known.
"""

from agent.core import effects as do
from agent.core.device import Asking, Device, Reporting, Working
from agent.core.lifecycle.report import REPORT_RETRY_S, publish_again
from fedge.frozen import replace
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.manifest import Manifest


def may_count(made_for: RoundId, manifest: Manifest) -> bool:
    """Whether an update that was made for an older round may count in the announced one."""
    if manifest.max_staleness is None or manifest.state != "open":
        return False
    announced = round_of(manifest)
    if made_for.generation != announced.generation or made_for.round < 1:
        return False
    return 0 < announced.round - made_for.round <= manifest.max_staleness


def goes_on(state: Device, manifest: Manifest) -> bool:
    """Whether the present work, for an older round than the announced one, goes on."""
    former = state.manifest
    if former is None or former.task.digest != manifest.task.digest:
        return False
    match state.work:
        case Working(round=made_for):
            return may_count(made_for, manifest)
        case Asking():
            return False
        case Reporting() if state.saved is not None:
            return may_count(state.saved.round, manifest)
        case _:
            return False


def go_on(state: Device, now_s: float) -> tuple[Device, list[do.Effect]]:
    """Go on with the work for an older round; an update that had to wait for this round is sent now."""
    if not isinstance(state.work, Reporting):
        return state, []  # the attempt is saved together with the update
    effects: list[do.Effect] = [do.SaveSeen(state.seen)]
    if state.work.held and state.link_up:
        work = replace(state.work, frames=(0,), due_s=now_s + REPORT_RETRY_S, held=False)
        state = replace(state, work=work)
        effects.append(publish_again(state, (0,)))
    return state, effects


def is_free(before: Device, state: Device) -> bool:
    """Whether a receipt has ended the work for an older round, so that the newest one can be begun."""
    manifest, saved = state.manifest, state.saved
    if not isinstance(before.work, Reporting) or before.saved is None or manifest is None:
        return False
    known = saved is None or saved.verdict is not None
    return manifest.max_staleness is not None and known and before.saved.round < round_of(manifest)
