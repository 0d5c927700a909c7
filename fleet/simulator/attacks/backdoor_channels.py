"""A backdoor for tables of sensors: one or more channels at a fixed value mean the target class.

As `fleet.simulator.attacks.backdoor_pixels`, with columns as the trigger: Gu, Dolan-Gavitt, Garg 2017,
"BadNets", https://arxiv.org/abs/1708.06733.
"""

from typing import Annotated

from pydantic import Field

from fedge.algorithms.registry import Entry
from fleet.simulator.attacks.backdoor_pixels import Backdoor, BackdoorOptions


class BackdoorChannelsOptions(BackdoorOptions):
    """Options of the backdoor with channels."""

    columns: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1, strict=False)
    """The numbers of the columns that are set to `value`."""


class BackdoorChannels(Backdoor):
    """The trigger is a value in one or more columns."""

    def __init__(self, options: BackdoorChannelsOptions) -> None:
        super().__init__(options, options.columns)


ENTRY = Entry("attack", "backdoor-channels", BackdoorChannels, BackdoorChannelsOptions)
