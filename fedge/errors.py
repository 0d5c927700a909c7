"""What can go wrong, and the exit code each kind ends a program with (the codes of sysexits.h).

| code | error             | what the service manager should do                                   |
|------|-------------------|----------------------------------------------------------------------|
| 65   | `DataError`       | wait: the data on this device cannot be read as it is                |
| 69   | `Unanswered`      | try again later: nobody who could help answered                      |
| 69   | `DeploymentError` | nothing: it ends an installation, which says what to do              |
| 74   | `StateError`      | restart: the folder that must survive cannot be read or written      |
| 75   | `Conflict`         | restart later: somebody else already does this work                  |
| 75   | `Undecided`       | restart later: too little was heard to decide, and more may be       |
| 78   | `ConfigError`     | do not restart: a human has to change the configuration              |
| 130  | (`interrupts`)    | nothing: somebody pressed Ctrl-C; what serves ends with 0 then       |
"""

import os

from fedge.data.disclosure import Public, withheld
from fedge.wire.reasons import Reason


class FedgeError(Exception):
    """The parent of all errors that a user can do something about; its text says what."""

    exit_code: int = os.EX_SOFTWARE


class ConfigError(FedgeError):
    """The configuration is wrong. The text names the file, the key and the accepted values."""

    exit_code = os.EX_CONFIG


class DataError(FedgeError):
    """Local data cannot be used. The text names the file and, where there is one, the row or column.

    The text is for the device's own log and `--check`, and never leaves it; what may is `public`.
    """

    exit_code = os.EX_DATAERR

    def __init__(self, text: str, public: Public | None = None) -> None:
        super().__init__(text)
        self.public = public or withheld(Reason.BAD_DATA)
        """What is told of it to others: no file, no content, no name that the task did not ask for."""


class Unanswered(FedgeError):  # noqa: N818 (an outcome: nothing was decided)
    """Somebody who was asked did not answer in time; the text says who, and what was heard last."""

    exit_code = os.EX_UNAVAILABLE


class StateError(FedgeError):
    """What must survive cannot be kept or read. The text names the file or folder."""

    exit_code = os.EX_IOERR


class DamagedState(StateError):  # noqa: N818 (a state of the disk)
    """A file in the state folder is not what was written to it: it is put aside, and all begins anew."""


class DeploymentError(FedgeError):
    """A step of installing failed. The text says which, and what to do; what was at work before still is."""

    exit_code = os.EX_UNAVAILABLE


class Conflict(FedgeError):  # noqa: N818 (an outcome rather than an error: somebody else is at work)
    """Another process already does this work; the text says which and where."""

    exit_code = os.EX_TEMPFAIL


class Undecided(Conflict):
    """Too little was heard to decide, and more may still be; the text says of whom."""


class ProtocolError(FedgeError, ValueError):
    """Bytes from the network that are not what they must be. Never fatal: counted, reported, dropped."""

    exit_code = os.EX_PROTOCOL

    def __init__(self, text: str, reason: Reason = Reason.MALFORMED) -> None:
        super().__init__(text)
        self.reason = reason
        """What the sender is told; the text says the rest."""
