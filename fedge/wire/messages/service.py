"""The aggregator's presence."""

from typing import ClassVar

from fedge.wire.messages.fields import Counter, Ident
from fedge.wire.messages.message import Message


class Service(Message):
    """The aggregator's presence, retained; its last will is the same with `online` false."""

    TYPE: ClassVar[str] = "service"

    online: bool
    ledger: Ident
    """Made once with the ledger: identifies the ledger that this aggregator uses."""
    instance: Ident
    """Random, made at each start of the aggregator."""
    beat: Counter
