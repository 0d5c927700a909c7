"""All kinds of messages, by their names on the wire."""

from collections.abc import Mapping

from fedge.messages.envelope import Signed
from fedge.messages.export import Export
from fedge.messages.frame import Frame
from fedge.messages.manifest import Manifest
from fedge.messages.message import Message
from fedge.messages.model import Model
from fedge.messages.receipt import Receipt
from fedge.messages.service import Service
from fedge.messages.status import Status
from fedge.messages.survey import Survey
from fedge.messages.task import Task
from fedge.messages.update import Update
from fedge.provisioning import Enrol, Issued, Renew

_ALL: tuple[type[Message], ...] = (
    *(Task, Model, Manifest, Update, Survey, Receipt, Status, Service, Export),
    *(Frame, Signed),
    *(Enrol, Renew, Issued),
)
KINDS: Mapping[str, type[Message]] = {kind.TYPE: kind for kind in _ALL}
"""By the `type` of each."""
