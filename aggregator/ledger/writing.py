"""The ledger for the aggregator, which writes it in durable transactions."""

from aggregator.ledger.changes.answers import AnswerChanges
from aggregator.ledger.changes.contents import ContentChanges
from aggregator.ledger.changes.devices import DeviceChanges
from aggregator.ledger.changes.forgetting import Forgetting
from aggregator.ledger.changes.generations import GenerationChanges
from aggregator.ledger.changes.masking import MaskingChanges
from aggregator.ledger.changes.privacy import PrivacyChanges
from aggregator.ledger.changes.retention import Retention
from aggregator.ledger.changes.rounds import RoundChanges
from aggregator.ledger.changes.updates import UpdateChanges


class Ledger(
    Forgetting,
    GenerationChanges,
    RoundChanges,
    MaskingChanges,
    PrivacyChanges,
    Retention,
    UpdateChanges,
    AnswerChanges,
    ContentChanges,
    DeviceChanges,
):
    """The database. Methods that change something belong inside `transaction`, which makes them durable.

    Raises:
        DamagedState: from any method, the constructor included, when the data are damaged.
        StateError: from any method, when the disk is full, read-only or failing; nothing has changed then.
    """
