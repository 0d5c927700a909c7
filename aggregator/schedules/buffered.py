"""Without waiting: a version of the model closes when `[rounds] target` updates are in its buffer.

Nguyen, Malik, Zhan, Yousefpour, Rabbat, Malek, Huba, "Federated Learning with Buffered Asynchronous
Aggregation", AISTATS 2022, https://arxiv.org/abs/2106.06639, Algorithm 1 (FedBuff).

The machine is that of `rounds`. A version is a round, and its buffer are the round's admitted updates. Three
things differ, each where `aggregator.core.buffering` is asked:

* An update that was made for an older round counts in the open one, up to `max_staleness` rounds back. A
  device goes on with its work when the next version is announced, because the manifest says so.
* One update of a device counts for each base, and one in each buffer. A second one waits for the next
  version.
* The frames of an update that is on its way stay when a version closes.

`aggregator.aggregation.staleness` says how much a stale update counts.
"""

from aggregator.schedules.rounds import Rounds
from fedge.algorithms.registry import Entry


class Buffered(Rounds):
    """The machine of `aggregator.core.rounds`, whose rules have a `max_staleness`."""


ENTRY = Entry("schedule", "buffered", Buffered)
