"""Why something was refused: one list for the aggregator's refusals, the devices' own and the kernel's."""

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
    ROUND_CLOSED = "round_closed"
    WRONG_KIND = "wrong_kind"
    WRONG_BASE = "wrong_base"
    WRONG_LENGTH = "wrong_length"
    NOT_FINITE = "not_finite"
    BAD_SAMPLE_COUNT = "bad_sample_count"
    IMPLAUSIBLE = "implausible"
    ALREADY_ANSWERED = "already_answered"
    # Of what claims to come from the aggregator (see fedge/trust.py):
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
