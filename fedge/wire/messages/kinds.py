"""All kinds of messages, by their names on the wire."""

from collections.abc import Mapping

from fedge.identity.provisioning import Enrol, Issued, Renew
from fedge.masking.messages import (
    Advertise,
    Agreement,
    Consistency,
    Delivery,
    MaskedInput,
    Roster,
    Share,
    Survivors,
    Terms,
    Unmask,
)
from fedge.masking.round_messages import Call, Objection, Promise
from fedge.wire.messages.envelope import Signed
from fedge.wire.messages.export import Export
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import Message
from fedge.wire.messages.model import Model
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Status
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update

_ALL: tuple[type[Message], ...] = (
    *(Task, Model, Manifest, Update, Survey, Receipt, Status, Service, Export),
    *(Frame, Signed),
    *(Enrol, Renew, Issued),
    *(Promise, Terms, Call, Objection),
    *(Advertise, Roster, Share, Delivery, MaskedInput, Survivors, Consistency, Agreement, Unmask),
)
KINDS: Mapping[str, type[Message]] = {kind.TYPE: kind for kind in _ALL}
"""The classes of messages by their `type`."""
