"""The errors, and the exit code of each (the codes of sysexits.h).

| code | error             | what the service manager should do                                   |
|------|-------------------|----------------------------------------------------------------------|
| 65   | `DataError`       | wait: the data on this device cannot be read as it is                |
| 69   | `Unanswered`      | try again later: no answer came                                      |
| 69   | `DeploymentError` | nothing: it ends an installation, which says what to do              |
| 74   | `StateError`      | restart: the folder that must survive cannot be read or written      |
| 75   | `Conflict`        | restart later: somebody else already does this work                  |
| 75   | `Undecided`       | restart later: too little was heard to decide, and more may be       |
| 77   | `PrivacyRefusal`  | do not restart: nothing more may be released (docs/privacy.md)       |
| 78   | `ConfigError`     | do not restart: a human has to change the configuration              |
| 130  | (`interrupts`)    | nothing: somebody pressed Ctrl-C; services end with 0 then           |
"""

import os

from fedge.data.disclosure import Public, withheld
from fedge.wire.reasons import Reason


class FedgeError(Exception):
    """The parent of all errors that a user can fix; the text says how."""

    exit_code: int = os.EX_SOFTWARE


class ConfigError(FedgeError):
    """The configuration is wrong. The text names the file, the key and the accepted values."""

    exit_code = os.EX_CONFIG


class PrivacyRefusal(FedgeError):  # noqa: N818 (an outcome: a release is refused)
    """Privacy does not allow a release: nothing is released. The text says why, and what to do."""

    exit_code = os.EX_NOPERM


class DataError(FedgeError):
    """Local data cannot be used. The text names the file and, where there is one, the row or column.

    The text is for the device's own log and `--check`, and never leaves the device; only `public` may.
    """

    exit_code = os.EX_DATAERR

    def __init__(self, text: str, public: Public | None = None) -> None:
        super().__init__(text)
        self.public = public or withheld(Reason.BAD_DATA)
        """The text for others: no file, no content, no name that the task did not ask for."""


class Unanswered(FedgeError):  # noqa: N818 (an outcome: nothing was decided)
    """No answer came in time; the text says who did not answer, and what was heard last."""

    exit_code = os.EX_UNAVAILABLE


class StateError(FedgeError):
    """State cannot be saved or read. The text names the file or folder."""

    exit_code = os.EX_IOERR


class DamagedState(StateError):  # noqa: N818 (a state of the disk)
    """A file in the state folder is damaged: it is set aside, and the program starts without it."""


class DeploymentError(FedgeError):
    """A step of an installation failed. The text says which, and what to do; the old installation still
    works."""

    exit_code = os.EX_UNAVAILABLE


class Conflict(FedgeError):  # noqa: N818 (an outcome rather than an error: somebody else is at work)
    """Another process already does this work; the text says which and where."""

    exit_code = os.EX_TEMPFAIL


class Undecided(Conflict):
    """Too little was heard to decide, and more may follow; the text says from whom."""


class ProtocolError(FedgeError, ValueError):
    """Invalid bytes from the network. Never fatal: they are counted, reported and dropped."""

    exit_code = os.EX_PROTOCOL

    def __init__(self, text: str, reason: Reason = Reason.MALFORMED) -> None:
        super().__init__(text)
        self.reason = reason
        """The reason that is sent back to the sender; the text explains it."""
