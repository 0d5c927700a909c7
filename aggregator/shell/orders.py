"""An order to a running aggregator to begin a generation; `fedge-aggregator new-generation` gives it.

The order is a file in the state folder, beside the ledger. It names the ledger's generation at that time. A
ledger that has begun another generation since makes it void; so an order is carried out at most once, also
after a crash. The ledger stores the order's id with the generation that it began, so that the command that
gave the order can see that it was carried out. An order is either withdrawn or carried out, never both.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggregator.aggregation.rollback import Rollback, beginning_of, require_wishable
from aggregator.config import FederationSettings
from aggregator.ledger.reading import LedgerReader
from fedge.errors import ConfigError, DataError, FedgeError, StateError
from fedge.storage.atomic_files import atomic_write, remove
from fedge.storage.files import read_file
from fedge.storage.locks import alone
from fedge.wire.messages.fields import MAX_COUNTER

FILE = "new-generation.json"
LARGEST = 10_000_000
log = logging.getLogger("fedge.aggregator")


class WithdrawnError(Exception):
    """An order was withdrawn, or replaced by another one, before it was begun."""


class Order(BaseModel):
    """The generation to begin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern="^[0-9a-f]{32}$")
    """A unique id."""
    after: int = Field(ge=1, le=MAX_COUNTER)
    """The generation of the ledger when the order was given."""
    anew: bool
    """Whether it begins with a survey; else with a kept model."""
    generation: int | None = None
    round: int | None = None
    without: tuple[str, ...] = ()
    survey_without: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, after: int, back: Rollback | None) -> "Order":
        """The order with this id, after this generation; `back` None: to begin with a survey."""
        if back is None:
            return cls(id=name, after=after, anew=True)
        return cls(
            id=name,
            after=after,
            anew=False,
            generation=back.generation,
            round=back.round,
            without=back.without,
            survey_without=back.survey_without,
        )

    @property
    def back(self) -> Rollback | None:
        """The model to go back to; None: the generation begins with a survey."""
        if self.anew:
            return None
        return Rollback(self.generation, self.round, self.without, self.survey_without)


def give(folder: Path, order: Order) -> None:
    """Write an order into a state folder, replacing an older one; the folder's owner may read it.

    Raises:
        StateError: it cannot be written.
    """
    try:
        owner = folder.stat()
    except OSError as error:
        raise StateError(f"{folder}: cannot be read: {error.strerror}") from None
    data = order.model_dump_json().encode() + b"\n"
    atomic_write(folder / FILE, data, mode=0o600, owner=(owner.st_uid, owner.st_gid))


def pending(folder: Path, generation: int | None) -> Order | None:
    """The order that a ledger of this generation has not carried out yet; an invalid one is removed.

    Raises:
        StateError: it cannot be removed.
    """
    path = folder / FILE
    try:
        order = Order.model_validate_json(read_file(path, LARGEST))
    except FileNotFoundError:
        return None
    except OSError as error:
        log.error("%s: cannot be read, so it is removed: %s", path, error.strerror or error)
        remove(path)
        return None
    except ValidationError:
        log.error("%s: is not an order of `fedge-aggregator new-generation`, so it is removed", path)
        remove(path)
        return None
    if order.after != generation:
        remove(path)
        return None
    return order


def is_given(folder: Path) -> bool:
    """Whether there is an order, valid or not."""
    return (folder / FILE).exists()


def still_stands(folder: Path, order: Order) -> bool:
    """Whether the file still holds this order."""
    try:
        return Order.model_validate_json(read_file(folder / FILE, LARGEST)).id == order.id
    except (OSError, ValidationError):
        return False


def withdraw(folder: Path, order: Order | None) -> None:
    """Remove an order, carried out or not, but no newer one; None: remove any order.

    A program other than the one that carries it out calls this inside `fedge.storage.locks.alone`.

    Raises:
        StateError: it cannot be removed.
    """
    if order is None or still_stands(folder, order):
        remove(folder / FILE)


def to_begin(folder: Path, settings: FederationSettings, ledger: LedgerReader) -> Order | None:
    """Return the order that is to be carried out now; one that cannot be is refused.

    Raises:
        StateError: the ledger cannot be read, or the order cannot be removed.
    """
    meta = ledger.meta()
    order = pending(folder, meta.generation if meta is not None else None)
    if meta is not None and order is not None and (back := order.back) is not None:
        try:
            require_wishable(settings, ledger, beginning_of(ledger, meta, back), back)
        except (ConfigError, DataError) as error:
            refuse(folder, order, error)
            return None
    return order


def refuse(folder: Path, order: Order, error: FedgeError) -> None:
    """Log why an order is not carried out, and remove it.

    Raises:
        StateError: it cannot be removed.
    """
    log.error("the new generation that was ordered is not begun: %s", error)
    withdraw(folder, order)


@contextmanager
def standing(folder: Path, order: Order | None) -> Iterator[None]:
    """Let nobody withdraw or replace an order while its generation begins; None: there is no order.

    Raises:
        WithdrawnError: on entering: it was withdrawn or replaced before.
    """
    if order is None:
        yield
        return
    with alone(folder):
        if not still_stands(folder, order):
            raise WithdrawnError
        yield
