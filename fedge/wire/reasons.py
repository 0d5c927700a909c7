"""Why something was refused: one list for the aggregator's refusals, the devices' own and the kernel's."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why something was refused or declined: the text is for people, the name for programs."""

    MALFORMED = "malformed"
    UNKNOWN_VERSION = "unknown_version"
    OVERSIZE = "oversize"
    TOO_MANY_PARTIAL = "too_many_partial"
    FOREIGN_DEVICE = "foreign_device"
    UNKNOWN_DEVICE = "unknown_device"
    NOT_CHOSEN = "not_chosen"
    OTHER_GENERATION = "other_generation"
    STALE_ROUND = "stale_round"
    FUTURE_ROUND = "future_round"
    FORGOTTEN = "forgotten"
    """Of a round whose verdicts the ledger no longer holds: it may have counted."""
    ROUND_CLOSED = "round_closed"
    WRONG_KIND = "wrong_kind"
    WRONG_BASE = "wrong_base"
    WRONG_LENGTH = "wrong_length"
    NOT_FINITE = "not_finite"
    TOO_FAR = "too_far"
    """Further from the model that it began from than an update may be."""
    SET_ASIDE = "set_aside"
    """It was admitted, and would have made the mean unusable."""
    BAD_SAMPLE_COUNT = "bad_sample_count"
    IMPLAUSIBLE = "implausible"
    ALREADY_ANSWERED = "already_answered"
    UNSUPPORTED = "unsupported"
    """A name of what a round requires that this program, or this device, does not know."""
    QUARANTINED = "quarantined"
    """Its operator has set the device aside: `fedge quarantine`."""
    # Of what claims to come from the aggregator (see fedge/identity/trust.py):
    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad_signature"
    REVOKED_SIGNER = "revoked_signer"
    # What a device says of itself:
    TOO_FEW_SAMPLES = "too_few_samples"
    WRONG_INPUT = "wrong_input"
    BAD_DATA = "bad_data"
    TRAINING_DIVERGED = "training_diverged"
    FAILED = "failed"
    OTHER = "other"
    """What a newer program names and this one does not know: the text beside it still says what it is."""
    # What its owner does not allow:
    TOO_MANY_EPOCHS = "too_many_epochs"
    TOO_LONG = "too_long"
    UNKNOWN_SOURCE = "unknown_source"
    FORBIDDEN_SOURCE = "forbidden_source"
    # What its owner does not allow at this moment:
    OUTSIDE_HOURS = "outside_hours"
    CLOCK_NOT_SYNCHRONISED = "clock_not_synchronised"
    ON_BATTERY = "on_battery"
    TOO_HOT = "too_hot"
    TOO_BUSY = "too_busy"
    OVER_BYTE_BUDGET = "over_byte_budget"
    CANNOT_MEASURE = "cannot_measure"


PASSING = frozenset(
    {
        Reason.OUTSIDE_HOURS,
        Reason.ON_BATTERY,
        Reason.TOO_HOT,
        Reason.TOO_BUSY,
        Reason.OVER_BYTE_BUDGET,
    }
)
"""What passes by itself: nobody has to mend it."""


@dataclass(frozen=True)
class Rejection:
    """Why something is not taken; `detail` says what was found, and what would be right."""

    reason: Reason
    detail: str
